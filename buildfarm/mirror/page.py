"""Upstream project pages, parsed: JSON as it should be, HTML where an index speaks nothing else.

Nothing of an upstream page is passed on as text: rows are read from it, ours are rendered from rows.
Keys that nobody here knows are kept as they came. Source: PEP 503, 592, 658, 691, 700, 740, 792.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit

from buildfarm.errors import ExternalFailure

ACCEPT = "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.2, text/html; q=0.1"
_HTML_TYPES = {"text/html", "application/vnd.pypi.simple.v1+html"}
_JSON_TYPES = {"application/vnd.pypi.simple.v1+json", "application/json"}
#: What wheels and sdists of every age are called; never a path, nor what stands beside a file.
_FILENAME = re.compile(
    r"(?!.*\.(?:metadata|provenance|sigstore\.json|reproduced\.jsonl)$)[A-Za-z0-9][A-Za-z0-9._+!-]{0,220}",
    re.ASCII,
)
#: PEP 792; what another word means nobody can say.
STATUSES = ("active", "archived", "quarantined", "deprecated")
#: Keys of a file that have a field of their own here, or promise something that is not served.
_OWN_FILE_KEYS = frozenset(
    {
        *("filename", "url", "hashes", "size", "upload-time", "requires-python", "yanked", "provenance"),
        *("core-metadata", "dist-info-metadata", "data-dist-info-metadata", "gpg-sig"),
    }
)
#: The same of a page; the last two are of the rejected PEP 708 and would join indexes.
_OWN_PAGE_KEYS = frozenset(
    {"meta", "name", "versions", "files", "project-status", "tracks", "alternate-locations"}
)


@dataclass(frozen=True)
class MirrorFile:
    """One file that an upstream page lists; `sha256` may be missing on old HTML pages.

    Times are ISO text as upstream or `clock.iso` gave them; `yanked` is the reason, or True without one;
    `other` holds unknown keys verbatim. `first_seen`: when this mirror saw the name first.
    `missing_since`: upstream lists it no more since then, which one page alone does not prove;
    `gone_since`: that was confirmed. `changed_to`: the digest that upstream later showed for the same
    name, which is never followed.
    """

    filename: str
    url: str
    sha256: str | None = None
    size: int | None = None
    upload_time: str | None = None
    requires_python: str | None = None
    yanked: bool | str = False
    metadata_sha256: str | None = None
    provenance_url: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict)
    first_seen: str | None = None
    missing_since: str | None = None
    gone_since: str | None = None
    changed_to: str | None = None


@dataclass(frozen=True)
class PageContent:
    """What an upstream page says: files by name, versions, the project's status (PEP 792)."""

    files: Mapping[str, MirrorFile]
    versions: tuple[str, ...] = ()
    status: str = "active"
    status_reason: str | None = None
    other: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """The form in the database."""
        return vars(self) | {"files": [_sparse(file) for file in self.files.values()]}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> PageContent:
        """The inverse of `to_json`."""
        files = {row["filename"]: MirrorFile(**row) for row in value["files"]}
        return cls(
            files, tuple(value["versions"]), value["status"], value["status_reason"], dict(value["other"])
        )


@dataclass(frozen=True)
class MirrorPage:
    """A project as the mirror knows it; `version` counts the changes of the content."""

    name: str
    upstream: str
    version: int
    serial: int | None
    content: PageContent
    fetched_at: datetime
    checked_at: datetime

    @property
    def files(self) -> Mapping[str, MirrorFile]:
        """Every file that upstream lists or listed, by name."""
        return self.content.files


def is_filename(text: str) -> bool:
    """Whether a file may have this name."""
    return _FILENAME.fullmatch(text) is not None


def is_json(content_type: str) -> bool:
    """Whether a page of this type is read as JSON.

    Raises:
        ExternalFailure: `mirror.page_unreadable`, it is of neither type.
    """
    kind = content_type.partition(";")[0].strip().lower()
    if kind not in _JSON_TYPES | _HTML_TYPES:
        raise ExternalFailure(
            f"The upstream index sent a page of the type {kind[:80]!r}.", code="mirror.page_unreadable"
        )
    return kind in _JSON_TYPES


def parse(body: bytes, content_type: str, base: str) -> PageContent:
    """The content of a page; files that cannot be understood are left out.

    Raises:
        ExternalFailure: `mirror.page_unreadable`.
    """
    try:
        if is_json(content_type):
            return _from_json(_loaded(body), base)
        anchors = _Anchors()
        anchors.feed(body.decode())
        return _content([_from_anchor(attributes, base) for attributes in anchors.found], anchors.status)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as err:
        raise ExternalFailure(
            "The upstream index sent a page that cannot be read.", code="mirror.page_unreadable"
        ) from err


def _loaded(body: bytes) -> Any:  # noqa: ANN401
    page = json.loads(body, parse_constant=_no_number)
    if b"\\ud" in body.lower():  # half a surrogate pair is legal here and has no UTF-8 form
        page = json.loads(json.dumps(page, ensure_ascii=False).encode("utf-8", "replace"))
    return page


def _no_number(text: str) -> None:
    raise ValueError(text)


def _from_json(page: Mapping[str, Any], base: str) -> PageContent:
    found = [_from_entry(entry, base) for entry in page["files"]]
    status = page.get("project-status")
    versions = page.get("versions", [])
    return _content(
        found,
        status if isinstance(status, dict) else {},
        tuple(one for one in versions if isinstance(one, str)) if isinstance(versions, list) else (),
        {key: value for key, value in page.items() if key not in _OWN_PAGE_KEYS},
    )


def _content(
    found: list[MirrorFile | None],
    status: Mapping[str, Any],
    versions: tuple[str, ...] = (),
    other: Mapping[str, Any] | None = None,
) -> PageContent:
    word = status.get("status")
    return PageContent(
        files={row.filename: row for row in found if row is not None},
        versions=versions,
        status=word if word in STATUSES else "active",
        status_reason=_text(status.get("reason")),
        other=other or {},
    )


def _from_entry(entry: Any, base: str) -> MirrorFile | None:  # noqa: ANN401 - whatever the page says
    match entry:
        case {"filename": str(filename), "url": str(href)}:
            url = _url(base, href)
        case _:
            return None
    if url is None or not _FILENAME.fullmatch(filename):
        return None
    hashes, size, yanked = entry.get("hashes"), entry.get("size"), entry.get("yanked", False)
    metadata = entry.get(
        "core-metadata", entry.get("dist-info-metadata", entry.get("data-dist-info-metadata"))
    )
    return MirrorFile(
        filename=filename,
        url=url,
        sha256=_digest(hashes.get("sha256")) if isinstance(hashes, dict) else None,
        size=size if type(size) is int and 0 <= size < 1 << 48 else None,
        upload_time=_text(entry.get("upload-time")),
        requires_python=_text(entry.get("requires-python")),
        yanked=yanked if isinstance(yanked, bool | str) else True,
        metadata_sha256=_digest(metadata.get("sha256")) if isinstance(metadata, dict) else None,
        provenance_url=_url(base, entry.get("provenance")),
        other={key: value for key, value in entry.items() if key not in _OWN_FILE_KEYS},
    )


def _from_anchor(attributes: dict[str, str | None], base: str) -> MirrorFile | None:
    whole = _url(base, attributes.get("href"))
    if whole is None:
        return None
    url, fragment = urldefrag(whole)
    filename = unquote(urlsplit(url).path.rsplit("/", 1)[-1])
    if not _FILENAME.fullmatch(filename):
        return None
    metadata = attributes.get("data-core-metadata") or attributes.get("data-dist-info-metadata") or ""
    return MirrorFile(
        filename=filename,
        url=url,
        sha256=_digest(fragment.removeprefix("sha256=")),
        requires_python=attributes.get("data-requires-python"),
        yanked=(attributes["data-yanked"] or True) if "data-yanked" in attributes else False,
        metadata_sha256=_digest(metadata.removeprefix("sha256=")),
        provenance_url=_url(base, attributes.get("data-provenance")),
    )


def _url(base: str, href: Any) -> str | None:  # noqa: ANN401
    """An absolute http(s) URL without credentials, or None."""
    if not isinstance(href, str) or not href:
        return None
    try:
        parts = urlsplit(urljoin(base, href))
        host = parts.netloc.rpartition("@")[2]
        is_web = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        return urlunsplit(parts._replace(netloc=host)) if is_web else None
    except ValueError:
        return None


def _text(value: Any) -> str | None:  # noqa: ANN401
    return value if isinstance(value, str) else None


def _digest(value: Any) -> str | None:  # noqa: ANN401
    good = isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
    return value if good else None


def _sparse(file: MirrorFile) -> dict[str, Any]:
    empty = {"yanked": False, "other": {}}
    return {key: value for key, value in vars(file).items() if value != empty.get(key)}


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []
        self.status: dict[str, str | None] = {}

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "a":
            self.found.append(values)
        elif tag == "meta" and values.get("name") in {"pypi:project-status", "pypi:project-status-reason"}:
            self.status["reason" if "reason" in str(values["name"]) else "status"] = values.get("content")
