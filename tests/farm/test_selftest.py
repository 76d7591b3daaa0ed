"""What a builder examines of itself, and that the farm is told of it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Event

import pytest

from buildfarm.errors import StaleAttempt
from buildfarm.farm import fleet, registry
from buildfarm.sandbox.emulation import emulators
from buildfarm.sandbox.images import EngineReport
from tests.waiting import wait_for
from workers import builds
from workers.builder_config import BuilderConfig
from workers.farm_client import FarmClient
from workers.selftest import examine
from workers.supply import Supply


def config(folder: Path, **more: object) -> BuilderConfig:
    values = {
        "farm_url": "http://127.0.0.1:1", "token": "t", "redis": "redis://127.0.0.1:1",
        "redis_user": "builder",
        "docker_host": f"unix://{folder}/nobody.sock", "workdir": folder / "work", "instance": "selftest-0",
        "queues": ("build.manylinux-x86_64.dev.interactive",), "slots": 1,
    }  # fmt: skip
    return BuilderConfig.model_validate(values | more)


def bad(own: BuilderConfig, **more: object) -> dict[str, str]:
    """The bad findings: their values by their names."""
    supply = Supply(own, FarmClient(own.farm_url, own.token), lambda: None)
    found = examine(own, supply=supply, **({"skew_s": 0.0, "images": ()} | more))  # type: ignore[arg-type]
    assert all(one.hint for one in found if not one.good)
    return {one.name: one.value for one in found if not one.good}


def test_an_engine_that_is_away_is_found(tmp_path: Path) -> None:
    assert set(bad(config(tmp_path))) == {"engine"}


@pytest.mark.parametrize(("skew_s", "is_bad"), [(29.0, False), (31.0, True), (-31.0, True)])
def test_a_clock_that_is_not_the_farms_is_found(tmp_path: Path, skew_s: float, is_bad: bool) -> None:
    assert ("farm clock" in bad(config(tmp_path), skew_s=skew_s)) is is_bad


def test_a_work_folder_that_cannot_be_used_is_found(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "disk" in bad(config(tmp_path, workdir=tmp_path / "file" / "work"))


def test_an_emulator_counts_when_containers_need_not_hold_it(tmp_path: Path) -> None:
    for name, first, flags in (
        ("qemu-aarch64", "enabled", "POCF"), ("qemu-arm", "enabled", "POC"),
        ("qemu-riscv64", "disabled", "PF"), ("python3.11", "enabled", "F"),
    ):  # fmt: skip
        text = f"{first}\ninterpreter /usr/bin/{name}\nflags: {flags}\noffset 0\nmagic 7f454c46\n"
        (tmp_path / name).write_text(text)
    assert emulators(tmp_path) == {"aarch64"}
    assert emulators(tmp_path / "not-mounted") == frozenset()


def test_an_emulator_that_is_not_there_is_found(tmp_path: Path) -> None:
    assert "emulator of vax" in bad(config(tmp_path, emulates=("vax",)))


@pytest.mark.parametrize(("needed", "claims"), [(("sha256:1",), []), ((), [("job_1", 1)])])
def test_a_host_that_lacks_an_image_claims_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, needed: tuple[str, ...], claims: list[tuple[str, int]]
) -> None:
    """Claimed, the attempt would end at once, and the next one too."""
    asked: list[tuple[str, int]] = []

    def claim(_client: FarmClient, job_id: str, attempt: int) -> None:
        asked.append((job_id, attempt))
        raise StaleAttempt("Somebody else has it.")

    path = tmp_path / "builder.json"
    path.write_text(config(tmp_path).model_dump_json())
    monkeypatch.setenv("BUILDER_CONFIG", str(path))
    monkeypatch.setattr(FarmClient, "claim", claim)
    monkeypatch.setattr(builds, "check_engine", lambda _host: EngineReport(usable=True, findings=[]))
    monkeypatch.setattr(builds, "missing_images", lambda _host, images: list(images))
    monkeypatch.setattr(builds, "noted_images", needed)
    monkeypatch.setattr(builds, "_nudged_by_a_stop_command", Event)  # it would hear of SIGTERM for all tests
    builds.run_build("job_1", 1, 1)
    assert asked == claims


def test_a_builder_without_an_engine_is_shown_with_its_findings(house, serve, tmp_path: Path) -> None:
    with house.database.begin() as session:
        token = registry.add_builder(session, "one", ["dev"], actor="test")[1]
    path = tmp_path / "builder.json"
    path.write_text(config(tmp_path, farm_url=serve(house), token=token).model_dump_json())
    env = os.environ | {"BUILDER_CONFIG": str(path)}

    def row() -> fleet.BuilderRow:
        with house.database.read() as session:
            return fleet.list_builders(session, house.farm.settings)[0]

    with (tmp_path / "builder.log").open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "workers.builder"], env=env, stderr=log)
    try:
        wait_for(lambda: row().state == "unfit by its self-test", "the findings")
        assert [one["name"] for one in row().failed] == ["engine"]
        assert row().facts["slots"] == 1
        assert b"builder.unfit" in (tmp_path / "builder.log").read_bytes()
    finally:
        process.kill()
        process.wait()
