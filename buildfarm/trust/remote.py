"""Reads a farm's index for a verifier: the list of files, their bytes and their bundles.

Nothing read here is believed: the bundle is verified against a root that does not come from here.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import quote, urljoin, urlsplit

import requests
from packaging.utils import canonicalize_name

from buildfarm.errors import ExternalFailure, Unauthenticated

DEFAULT_CHANNEL = "dev"
BUNDLE_SUFFIX = ".sigstore.json"
#: Bundles about second builds that made the same bytes, one a line.
REPRODUCED_SUFFIX = ".reproduced.jsonl"
_SIMPLE = "application/vnd.pypi.simple.v1+json"
#: Seconds to connect, seconds of silence.
_TIMEOUT = (10, 60)
_MAX_DOCUMENT = 64 * 1024 * 1024
_CHUNK = 1024 * 1024


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file as the index lists it."""

    filename: str
    url: str


class RemoteIndex:
    """One channel of one farm."""

    def __init__(self, farm_url: str, channel: str = DEFAULT_CHANNEL, token: str | None = None) -> None:
        self.farm_url, self._channel = farm_url.rstrip("/"), channel
        self._token = token
        self._session = requests.Session()

    @classmethod
    def of_channel(cls, url: str, token: str | None = None) -> RemoteIndex:
        """The index behind a channel's URL, such as `https://farm.example/dev/` with or without `simple/`."""
        farm, _, channel = url.rstrip("/").removesuffix("/simple").rpartition("/")
        return cls(farm, channel, token) if urlsplit(farm).hostname else cls(url, token=token)

    def trusted_root(self) -> bytes | None:
        """The farm's trusted root as served, None where it has none or cannot be reached."""
        try:
            return self._document(f"{self.farm_url}/tuf/targets/trusted_root.json", "application/json")
        except ExternalFailure:
            return None

    def checkpoint(self) -> str | None:
        """The log's newest signed head, a note; None where the farm says that it has none.

        Raises:
            ExternalFailure: it cannot be reached or answers something else.
        """
        data = self._document(f"{self.farm_url}/tuf/checkpoint", "text/plain")
        return None if data is None else data.decode(errors="replace")

    def consistency(self, old: int, new: int) -> tuple[bytes, ...]:
        """The hashes that prove that the log of `old` entries is the beginning of that of `new`.

        Raises:
            ExternalFailure: it cannot be reached or answers something else.
        """
        url = f"{self.farm_url}/tuf/consistency?from={old}&to={new}"
        try:
            hashes = json.loads(self._document(url, "application/json") or b"")["hashes"]
            return tuple(base64.b64decode(each, validate=True) for each in hashes)
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ExternalFailure(f"{url} is no proof.", code="index.answer") from error

    def files(self, project: str) -> list[RemoteFile]:
        """The files of a project in the channel; none where the project is unknown.

        Raises:
            ExternalFailure: the index cannot be reached or answers something else.
            Unauthenticated: it wants a token, or another one.
        """
        page = f"{self.farm_url}/{quote(self._channel, safe='@')}/simple/{canonicalize_name(project)}/"
        data = self._document(page, _SIMPLE)
        if data is None:
            return []
        try:
            return [
                RemoteFile(str(each["filename"]), urljoin(page, str(each["url"])).partition("#")[0])
                for each in json.loads(data)["files"]
            ]
        except (ValueError, KeyError, TypeError) as error:
            raise ExternalFailure(f"{page} is no page of a simple index.", code="index.answer") from error

    def bundle(self, file: RemoteFile) -> bytes | None:
        """A file's bundle, None where there is none.

        Raises:
            ExternalFailure, Unauthenticated: see `files`.
        """
        return self._document(file.url + BUNDLE_SUFFIX, "application/json")

    def reproductions(self, file: RemoteFile) -> bytes:
        """The bundles about second builds of a file, one a line; empty where there is none.

        Raises:
            ExternalFailure, Unauthenticated: see `files`.
        """
        return self._document(file.url + REPRODUCED_SUFFIX, "application/jsonl") or b""

    def sha256(self, file: RemoteFile) -> str:
        """Digest of a file's bytes, read through once and not kept.

        Raises:
            ExternalFailure, Unauthenticated: see `files`.
        """
        state = hashlib.sha256()
        with self._answer(file.url, "*/*") as answer:
            if answer.status_code != requests.codes.ok:
                raise _unexpected(file.url, answer)
            for chunk in answer.iter_content(_CHUNK):
                state.update(chunk)
        return state.hexdigest()

    def _document(self, url: str, media_type: str) -> bytes | None:
        with self._answer(url, media_type) as answer:
            if answer.status_code == requests.codes.not_found:
                return None
            if answer.status_code != requests.codes.ok:
                raise _unexpected(url, answer)
            data = bytearray()
            for chunk in answer.iter_content(_CHUNK):
                data += chunk
                if len(data) > _MAX_DOCUMENT:
                    raise ExternalFailure(f"{url} is larger than 64 MiB.", code="index.answer")
            return bytes(data)

    @contextmanager
    def _answer(self, url: str, media_type: str) -> Iterator[requests.Response]:
        # The token belongs to this farm alone; there are no redirects in its contract to follow.
        own = urlsplit(url)[:2] == urlsplit(self.farm_url)[:2]
        auth = ("__token__", self._token) if self._token and own else None
        try:
            with self._session.get(
                url,
                headers={"Accept": media_type},
                auth=auth,
                timeout=_TIMEOUT,
                stream=True,
                allow_redirects=False,
            ) as answer:
                yield answer
        except requests.RequestException as error:
            raise ExternalFailure(
                f"{url} cannot be read: {error}",
                code="index.unreachable",
                hint="Check --index or BUILDFARM_URL, or use --offline with a bundle beside the file.",
            ) from error


def _unexpected(url: str, answer: requests.Response) -> ExternalFailure | Unauthenticated:
    if answer.status_code in (requests.codes.unauthorized, requests.codes.forbidden):
        return Unauthenticated(
            f"{url} needs a token that may read it.",
            code="index.unauthenticated",
            hint="Set BUILDFARM_TOKEN.",
        )
    return ExternalFailure(f"{url} answered {answer.status_code} {answer.reason}.", code="index.answer")
