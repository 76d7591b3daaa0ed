"""What is fuzzed, and what has to hold for every input: facts that a second reader shares, or a refusal.

`tests/wheels/test_corpus.py` runs the committed inputs, `make fuzz` makes more of them.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

from buildfarm.errors import FarmError
from buildfarm.wheels.elf import NotReadable, read_elf
from buildfarm.wheels.facts import Expectation, FileFacts
from buildfarm.wheels.foreign import macho_slices, pe_platform
from buildfarm.wheels.metadata import read_metadata
from buildfarm.wheels.names import parse_filename
from buildfarm.wheels.record import Seen, check_record
from buildfarm.wheels.rules import Report
from buildfarm.wheels.sample import wheel_of
from buildfarm.wheels.validate import validate

CORPUS = Path(__file__).with_name("corpus")
WHEEL, SDIST = "a-1-py3-none-any.whl", "a-1.tar.gz"
#: Seconds of CPU time that no small input may take.
PATIENCE = 2.0


def facts_of(filename: str, data: bytes, origin: str = "mirror") -> FileFacts | None:
    """What the validator says of a file; None for a refusal."""
    file = os.memfd_create("fuzzed")
    try:
        os.write(file, data)
        return validate(file, Expectation(filename, None, None, 1 << 30, origin))
    except FarmError as error:
        refused = error
    finally:
        os.close(file)
    assert refused.code.startswith("file."), refused
    assert refused.message.isascii(), refused
    return None


def fuzz_zip(data: bytes) -> None:
    """A whole wheel: what is accepted, Python's reader unpacks to the same, inside the folder."""
    facts = facts_of(WHEEL, data)
    if facts is None:
        return
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert len(names) == len(set(names))
        assert all(is_inside(name) for name in names)
        assert archive.read("a-1.dist-info/METADATA") == facts.metadata


def fuzz_tar(data: bytes) -> None:
    """A tar archive, packed by us so that changes reach it; Python's reader agrees on what is in it."""
    data = with_checksums(data)
    facts = facts_of(SDIST, gzip.compress(data, 1, mtime=0))
    if facts is None:
        return
    with tarfile.open(fileobj=io.BytesIO(data), mode="r:", encoding="utf-8") as archive:
        members = archive.getmembers()
        assert all(is_inside(member.name) for member in members)
        assert all(member.isreg() or member.isdir() or member.issym() or member.islnk() for member in members)
        found = archive.extractfile("a-1/PKG-INFO")
        assert found is not None
        assert found.read() == facts.metadata


def fuzz_gzip(data: bytes) -> None:
    """A whole source archive."""
    facts_of(SDIST, data)


def fuzz_metadata(data: bytes) -> None:
    """METADATA: what is accepted names the project of the file."""
    for origin in ("upload", "mirror"):
        report = Report(origin)
        metadata = refused_or(read_metadata, data, parse_filename(WHEEL, report), "METADATA", report)
        assert metadata is None or metadata.name.lower() == "a"


def fuzz_record(data: bytes) -> None:
    """RECORD: what is accepted names each member."""
    seen = {"a.py": Seen(b"\0" * 32, 0), "a-1.dist-info/RECORD": Seen(b"\0" * 32, len(data))}

    def reread(_path: str) -> Iterator[bytes]:
        return iter([b""])

    if refused_or(lambda: check_record(data, "a-1.dist-info", seen, reread, Report()) or True):
        assert b"a.py" in data


def fuzz_wheel(data: bytes) -> None:
    """WHEEL and entry_points.txt, which share a file here: the first blank line ends WHEEL."""
    head, _, rest = data.partition(b"\n\n\n")
    facts_of(WHEEL, wheel_of({"a-1.dist-info/WHEEL": head, "a-1.dist-info/entry_points.txt": rest}), "upload")


def fuzz_elf(data: bytes) -> None:
    """Machine code of the three kinds."""
    for read in (read_elf, macho_slices, pe_platform):
        with contextlib.suppress(NotReadable):
            read(io.BytesIO(data))


def with_checksums(data: bytes) -> bytes:
    """A tar archive whose headers have the checksum of what they say, so that a change gets past it."""
    fixed = bytearray(data)
    for at in range(0, len(data) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            fixed[at + 148 : at + 156] = b" " * 8
            fixed[at + 148 : at + 156] = b"%06o\0 " % sum(fixed[at : at + 512])
    return bytes(fixed)


def refused_or(function: Callable, *arguments: object):
    try:
        return function(*arguments)
    except FarmError:
        return None


def is_inside(name: str) -> bool:
    """Whether a member stays in the folder it is unpacked to, by the rules of every system."""
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and "\\" not in name and ":" not in name[1:2]


def timed(target: Callable[[bytes], None]) -> Callable[[bytes], None]:
    """The target, which must not take long."""

    def run(data: bytes) -> None:
        started = time.process_time()
        target(data)
        assert time.process_time() - started < PATIENCE

    return run


TARGETS = {
    name.removeprefix("fuzz_"): timed(target) for name, target in globals().items() if name[:5] == "fuzz_"
}
