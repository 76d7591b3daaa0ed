"""The index for a run that repeats an attempt: what that read, and today's pages of all else."""

import hashlib
import json
from typing import Any

import pytest

from buildfarm import clock
from buildfarm.farm.model import Dependency
from buildfarm.index.buildview import Served
from buildfarm.mirror.model import RegistryFile

TARGET = "cp313-manylinux_2_28_x86_64"
MARK = "X-Buildfarm-Unrecorded"
OLD, NEW = b"the bytes of then", b"the bytes of today"


@pytest.fixture
def ask(house):
    """GET below the index of an attempt that has read tool 1.0, as somebody who may start builds."""
    _, made = house.build(house.source(), TARGET)
    token = house.claim(made[TARGET])
    with house.database.begin() as session:
        for ecosystem, filename in (("pypi", "tool-1.0-py3-none-any.whl"), ("cargo", "serde-1.0.crate")):
            session.add(
                Dependency(
                    job_id=made[TARGET], attempt=1, filename=filename, project=filename.partition("-")[0],
                    sha256=hashlib.sha256(OLD).hexdigest(), version="1.0", origin="https://index.example",
                    served_at=clock.now(), ecosystem=ecosystem,
                )
            )  # fmt: skip
    house.finish(token)
    header = {"Authorization": f"Bearer {house.token('build')}"}

    def get(path: str):
        url = f"/api/v1/jobs/{made[TARGET]}/attempts/1/index{path}"
        return house.app.test_client().get(url, headers=header)

    return get


@pytest.fixture
def today(house, monkeypatch):
    """The index of today has tool 2.0 and other, and other bytes for tool 1.0."""
    sha256 = house.farm.blobs.put_bytes(NEW)

    class Today:
        def page(self, name: str, granted: list[str]) -> bytes:
            return json.dumps({"today": name, "granted": granted}).encode()

        def file(self, name: str, filename: str, granted: list[str]) -> Served:
            return Served(sha256, len(NEW), filename, name, "1.0", "https://index.example")

        def metadata(self, *_args: Any) -> bytes:
            return b"metadata"

    class Crates:
        def file(self, name: str, version: str) -> RegistryFile:
            return RegistryFile(filename=f"{name}-{version}.crate", sha256=sha256)

    vars(house.farm)["build_view"], vars(house.farm)["crates"] = Today(), Crates()


def test_a_project_that_was_read_has_only_the_files_that_were(house, today, ask):
    house.farm.blobs.put_bytes(OLD)
    page = ask("/simple/Tool/").json
    assert page["versions"] == ["1.0"]
    assert MARK not in ask("/simple/Tool/").headers
    [file] = page["files"]
    assert (file["filename"], file["hashes"]) == (
        "tool-1.0-py3-none-any.whl", {"sha256": hashlib.sha256(OLD).hexdigest()},
    )  # fmt: skip
    assert file["url"] == "../../files/tool/tool-1.0-py3-none-any.whl"
    assert ask("/files/tool/tool-1.0-py3-none-any.whl").data == OLD
    assert ask("/files/tool/tool-2.0-py3-none-any.whl").status_code == 404


def test_a_project_that_was_not_read_is_as_it_is_today(today, ask):
    assert ask("/simple/other/").json == {"today": "other", "granted": ["dev"]}
    assert ask("/files/other/other-1.0-py3-none-any.whl").data == NEW
    assert ask("/files/other/other-1.0-py3-none-any.whl.metadata").data == b"metadata"
    assert ask("/simple/other/").headers[MARK] == "other"
    assert ask("/simple/serde/").json["today"] == "serde"


def test_a_crate_that_was_not_read_is_named(today, ask):
    read, other = (ask(f"/crates/files/{name}/1.0/download") for name in ("serde", "libc"))
    assert (read.data, other.data) == (NEW, NEW)
    assert (read.headers.get(MARK), other.headers.get(MARK)) == (None, "libc-1.0.crate")
