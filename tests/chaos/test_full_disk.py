"""A full disk under the whole farm: refusals in words, nothing half, and on it goes when there is room."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
from chaos_harness import CLOCKS, Eyes, Farm, index_files

from buildfarm.storage.blobs import RESERVE_BYTES
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive]


class Disk:
    """A small file system of its own, and what fills it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._ballast = folder, folder / "ballast"

    def free(self) -> int:
        facts = os.statvfs(self.folder)
        return facts.f_bavail * facts.f_frsize

    def leave(self, size: int) -> None:
        """Fill it until so many bytes are left."""
        with self._ballast.open("ab") as out:
            os.posix_fallocate(out.fileno(), out.tell(), self.free() - size)

    def fill(self) -> None:
        """Fill it to the last page, whatever is freed or written meanwhile."""
        with self._ballast.open("ab", buffering=0) as out:
            while self.free():
                try:
                    out.write(bytes(min(self.free(), 1 << 20)))
                except OSError:
                    return

    def make_room(self) -> None:
        self._ballast.unlink()


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    size = RESERVE_BYTES + (128 << 20)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=0755", "tmpfs", folder], check=True)
    try:
        yield Disk(folder)
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture
def small(disk: Disk, engine: str) -> Iterator[Farm]:
    farm = Farm(disk.folder)
    try:
        farm.start()
        farm.api("POST", "projects", json={"name": "chaos-upload"})
        yield farm
    finally:
        farm.end()


def upload(farm: Farm, wheel: tuple[str, bytes]) -> requests.Response:
    filename, data = wheel
    name, version = filename.split("-")[:2]
    form = {":action": "file_upload", "protocol_version": "1", "name": name, "version": version}
    return requests.post(
        f"{farm.url}/dev/legacy/",
        data=form | {"filetype": "bdist_wheel", "pyversion": "py3", "metadata_version": "2.1"},
        files={"content": (filename, data)},
        auth=("__token__", farm.token),
        timeout=60,
    )


def restarts(farm: Farm) -> dict[str, int]:
    children = json.loads((farm.data / "run" / "status.json").read_text())["children"]
    return {child["name"]: child["restarts"] for child in children}


def test_a_disk_that_is_nearly_full_ends_builds_and_uploads_in_words(small, disk, a_wheel):
    source = small.connect()
    disk.leave(RESERVE_BYTES // 4)
    refused = upload(small, a_wheel)
    assert (refused.status_code, refused.json()["code"]) == (507, "storage.full")
    build = source.build()
    ended = build.reaches("failed")
    assert ended["cause"] == "infrastructure"
    assert "disk" in ended["first_error"]
    assert index_files(small, source.repository.name) == set()
    disk.make_room()
    source.build().published_once(attempt=1)
    assert upload(small, a_wheel).ok


def test_on_a_disk_without_room_work_waits_and_goes_on_by_itself(small, disk, a_wheel, healed):
    source = small.connect()
    source.build().published_once(attempt=1)
    published = index_files(small, source.repository.name)
    working = source.build(seconds=8)
    with Eyes(working):
        working.at_work()
        before = restarts(small)
        disk.fill()
        refused = upload(small, a_wheel)
        assert (refused.status_code, refused.json()["code"]) == (507, "storage.full")
        body = {"source": source.repository.name, "ref": "refs/tags/1.1"}
        started = small.session.post(f"{small.url}/api/v1/builds", json=body, timeout=60)
        assert (started.status_code, started.json()["code"]) == (507, "database.full"), started.text
        assert index_files(small, source.repository.name) == published
        # The fault lasts longer than a lease and than the build: nobody can note or tell anything.
        time.sleep(float(CLOCKS["BUILDFARM_TIMING__LEASE_S"]) + 1)
        disk.fill()
        assert index_files(small, source.repository.name) == published
        began = time.monotonic()
        disk.make_room()
        working.published_once()
        healed("disk full, room made: the build that worked is published", time.monotonic() - began)
    source.build().published_once(attempt=1)
    assert wait_for(lambda: upload(small, a_wheel).ok, "an upload to be taken")
    assert restarts(small) == before
