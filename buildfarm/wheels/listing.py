"""The sandboxed process that lists the members of an archive: name, content, time, mode, owner, packing.

Of a zip the checksums are those that its directory states: who lies there hides a difference from the list,
never from the digest of the whole file.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from typing import IO, BinaryIO

from buildfarm.wheels import child, sample

#: Members that are listed at most; with more there is no answer.
_MOST = 50_000
_CHUNK = 1 << 16
#: What is asked for a wheel's members as if it carried no build number.
UNNUMBERED = "unnumbered.whl"


def answer(asked: str, files: Sequence[int]) -> str:
    """The members of the one file, whose name was asked with; nothing where it cannot be read."""
    with os.fdopen(os.dup(files[0]), "rb") as file:
        file.seek(0)
        rows = []
        for row in _reader(asked)(file):
            rows.append(row)
            if len(rows) > _MOST:
                return ""
    return json.dumps(rows)


def _reader(asked: str) -> Callable[[BinaryIO], Iterator[list[str]]]:
    if asked == UNNUMBERED:
        return _unnumbered
    return _zipped if asked.endswith(".whl") else _tarred


def _unnumbered(file: BinaryIO) -> Iterator[list[str]]:
    """Like `_zipped`; the content of WHEEL is its lines but for that with the build number."""
    with zipfile.ZipFile(file) as archive:
        for name, content, *rest in _zipped(file):
            if name.endswith(".dist-info/WHEEL"):
                with archive.open(name) as member:
                    lines = member.read(_CHUNK).splitlines()
                kept = [line for line in lines if not line.startswith(b"Build:")]
                yield [name, _digest(io.BytesIO(b"\n".join(kept))), *rest]
            else:
                yield [name, content, *rest]


def _zipped(file: BinaryIO) -> Iterator[list[str]]:
    with zipfile.ZipFile(file) as archive:
        for one in archive.infolist():
            yield [
                one.filename,
                f"{one.CRC:08x}/{one.file_size}",
                "-".join(map(str, one.date_time)),
                f"{one.external_attr:08x}",
                str(one.create_system),
                f"{one.compress_type}/{one.flag_bits}/{one.create_version}/{one.extra.hex()}",
            ]


def _tarred(file: BinaryIO) -> Iterator[list[str]]:
    # As a stream: nothing is looked up twice, and of a member one chunk is in memory.
    with tarfile.open(fileobj=file, mode="r|*") as archive:
        for one in archive:
            content = archive.extractfile(one) if one.isreg() else None
            yield [
                one.name,
                _digest(content or io.BytesIO(one.linkname.encode(errors="replace"))),
                str(one.mtime),
                f"{one.mode:o}",
                f"{one.uid}/{one.gid}/{one.uname}/{one.gname}",
                repr(one.type),
            ]


def _digest(content: IO[bytes]) -> str:
    state = hashlib.sha256()
    while chunk := content.read(_CHUNK):
        state.update(chunk)
    return state.hexdigest()


def main() -> None:
    """List two files first: what that loads is there for every child, read with rights to."""
    "".encode("cp437")
    for filename, data in sample.files().items():
        (_zipped if filename.endswith(".whl") else _tarred)(io.BytesIO(data)).__next__()
    child.serve(answer)


if __name__ == "__main__":
    main()
