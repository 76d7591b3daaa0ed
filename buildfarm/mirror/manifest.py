"""The manifest of a bundle: JSON lines with everything that is in it, and the digest of every file.

First a header, then a line for each advisory (an OSV record), then one for each project: the page as
it was last confirmed, cut down to the files that come along, and their provenance documents. Whoever
has checked the manifest's digest has checked all of that.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from buildfarm import clock
from buildfarm.errors import IntegrityFailure
from buildfarm.mirror.page import MirrorFile, MirrorPage, PageContent, is_filename

FORMAT = "buildfarm mirror bundle 1"
_LINE_BYTES = 256 * 2**20


@dataclass(frozen=True)
class Header:
    """What a bundle is: from which channel, and the digest of its advisories, if it brings any."""

    channel: str
    advisories: str | None


@dataclass(frozen=True)
class Carried:
    """A project of a bundle; every file has digest and size. `provenance`: documents by file name."""

    page: MirrorPage
    is_json: bool
    provenance: Mapping[str, str]

    @property
    def files(self) -> Iterable[MirrorFile]:
        """The files that come along."""
        return self.page.files.values()


Line = Header | bytes | Carried


def header_line(header: Header) -> bytes:
    """The first line."""
    return _line(vars(header) | {"format": FORMAT})


def advisory_line(record: bytes) -> bytes:
    """The line of an OSV record."""
    return b'{"advisory":' + record + b"}\n"


def project_line(carried: Carried) -> bytes:
    """The line of a project."""
    page = carried.page
    return _line(
        {
            "project": page.name,
            "upstream": page.upstream,
            "serial": page.serial,
            "is_json": carried.is_json,
            "fetched_at": clock.iso(page.fetched_at),
            "checked_at": clock.iso(page.checked_at),
            "content": page.content.to_json(),
            "provenance": dict(carried.provenance),
        }
    )


def read(lines: Iterable[bytes]) -> Iterator[Line]:
    """What the lines of a manifest say; an OSV record as its bytes.

    Raises:
        IntegrityFailure: `bundle.manifest`, this is no manifest.
    """
    try:
        for number, line in enumerate(lines):
            if len(line) > _LINE_BYTES or not line.endswith(b"\n"):
                raise _unreadable(number)
            yield _parsed(line, number)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as err:
        raise _unreadable(number) from err


def _parsed(line: bytes, number: int) -> Line:
    if line.startswith(b'{"advisory":'):
        return line.removeprefix(b'{"advisory":').removesuffix(b"}\n")
    value = json.loads(line)
    if number == 0:
        if value["format"] != FORMAT:
            raise _unreadable(number)
        return Header(str(value["channel"]), value["advisories"])
    page = MirrorPage(
        name=str(value["project"]),
        upstream=str(value["upstream"]),
        version=0,
        serial=value["serial"],
        content=PageContent.from_json(value["content"]),
        fetched_at=datetime.fromisoformat(value["fetched_at"]),
        checked_at=datetime.fromisoformat(value["checked_at"]),
    )
    if not all(is_filename(name) for name in page.files):
        raise _unreadable(number)
    return Carried(page, bool(value["is_json"]), dict(value["provenance"]))


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True).encode() + b"\n"


def _unreadable(number: int) -> IntegrityFailure:
    return IntegrityFailure(
        f"Line {number + 1} of the bundle's manifest cannot be read.",
        code="bundle.manifest",
        hint="It was changed, or did not arrive whole: copy the bundle again.",
    )
