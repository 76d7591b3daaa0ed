"""A wheel that says otherwise than its source archive gets a finding, whichever of them comes first."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest

from buildfarm.index.model import File
from tests.index.uploads import send


def sdist(requires_python: str) -> tuple[str, bytes]:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        about = f"Metadata-Version: 2.2\nName: widget\nVersion: 1.0\nRequires-Python: {requires_python}\n"
        for name, text in {"pyproject.toml": "", "PKG-INFO": about}.items():
            info = tarfile.TarInfo(f"widget-1.0/{name}")
            info.size = len(text)
            archive.addfile(info, io.BytesIO(text.encode()))
    return "widget-1.0.tar.gz", gzip.compress(out.getvalue(), mtime=0)


@pytest.fixture
def uploader(house, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(house.farm.upstream, "rows", {}.get)
    house.follower.catch_up()
    return house.client(house.token("upload:dev"))


def found(house, filename: str) -> list[str]:
    with house.database.read() as session:
        return [one["rule"] for one in session.get_one(File, filename).findings]


@pytest.mark.parametrize("is_first", [True, False])
def test_whichever_comes_first(house, uploader, *, is_first: bool) -> None:
    wheel = house.wheel(requires_python=">=3.9")
    both = [wheel, sdist(">=3.12")]
    for filename, data in both if is_first else reversed(both):
        assert send(uploader, filename, data).status_code == 200
    assert found(house, wheel[0]) == ["M-11"]
    assert found(house, "widget-1.0.tar.gz") == []


def test_what_agrees_leaves_nothing(house, uploader) -> None:
    wheel = house.wheel(requires_python=">=3.9")
    for filename, data in (wheel, sdist(">= 3.9")):
        assert send(uploader, filename, data).status_code == 200
    assert found(house, wheel[0]) == []


def test_another_look_finds_it_again_and_survives_lost_metadata(house, uploader) -> None:
    wheel = house.wheel(requires_python=">=3.9")
    for filename, data in (wheel, sdist(">=3.12")):
        assert send(uploader, filename, data).status_code == 200
    with house.database.begin() as session:
        for file in session.query(File):
            file.rules_version, file.findings = 0, []
    assert len(list(house.farm.recheck.walk())) == 2
    assert found(house, wheel[0]) == ["M-11"]
    with house.database.begin() as session:
        for file in session.query(File):
            house.farm.blobs.delete(file.metadata_sha256)
            file.rules_version = 0
    assert len(list(house.farm.recheck.walk())) == 2
