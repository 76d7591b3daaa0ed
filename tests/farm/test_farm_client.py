"""A builder's side of the job API, when the farm breaks off, is silent, or is of another version."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event
from typing import Any

import pytest
import requests

from buildfarm.config import Timing
from buildfarm.errors import ExternalFailure
from buildfarm.sandbox.images import EngineReport
from workers import builds, farm_client
from workers.builder_config import BuilderConfig
from workers.farm_client import FarmClient

SOURCE = b"source " * 100_000


class BreaksOff(BaseHTTPRequestHandler):
    """Sends half of the source, and all of it when it is asked again."""

    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(200)
        self.send_header("Content-Length", str(len(SOURCE)))
        self.end_headers()
        self.wfile.write(SOURCE if self.asked > 1 else SOURCE[: len(SOURCE) // 2])

    def log_message(self, *_args: object) -> None:
        """Nobody reads it."""


@pytest.fixture
def breaks_off() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), BreaksOff)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_source_that_breaks_off_is_fetched_again(breaks_off: str, tmp_path: Path) -> None:
    FarmClient(breaks_off, "t").fetch_source(tmp_path / "source.tar")
    assert (tmp_path / "source.tar").read_bytes() == SOURCE


def test_a_heartbeat_without_an_answer_leaves_time_for_another_within_the_lease(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits: list[float] = []

    def silent(*_asked: object, timeout: tuple[float, float], **_more: object) -> None:
        waits.append(sum(timeout))
        raise requests.Timeout

    monkeypatch.setattr(farm_client.requests, "request", silent)
    with pytest.raises(ExternalFailure):
        FarmClient("http://127.0.0.1:1", "t").heartbeat("build", None)
    timing = Timing()
    assert 2 * (timing.heartbeat_s + waits[0]) < timing.lease_s


def test_a_job_of_a_newer_farm_ends_with_what_is_not_understood(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {
        "job_id": "job_1", "attempt": 1, "target": "cp311-manylinux_2_36_x86_64", "interpreter": "cp311",
        "build_image": "sha256:" + "1" * 64, "test_image": None, "source_sha256": "0" * 64,
        "source_date_epoch": 1, "moon_phase": "full",
    }  # fmt: skip
    told: list[dict[str, Any]] = []

    def finish(_client: FarmClient, outcome: dict[str, Any]) -> str:
        told.append(outcome)
        return "failed"

    path = tmp_path / "builder.json"
    own = BuilderConfig(
        farm_url="http://127.0.0.1:1", token="t", redis="redis://127.0.0.1:1", redis_user="builder",
        docker_host=f"unix://{tmp_path}/nobody.sock", workdir=tmp_path / "work", instance="one", slots=1,
        queues=("build.manylinux-x86_64.dev.interactive",),
    )  # fmt: skip
    path.write_text(own.model_dump_json())
    monkeypatch.setenv("BUILDER_CONFIG", str(path))
    monkeypatch.setattr(FarmClient, "claim", lambda *_asked: (spec, "token"))
    monkeypatch.setattr(FarmClient, "finish", finish)
    monkeypatch.setattr(builds, "check_engine", lambda _host: EngineReport(usable=True, findings=[]))
    monkeypatch.setattr(builds, "missing_images", lambda _host, images: list(images))
    monkeypatch.setattr(builds, "_nudged_by_a_stop_command", Event)  # it would hear of SIGTERM for all tests
    builds.run_build("job_1", 1, 1)
    ((state, cause, sentence),) = [(one["state"], one["cause"], one["first_error"]) for one in told]
    assert (state, cause) == ("failed", "infrastructure")
    assert "another version" in sentence
    assert "moon_phase" in sentence
