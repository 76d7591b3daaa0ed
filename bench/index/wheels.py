"""Wheels to upload and to serve: right in every respect, of a given size, each with other bytes."""

from __future__ import annotations

import io
import secrets
import zipfile
from email import message_from_bytes

from tests.conftest import wheel

#: About two kilobytes of metadata, as real projects have.
_REQUIRES = tuple(f'dependency-of-some-length-{number}>=1.{number}; extra == "more"' for number in range(35))


def some_wheel(project: str, version: str, size: int = 50_000) -> tuple[str, bytes]:
    """File name and bytes of a wheel of about `size` bytes that no compression makes smaller."""
    return wheel(project, version, code=f"x = {secrets.token_hex(size * 98 // 100)!r}\n", requires=_REQUIRES)


def metadata_of(body: bytes) -> bytes:
    """The METADATA of a wheel."""
    with zipfile.ZipFile(io.BytesIO(body)) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return archive.read(name)


def metadata_version(body: bytes) -> str:
    """Which version of the core metadata standard a wheel follows."""
    return str(message_from_bytes(metadata_of(body))["Metadata-Version"])
