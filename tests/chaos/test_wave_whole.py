"""Rebuild waves on a whole farm: three projects, each built with the one before it, and two new versions."""

import io
import zipfile
from typing import Any

import pytest
from chaos_harness import index_files
from chaos_repository import BACKEND, PROJECT

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(400)]


def release(farm, source, version: str, needs: str = "") -> None:
    """Tag, build and publish a version whose module says with what it was made."""
    project = PROJECT.format(name=source.repository.name, version=version, seconds=0)
    made = f"import {needs}; MADE = {needs}.made\n" if needs else f"MADE = {version.split('.')[0]!r}\n"
    files = {
        "pyproject.toml": project.replace(
            "requires = []", f"requires = [{needs!r}]" if needs else "requires = []"
        ),
        "backend.py": made + BACKEND.replace("version = {VERSION!r}", "made = {MADE!r}"),
    }
    source.repository.commit(files, tag=f"v{version}")
    body = {"source": source.repository.name, "ref": f"refs/tags/v{version}"}
    build_id = farm.api("POST", "builds", json=body)["id"]
    ended = wait_for(lambda: (b := farm.get(f"builds/{build_id}"))["finished_at"] and b, "a release", 120)
    assert ended["state"] == "published", ended


def through(farm) -> tuple[str, dict[str, str]]:
    """Open a wave for the newest core; its id and the states of its members when all are through."""
    wave = farm.api("POST", "waves", json={"trigger": "project", "subject": "wavecore"})["id"]
    shown: dict[str, Any] = wait_for(
        lambda: (w := farm.get(f"waves/{wave}"))["state"] == "ready" and w, f"the end of {wave}", 150
    )
    return wave, {one["project"]: one["state"] for one in shown["members"]}


def test_a_wave_stops_where_nothing_changed_and_is_promoted_as_one(farm) -> None:
    core, middle, top = (farm.connect(name) for name in ("wavecore", "wavemiddle", "wavetop"))
    release(farm, core, "1.0")
    release(farm, middle, "1.0", needs="wavecore")
    release(farm, top, "1.0", needs="wavemiddle")

    release(farm, core, "1.1")
    wave, states = through(farm)
    assert states == {"wavemiddle": "equal", "wavetop": "unneeded"}
    farm.api("POST", f"waves/{wave}/cancel")

    release(farm, core, "2.0")
    wave, states = through(farm)
    assert states == {"wavemiddle": "rebuilt", "wavetop": "rebuilt"}
    new = "wavetop-1.0-1-py3-none-any.whl"
    assert new not in index_files(farm, "wavetop")
    farm.api("POST", f"waves/{wave}/promote", json={})
    assert new in index_files(farm, "wavetop")
    data = farm.session.get(f"{farm.url}/dev/files/wavetop/{new}").content
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        assert wheel.read("wavetop/__init__.py") == b"made = '2'\n"
    farm.api("POST", f"waves/{wave}/undo")
    assert new not in index_files(farm, "wavetop")
