"""A release is what a tag says; every push of a branch is a dev build of its own, which climbs no ladder."""

import io
import os
import re
import subprocess
import sys
import zipfile
from email.parser import HeaderParser
from pathlib import Path

import pytest
from chaos_harness import ENDS, index_files
from chaos_repository import BACKEND

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine]


def built(farm, name: str, ref: str, commit: str | None = None):
    build_id = farm.api("POST", "builds", json={"source": name, "ref": ref, "commit": commit})["id"]
    shown = wait_for(lambda: (b := farm.get(f"builds/{build_id}"))["state"] in ENDS and b, "its end", 120)
    files = {one["filename"] for one in shown["files"]}
    wait_for(lambda: files <= index_files(farm, name), "its page")
    return shown


def promote(farm, name: str, version: str):
    body = {"project": name, "version": version, "from": "dev", "to": "staging"}
    return farm.session.post(f"{farm.url}/api/v1/promotions", json=body, timeout=60)


def test_pushes_of_a_branch_are_published_side_by_side_and_the_tag_alone_is_promoted(farm) -> None:
    source = farm.connect()
    name, version = source.repository.name, source.build().published_once()["version"]
    wheels = []
    for number in range(2):
        other = BACKEND.replace("version = {", f"push_{number} = version = {{")
        commit = source.repository.commit({"backend.py": other})
        shown = built(farm, name, "refs/heads/main")
        assert shown["state"] == "published", shown["first_error"]
        assert re.fullmatch(rf"{version}\+20\d{{12}}(\.\d+)?\.g{commit[:9]}", shown["version"])
        (file,) = shown["files"]
        assert file["filename"] == f"{name}-{shown['version']}-py3-none-any.whl"
        assert promote(farm, name, shown["version"]).json()["code"] == "promotion.dev_build"
        wheels.append(file["filename"])
    assert set(wheels) <= index_files(farm, name)
    data = farm.session.get(f"{farm.url}/dev/files/{name}/{wheels[0]}", timeout=60).content
    with zipfile.ZipFile(io.BytesIO(data)) as wheel:
        info = wheels[0].removesuffix("-py3-none-any.whl") + ".dist-info"
        said = HeaderParser().parsestr(wheel.read(f"{info}/METADATA").decode())
    assert wheels[0].startswith(f"{name}-{said['Version']}-")
    assert promote(farm, name, version).ok


def pip_takes(farm, wanted: str, into: Path) -> str:
    index = f"{farm.url.replace('://', f'://__token__:{farm.token}@')}/dev/simple/"
    argv = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--target", str(into), wanted]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    done = subprocess.run(
        [*argv, "--index-url", index], env=kept, capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    (info,) = into.glob("*.dist-info")
    return info.name.removesuffix(".dist-info").partition("-")[2]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["older first", "newer first"])
def test_pip_takes_the_newer_of_two_pushes_whichever_was_built_first(farm, tmp_path, order) -> None:
    source = farm.connect()
    name, tagged = source.repository.name, source.build().published_once()["version"]
    commits = [source.repository.commit({"notes.txt": f"{number}"}) for number in range(2)]
    versions = {}
    for number in order:
        shown = built(farm, name, "refs/heads/main", commits[number])
        assert shown["state"] == "published", shown["first_error"]
        versions[number] = shown["version"]
    assert len({tagged, *versions.values()}) == 3
    for wanted in (name, f"{name}=={tagged}"):
        assert pip_takes(farm, wanted, tmp_path / wanted) == versions[1]
