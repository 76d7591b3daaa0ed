"""Large files (Git LFS), for recipes that ask for them: their bytes in the places of their pointers.

Sources: the Git LFS project's docs/spec.md (pointers), docs/api/server-discovery.md, docs/api/batch.md and
docs/api/basic-transfers.md. The store that the repository's host names may be anywhere, so its host is judged
like any other; only what the host itself says is sent there, never the source's credential.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from urllib3 import BaseHTTPResponse, HTTPConnectionPool, HTTPSConnectionPool, Timeout
from urllib3.exceptions import HTTPError, SSLError
from urllib3.util import make_headers

from buildfarm.errors import (
    EnvironmentProblem,
    ExternalFailure,
    FarmError,
    Forbidden,
    IntegrityFailure,
    InvalidInput,
    NotFound,
)
from buildfarm.sources import trees
from buildfarm.sources.contract import FetchRequest
from buildfarm.sources.gitrun import GitRunner
from buildfarm.sources.resolve import addresses_of
from buildfarm.sources.rules import RepositoryUrl, checked_url
from buildfarm.sources.trees import Entry

_POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\noid sha256:([0-9a-f]{64})\nsize (\d{1,15})\n"
)
_POINTER_BYTES = range(110, 160)
_JSON = "application/vnd.git-lfs+json"
_BATCH = 100
_ANSWER_BYTES = 4 << 20
_CHUNK = 1 << 18
_PATIENCE = Timeout(connect=30, read=60)


@dataclass(frozen=True)
class LargeFile:
    """What a pointer names: the SHA-256 of the bytes, and how many there are."""

    sha256: str
    size: int


def pointers(git: GitRunner, mirror: Path, entries: Sequence[Entry]) -> dict[str, LargeFile]:
    """The files of a tree that are pointers, by path."""
    small = [entry for entry in entries if entry.is_file and entry.size in _POINTER_BYTES]
    found = {}
    for entry, content in trees.contents(git, mirror, small):
        if said := _POINTER.fullmatch(content.read()):
            found[entry.path] = LargeFile(said[1].decode(), int(said[2]))
    return found


def grown(entries: Sequence[Entry], large: Mapping[str, LargeFile]) -> list[Entry]:
    """The entries with the sizes of what pointers name."""
    return [replace(one, size=large[one.path].size) if one.path in large else one for one in entries]


class Store:
    """Where the large files of one repository are."""

    def __init__(
        self, request: FetchRequest, *, login: tuple[str, str] | None, ca: Path | None, deadline: float
    ) -> None:
        self._request, self._ca, self._deadline = request, ca, deadline
        self._own = checked_url(request.url, allow_file=request.allow_file)
        self._login = make_headers(basic_auth=":".join(login)) if login else {}

    def fetch(self, wanted: Sequence[LargeFile], into: Path) -> None:
        """Bring the bytes into files of the folder that have their SHA-256 as name.

        Raises:
            InvalidInput: `source.lfs_refused`, the source's URL or the store's is not http; what
                `rules.checked_url` and `rules.checked_address` raise.
            NotFound: `source.lfs_missing`.
            Forbidden: `source.authentication`.
            IntegrityFailure: `source.lfs_wrong`, other bytes came than the pointer names.
            EnvironmentProblem: `source.tls`.
            ExternalFailure: `source.unreachable`, `source.timeout`.
        """
        each = list({one.sha256: one for one in wanted}.values())
        for begin in range(0, len(each), _BATCH):
            some = each[begin : begin + _BATCH]
            actions = self._ask([one for one in some if not (into / one.sha256).exists()])
            for one in some:
                if not (into / one.sha256).exists():
                    self._download(one, actions.get(one.sha256), into / one.sha256)

    def _ask(self, wanted: Sequence[LargeFile]) -> dict[str, dict[str, Any]]:
        """Where each one is, by SHA-256."""
        if self._own.scheme not in {"http", "https"}:
            raise InvalidInput(
                "Large files are fetched over https alone.",
                code="source.lfs_refused",
                hint="Give the source an https URL and a token.",
            )
        base = self._request.url.rstrip("/")
        url = f"{base if base.endswith('.git') else f'{base}.git'}/info/lfs/objects/batch"
        objects = [{"oid": one.sha256, "size": one.size} for one in wanted]
        body = json.dumps({"operation": "download", "transfers": ["basic"], "objects": objects})
        headers = {"Accept": _JSON, "Content-Type": _JSON, **self._login}
        answer = self._send("POST", self._own, url, headers, body)
        try:
            told = json.loads(answer.read(_ANSWER_BYTES))
            return {one["oid"]: one.get("actions", {}).get("download", {}) for one in told["objects"]}
        except (ValueError, KeyError, TypeError, AttributeError, HTTPError) as error:
            raise ExternalFailure(
                "The host's answer about large files makes no sense.", code="source.unreachable"
            ) from error
        finally:
            answer.close()

    def _download(self, one: LargeFile, action: Mapping[str, Any] | None, path: Path) -> None:
        href = action.get("href") if action else None
        if not isinstance(href, str):
            raise NotFound(
                "The repository's host does not have a large file that the tree names.",
                code="source.lfs_missing",
                hint="Push it with `git lfs push --all`.",
                sha256=one.sha256,
            )
        parts = urlsplit(href)
        site = checked_url(f"{parts.scheme}://{parts.netloc}/store", allow_file=False)
        if site.scheme not in {"http", "https"}:
            raise InvalidInput("The large files' store is not at an https URL.", code="source.lfs_refused")
        given = action.get("header") if action else None
        headers = {str(name): str(value) for name, value in (given or {}).items()}
        if (site.scheme, site.host, site.port) == (self._own.scheme, self._own.host, self._own.port):
            headers = {**self._login, **headers}
        answer = self._send("GET", site, href, headers)
        digest, left = hashlib.sha256(), one.size
        try:
            with path.with_suffix(".part").open("xb") as out:
                while left >= 0 and (chunk := answer.read(_CHUNK)):
                    self._demand_time()
                    digest.update(chunk)
                    left -= len(chunk)
                    out.write(chunk)
        except HTTPError as error:
            raise _unreachable(site) from error
        finally:
            answer.close()
        if left or digest.hexdigest() != one.sha256:
            raise IntegrityFailure(
                "A large file came with other bytes than the tree names.",
                code="source.lfs_wrong",
                sha256=one.sha256,
            )
        path.with_suffix(".part").rename(path)

    def _send(
        self, method: str, site: RepositoryUrl, url: str, headers: Mapping[str, str], body: str | None = None
    ) -> BaseHTTPResponse:
        """The answer, good by its status, of exactly the address that was judged; no redirect is followed."""
        self._demand_time()
        address = addresses_of(site, self._request.private_hosts)[0]
        parts = urlsplit(url)
        target = f"{parts.path}?{parts.query}" if parts.query else parts.path
        try:
            answer = self._pool(site, address).urlopen(
                method, target, body=body, headers={**headers, "Host": parts.netloc}, redirect=False,
                retries=False, preload_content=False, decode_content=False,
            )  # fmt: skip
        except SSLError as error:
            raise EnvironmentProblem(
                "The TLS certificate of the large files' host is not trusted here.",
                code="source.tls",
                host=site.host,
            ) from error
        except HTTPError as error:
            raise _unreachable(site) from error
        if answer.status != 200:
            answer.close()
            raise _refusal(answer.status, site)
        return answer

    def _pool(self, site: RepositoryUrl, address: str) -> HTTPConnectionPool:
        if site.scheme == "http":
            return HTTPConnectionPool(address, site.port, timeout=_PATIENCE)
        return HTTPSConnectionPool(
            address,
            site.port,
            timeout=_PATIENCE,
            ssl_context=ssl.create_default_context(cafile=str(self._ca) if self._ca else None),
            server_hostname=site.host,
            assert_hostname=site.host,
        )

    def _demand_time(self) -> None:
        if time.monotonic() > self._deadline:
            raise ExternalFailure("Fetching large files took longer than allowed.", code="source.timeout")


def _unreachable(site: RepositoryUrl) -> ExternalFailure:
    return ExternalFailure(
        "The host of large files cannot be reached or does not answer well.",
        code="source.unreachable",
        host=site.host,
    )


def _refusal(status: int, site: RepositoryUrl) -> FarmError:
    if status in {401, 403}:
        return Forbidden(
            "The host of large files asks for credentials that this source does not have, or refuses them.",
            code="source.authentication",
            host=site.host,
        )
    if status == 404:
        return NotFound(
            "The repository's host has no store of large files, or not these.",
            code="source.lfs_missing",
            host=site.host,
        )
    return _unreachable(site)
