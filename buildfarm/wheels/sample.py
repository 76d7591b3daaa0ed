"""The smallest wheel and sdist that keep every rule."""

from __future__ import annotations

import base64
import codecs
import hashlib
import io
import tarfile
import zipfile

_METADATA = (
    b"Metadata-Version: 2.4\nName: a\nVersion: 1\nRequires-Python: >=3\nRequires-Dist: b>=1; extra == 'x'\n"
)
_WHEEL = b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
#: Codecs that the readers of archives load when they meet the first name that needs them.
_CODECS = ("cp437", "unicode_escape")


def files() -> dict[str, bytes]:
    """Both by file name."""
    for codec in _CODECS:
        codecs.lookup(codec)
    return {"a-1-py3-none-any.whl": wheel_of({}), "a-1.tar.gz": _sdist()}


def wheel_of(changes: dict[str, bytes]) -> bytes:
    """The wheel with other or more members; RECORD lists what is there."""
    members = {"a.py": b"", "a-1.dist-info/METADATA": _METADATA, "a-1.dist-info/WHEEL": _WHEEL, **changes}
    lines = [f"{path},sha256={_hash(data)},{len(data)}\n" for path, data in members.items()]
    members["a-1.dist-info/RECORD"] = "".join([*lines, "a-1.dist-info/RECORD,,\n"]).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, data in members.items():
            archive.writestr(path, data)
    return out.getvalue()


def _sdist() -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        for path, data in {"a-1/PKG-INFO": _METADATA, "a-1/pyproject.toml": b""}.items():
            info = tarfile.TarInfo(path)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _hash(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
