"""The form that upload clients send, and sending it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

URL = "/dev/legacy/"
LINE = "\r\n"


def body_of(parts: Iterable[tuple[str, str | None, bytes]], boundary: str = "limit") -> bytes:
    """Multipart bytes in the order given; a part with a file name is a file."""
    out = b""
    for name, filename, data in parts:
        head = f'--{boundary}{LINE}Content-Disposition: form-data; name="{name}"'
        head += f'; filename="{filename}"' if filename is not None else ""
        out += head.encode() + b"\r\n\r\n" + data + b"\r\n"
    return out + f"--{boundary}--{LINE}".encode()


def fields_of(filename: str, data: bytes, **changes: str | None) -> dict[str, str]:
    project, version = filename.removesuffix(".tar.gz").split("-")[:2]
    fields: dict[str, str | None] = {
        ":action": "file_upload",
        "protocol_version": "1",
        "metadata_version": "2.1",
        "name": project.replace("_", "-"),
        "version": version,
        "filetype": "bdist_wheel" if filename.endswith(".whl") else "sdist",
        "pyversion": "py3",
        "sha256_digest": hashlib.sha256(data).hexdigest(),
        "summary": "A part",
    }
    return {name: value for name, value in (fields | changes).items() if value is not None}


def send(client, filename: str, data: bytes, *, url: str = URL, last: bool = True, **changes: str | None):
    parts: list[tuple[str, str | None, bytes]] = [
        (name, None, value.encode()) for name, value in fields_of(filename, data, **changes).items()
    ]
    parts.insert(len(parts) if last else 0, ("content", filename, data))
    return client.post(url, data=body_of(parts), content_type="multipart/form-data; boundary=limit")
