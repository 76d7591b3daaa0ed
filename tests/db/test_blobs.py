from __future__ import annotations

import errno
import hashlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import EnvironmentProblem, IntegrityFailure, LimitExceeded, NotFound, StorageFull
from buildfarm.storage.blobs import RESERVE_BYTES, Blobs


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(tmp_path / "blobs")


def leftovers(blobs: Blobs) -> list[Path]:
    return list((blobs.root / "tmp").iterdir())


def stored(blobs: Blobs) -> list[Path]:
    return [path for path in blobs.root.glob("*/*") if path.parent.name != "tmp"]


def test_a_stream_is_kept_under_the_digest_of_its_bytes(blobs: Blobs) -> None:
    name, size = blobs.put([b"ab", b"", b"c"])
    assert name == hashlib.sha256(b"abc").hexdigest()
    assert (size, blobs.read(name), blobs.has(name)) == (3, b"abc", True)
    assert leftovers(blobs) == []
    assert blobs.path(name).stat().st_mode & 0o777 == 0o644


def test_other_bytes_than_announced_are_not_kept(blobs: Blobs) -> None:
    with pytest.raises(IntegrityFailure) as caught:
        blobs.put([b"abc"], sha256="0" * 64)
    assert caught.value.code == "blob.digest"
    assert leftovers(blobs) == stored(blobs) == []


def test_too_many_bytes_end_the_stream_at_the_limit(blobs: Blobs) -> None:
    taken = []

    def endless() -> Iterator[bytes]:
        while True:
            taken.append(1)
            yield b"x" * 10

    with pytest.raises(LimitExceeded):
        blobs.put(endless(), max_bytes=95)
    assert len(taken) == 10
    assert leftovers(blobs) == stored(blobs) == []


def test_a_stream_that_breaks_leaves_nothing(blobs: Blobs) -> None:
    def broken() -> Iterator[bytes]:
        yield b"half"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        blobs.put(broken())
    assert leftovers(blobs) == stored(blobs) == []


def test_a_full_disk_is_said_so(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StorageFull) as caught:
        blobs.put([b"abc"])
    assert (caught.value.status, caught.value.code) == (507, "storage.full")
    assert leftovers(blobs) == stored(blobs) == []


def test_uploads_leave_room_for_the_farm(blobs: Blobs) -> None:
    statistics = os.statvfs(blobs.root)
    free = statistics.f_bavail * statistics.f_frsize
    assert blobs.has_room(0)
    assert not blobs.has_room(free - RESERVE_BYTES // 2)


def test_many_writers_of_one_blob_all_succeed(blobs: Blobs) -> None:
    data = os.urandom(1 << 20)
    names: list[str] = []
    threads = [threading.Thread(target=lambda: names.append(blobs.put_bytes(data))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names == [hashlib.sha256(data).hexdigest()] * 8
    assert leftovers(blobs) == []


@pytest.mark.parametrize(
    "name", ["", "..", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 65, "0" * 63 + "/", "٣" * 64]
)
def test_what_is_no_digest_names_no_blob(blobs: Blobs, name: str) -> None:
    for look in (blobs.path, blobs.read, blobs.open, blobs.delete, blobs.has):
        with pytest.raises(NotFound):
            look(name)


def test_deleting_twice_is_no_error(blobs: Blobs) -> None:
    name = blobs.put_bytes(b"x")
    blobs.delete(name)
    blobs.delete(name)
    assert not blobs.has(name)
    with pytest.raises(NotFound):
        blobs.open(name)


def test_a_folder_that_cannot_be_written_is_a_problem_of_the_machine(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnvironmentProblem) as caught:
        Blobs(tmp_path / "file" / "blobs")
    assert caught.value.code == "storage.not_writable"


@settings(max_examples=60)
@given(data=st.binary(max_size=300), start=st.integers(0, 310), length=st.none() | st.integers(0, 310))
def test_any_slice_of_a_blob(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, start: int, length: int | None
) -> None:
    blobs = Blobs(tmp_path_factory.getbasetemp() / "slices")
    name = blobs.put_bytes(data)
    end = None if length is None else start + length
    assert b"".join(blobs.chunks(name, start, length)) == data[start:end]
