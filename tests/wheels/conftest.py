"""A small writer of wheels and sdists that can also write what no sane writer would."""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import shutil
import struct
import subprocess
import sys
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from packaging.tags import parse_tag

from buildfarm.errors import FarmError
from buildfarm.wheels.facts import Expectation, FileFacts
from buildfarm.wheels.validate import validate, validate_in_sandbox

METADATA = "Metadata-Version: 2.4\nName: demo\nVersion: 1.0\nSummary: A demo\nRequires-Python: >=3.9\n"


@dataclass(frozen=True)
class Part:
    """One zip member; what is None is written as it should be, `central_*` differ in the directory."""

    name: str
    data: bytes = b""
    raw_name: bytes | None = None
    method: int = 8
    flags: int | None = None
    mode: int = 0o100644
    packed: bytes | None = None
    size: int | None = None
    crc: int | None = None
    extra: bytes = b""
    comment: bytes = b""
    disk: int = 0
    central: dict[str, object] = field(default_factory=dict)
    offset: int | None = None
    hidden: bool = False

    def blob(self) -> bytes:
        if self.packed is not None:
            return self.packed
        if self.method != 8:
            return self.data
        deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
        return deflate.compress(self.data) + deflate.flush()

    def fields(self) -> tuple[bytes, bytes]:
        """The part common to both headers, and the name."""
        name = self.name.encode() if self.raw_name is None else self.raw_name
        flags = self.flags if self.flags is not None else (0 if name.isascii() else 0x800)
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        size = len(self.data) if self.size is None else self.size
        head = struct.pack("<5H3I", 20, flags, self.method, 0, 33, crc, len(self.blob()), size)
        return head, name


@dataclass(frozen=True)
class Made:
    filename: str
    data: bytes


def zip_bytes(
    parts: list[Part],
    *,
    end: dict[str, int] | None = None,
    before: bytes = b"",
    between: bytes = b"",
    after: bytes = b"",
    comment: bytes = b"",
    reverse: bool = False,
) -> bytes:
    body, directory = bytearray(before), []
    for part in parts:
        head, name = part.fields()
        offset = len(body) if part.offset is None else part.offset
        body += (
            b"PK\3\4"
            + head
            + struct.pack("<2H", len(name), len(part.extra))
            + name
            + part.extra
            + part.blob()
        )
        central = replace(part, **part.central)
        chead, cname = central.fields()
        tail = (len(cname), len(central.extra), len(part.comment), part.disk, 0, part.mode << 16, offset)
        entry = b"PK\1\2" + struct.pack("<H", 0x314) + chead + struct.pack("<5H2I", *tail)
        if not part.hidden:
            directory.append(entry + cname + central.extra + part.comment)
    body += between
    listed = b"".join(reversed(directory) if reverse else directory)
    real = {"disk": 0, "start": 0, "here": len(directory), "total": len(directory)}
    real |= {"size": len(listed), "offset": len(body), "comment": len(comment)} | (end or {})
    return bytes(body) + listed + b"PK\5\6" + struct.pack("<4H2IH", *real.values()) + comment + after


def hashed(path: str, data: bytes, algorithm: str = "sha256") -> str:
    digest = base64.urlsafe_b64encode(hashlib.new(algorithm, data).digest()).rstrip(b"=").decode()
    return f"{path},{algorithm}={digest},{len(data)}"


class Maker:
    """Makes files that are right but for what the arguments say."""

    Part = Part
    METADATA = METADATA
    hashed = staticmethod(hashed)
    zip_bytes = staticmethod(zip_bytes)

    def __init__(self, tmp_path: Path, run: Callable[..., FileFacts] = validate) -> None:
        self._tmp, self.run = tmp_path, run

    def parts(
        self,
        *,
        tag: str = "py3-none-any",
        files: dict[str, bytes] | None = None,
        metadata: str | bytes | None = None,
        wheel: str | None = None,
        pure: bool | None = None,
        record: str | None = None,
        info: str = "demo-1.0.dist-info",
        drop: tuple[str, ...] = (),
        more: tuple[Part, ...] = (),
    ) -> list[Part]:
        pure = tag.endswith("-any") if pure is None else pure
        tags = "".join(f"Tag: {tag}\n" for tag in sorted(map(str, parse_tag(tag))))
        wheel = wheel or f"Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: {str(pure).lower()}\n{tags}"
        text = METADATA if metadata is None else metadata
        members = {"demo/__init__.py": b"x = 1\n", **(files or {})}
        members[f"{info}/METADATA"] = text if isinstance(text, bytes) else text.encode()
        members[f"{info}/WHEEL"] = wheel.encode()
        for name in drop:
            members.pop(f"{info}/{name}", None)
        if record is None:
            lines = [hashed(name, data) for name, data in members.items()]
            lines += [hashed(part.name, part.data) for part in more if not part.name.endswith("/")]
            record = "\n".join([*lines, f"{info}/RECORD,,"]) + "\n"
        if "RECORD" not in drop:
            members[f"{info}/RECORD"] = record.encode("utf-8", "surrogateescape")
        return [*more, *(Part(name, data) for name, data in members.items())]

    def wheel(
        self, *, filename: str | None = None, archive: dict[str, object] | None = None, **how: object
    ) -> Made:
        name = filename or f"demo-1.0-{how.get('tag', 'py3-none-any')}.whl"
        return Made(name, zip_bytes(self.parts(**how), **(archive or {})))

    def tar(
        self, members: list[tuple[tarfile.TarInfo, bytes]], tar_format: int = tarfile.PAX_FORMAT
    ) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tar_format) as archive:
            for info, data in members:
                archive.addfile(info, io.BytesIO(data))
        return out.getvalue()

    def info(self, name: str, data: bytes = b"", **fields: object) -> tuple[tarfile.TarInfo, bytes]:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        for key, value in fields.items():
            setattr(info, key, value)
        return info, data

    def sdist_members(
        self,
        *more: tuple[tarfile.TarInfo, bytes],
        top: str = "demo-1.0",
        metadata: str = METADATA,
        pyproject: bytes = b'[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n',
    ) -> list[tuple[tarfile.TarInfo, bytes]]:
        return [
            self.info(f"{top}/pyproject.toml", pyproject),
            self.info(f"{top}/demo.py", b"x = 1\n"),
            *more,
            self.info(f"{top}/PKG-INFO", metadata.encode()),
        ]

    def sdist(
        self,
        *more: tuple[tarfile.TarInfo, bytes],
        filename: str = "demo-1.0.tar.gz",
        tar_format: int = tarfile.PAX_FORMAT,
        change: Callable[[bytes], bytes] = bytes,
        **how: object,
    ) -> Made:
        plain = self.tar(self.sdist_members(*more, **how), tar_format)
        return Made(filename, gzip.compress(change(plain), mtime=0))

    def check(self, made: Made, **expected: object) -> FileFacts:
        path = self._tmp / "file"
        path.write_bytes(made.data)
        fields = {"project": None, "version": None, "max_bytes": 1 << 30} | expected
        return self.run(path, Expectation(made.filename, **fields))

    def refusal(self, made: Made, **how: object) -> FarmError:
        """The refusal; the sandboxed child gives the same one."""
        with pytest.raises(FarmError) as caught:
            self.check(made, **how)
        if self.run is validate:
            with pytest.raises(FarmError) as sandboxed:
                Maker(self._tmp, validate_in_sandbox).check(made, **how)
            assert sandboxed.value.message == caught.value.message
        return caught.value


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def closed_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This program and its Python below a folder that only its owner may enter."""
    closed = tmp_path / "closed"
    (closed / "bin").mkdir(parents=True)
    closed.chmod(0o700)
    (closed / "bin" / "python").symlink_to(sys.executable)
    (closed / "pyvenv.cfg").write_text((Path(sys.prefix) / "pyvenv.cfg").read_text())
    (closed / "lib").symlink_to(Path(sys.prefix) / "lib")
    (closed / "program").symlink_to(Path(__file__).parents[2])
    monkeypatch.setattr(sys, "executable", str(closed / "bin" / "python"))
    return closed / "program"


@pytest.fixture(scope="session")
def compile_c(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., bytes]:
    """`compile_c(*linker_options, needs="libc.so.6", code="...")`: a small shared object's bytes.

    The libraries it needs are empty ones made on the spot, so that each can have any name.
    """
    if shutil.which("gcc") is None:
        pytest.skip("no gcc on this machine to make ELF files with")
    folder = tmp_path_factory.mktemp("elf")

    def compile_one(
        *options: str,
        needs: str | None = "libc.so.6",
        code: str = "int one(void) { return 1; }",
        version_script: Path | None = None,
    ) -> bytes:
        source, out, fake = folder / "code.c", folder / "code.so", folder / "fake.so"
        libraries = []
        if needs:
            source.write_text("int nothing(void) { return 0; }")
            script = [f"-Wl,--version-script={version_script}"] if version_script else []
            _gcc(source, fake, f"-Wl,-soname,{needs}", *script)
            libraries = ["-Wl,--no-as-needed", str(fake)]
        source.write_text(code)
        _gcc(source, out, *libraries, *options)
        return out.read_bytes()

    return compile_one


def _gcc(source: Path, out: Path, *options: str) -> None:
    base = ["gcc", "-shared", "-fPIC", "-nostdlib", "-Wl,-z,noexecstack"]
    subprocess.run([*base, "-o", str(out), str(source), *options], check=True, capture_output=True)
