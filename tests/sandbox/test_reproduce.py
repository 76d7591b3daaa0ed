"""An attempt that a builder ran for a farm, run again from the farm's records alone."""

import functools
import hashlib
import json
import sys
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from werkzeug.serving import WSGIRequestHandler, make_server

from buildfarm.cli.main import main
from buildfarm.farm import registry
from buildfarm.farm.model import Attempt, Dependency, Job
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.spec import AttemptSpec
from tests.sandbox.conftest import C_PROJECT, INSTANCE, source_tar
from workers.farm_client import FarmClient

pytestmark = pytest.mark.engine
TARGET = "cp311-manylinux_2_36_x86_64"


class _Silent(WSGIRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class _Files(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def upstream(wheelhouse: Path, tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    """An index of the wheels that the project needs."""
    for wheel in wheelhouse.glob("*.whl"):
        page = tmp_path / "index" / "simple" / wheel.name.partition("-")[0]
        page.mkdir(parents=True)
        sha256 = hashlib.sha256(wheel.read_bytes()).hexdigest()
        (page / wheel.name).write_bytes(wheel.read_bytes())
        (page / "index.html").write_text(
            f'<!DOCTYPE html><a href="{wheel.name}#sha256={sha256}">{wheel.name}</a>'
        )
    handler = functools.partial(_Files, directory=str(tmp_path / "index"))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def house(open_house, upstream):
    url = f"http://127.0.0.1:{upstream.server_address[1]}/simple"
    return open_house(mirror={"upstreams": [url], "timeout_s": 2.0})


@pytest.fixture
def url(house) -> Iterator[str]:
    server = make_server("127.0.0.1", 0, house.app, threaded=True, request_handler=_Silent)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def built(house, url, engine, images, tmp_path):
    """Let a builder run a project for the farm; the job's id and the attempt's outcome."""

    def build(files: dict[str, str]) -> tuple[str, Any]:
        source = source_tar(files)
        _, made = house.build(house.source(), TARGET)
        with house.database.begin() as session:
            job = session.get_one(Job, made[TARGET])
            limits = {"seconds": 300, "output_bytes": 1 << 24, "output_count": 20}
            job.spec = {
                "interpreter": "cp311", "build_image": images["builder"], "test_image": images["test"],
                "source_sha256": house.farm.blobs.put_bytes(source), "source_date_epoch": 1_700_000_000,
                "test": {}, "limits": limits,
            }  # fmt: skip
            token = registry.add_builder(session, "one", ["dev"], actor="test")[1]
        spec, attempt_token = FarmClient(url, token).claim(made[TARGET], 1)
        farm = FarmClient(url, attempt_token)
        outcome = run_attempt(
            AttemptSpec.model_validate(spec),
            farm,
            docker_host=engine,
            workdir=tmp_path / "work",
            instance=INSTANCE,
        )
        farm.finish(outcome.model_dump(mode="json"))
        return made[TARGET], outcome

    return build


@pytest.fixture
def reproduce(house, url, engine, monkeypatch, capsys, tmp_path):
    """`buildfarm job reproduce JOB --run` by somebody who may start builds; exit code and what it prints."""
    monkeypatch.setenv("BUILDFARM_URL", url)
    monkeypatch.setenv("BUILDFARM_TOKEN", house.token("build"))
    monkeypatch.setenv("DOCKER_HOST", engine)

    def run(job_id: str, folder: str, *more: str) -> tuple[int, str, str]:
        into = str(tmp_path / folder)
        command = ["buildfarm", "job", "reproduce", job_id, "--run", "--into", into, *more]
        monkeypatch.setattr(sys, "argv", command)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, *capsys.readouterr()

    return run


def test_a_good_attempt_gives_the_same_bytes_again_with_no_upstream(
    house, built, reproduce, upstream, tmp_path
):
    job_id, outcome = built(C_PROJECT)
    assert outcome.state == "succeeded", outcome.first_error
    with house.database.read() as session:
        read = {one.project: one.version for one in session.query(Dependency).filter_by(job_id=job_id)}
    assert "setuptools" in read
    upstream.shutdown()
    upstream.server_close()

    code, out, _ = reproduce(job_id, "again", "--json")

    result = json.loads(out)
    assert (code, result["alike"], result["unpinned"]) == (0, True, []), result
    [file] = result["files"]
    assert file["filename"].startswith("fastadd-1.2-cp311")
    assert file["then"] == file["now"]
    made = (tmp_path / "again" / "dist" / file["filename"]).read_bytes()
    assert hashlib.sha256(made).hexdigest() == file["now"]
    assert sorted(path.name for path in (tmp_path / "again").iterdir()) == ["dist", "log.txt", "source.tar"]
    assert f"setuptools=={read['setuptools']}" in (tmp_path / "again" / "log.txt").read_text()


def test_a_failure_is_the_same_failure_and_another_end_is_told(house, built, reproduce, tmp_path):
    job_id, outcome = built({**C_PROJECT, "add.c": "#include <nothere.h>\n"})
    assert outcome.failure_class == "missing-header"

    code, out, log = reproduce(job_id, "again", "--json")

    result = json.loads(out)
    assert "add.c:1:" in log
    assert (code, result["alike"], result["files"]) == (0, True, [])
    assert result["then"] == result["now"]
    assert "nothere.h" in result["now"]["first_error"]
    with house.database.begin() as session:
        attempt = session.get_one(Attempt, (job_id, 1))
        attempt.outcome = attempt.outcome | {"failure_class": "link"}
    code, out, _ = reproduce(job_id, "third")
    assert code == 1
    then, now, alike, folder = out.splitlines()
    assert then.startswith("then        failed link in build: add.c:1:")
    assert now.startswith("now         failed missing-header in build: add.c:1:")
    assert (alike, folder) == ("alike       no", f"folder      {tmp_path / 'third'}")


def test_what_cannot_be_run_here_is_said_before_anything_is_made(house, url, reproduce, tmp_path, images):
    _, made = house.build(house.source(), TARGET)
    token = house.claim(made[TARGET])
    assert reproduce(made[TARGET], "x")[0] == 1  # it has not ended
    house.finish(token, "failed", cause="user_code")
    code, _, said = reproduce(made[TARGET], "x")
    assert (code, "interpreter" in said) == (2, True)
    with house.database.begin() as session:
        job = session.get_one(Job, made[TARGET])
        job.spec = job.spec | {"interpreter": "cp311", "test_image": None}
    code, _, said = reproduce(made[TARGET], "x")
    assert (code, "docker load" in said) == (2, True)
    assert not (tmp_path / "x").exists()
    with house.database.begin() as session:
        job = session.get_one(Job, made[TARGET])
        job.spec = job.spec | {"build_image": images["builder"]}
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "mine").write_text("")
    code, _, said = reproduce(made[TARGET], "x")
    assert (code, "is not empty" in said) == (1, True)
