"""HTTP towards the upstream indexes: bounded in size and time, and led nowhere that they may not lead.

Credentials go to the index they belong to and into no URL that is kept or shown.
"""

from __future__ import annotations

import socket
import time
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import unquote, urljoin, urlsplit, urlunsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from buildfarm.errors import ExternalFailure, StorageFull
from buildfarm.mirror.page import ACCEPT
from buildfarm.mirror.rules import may_connect
from buildfarm.mirror.tally import Tally

PAGE_BYTES = 64 * 2**20
_CHUNK = 1 << 16
_HOPS = 5
#: A body slower than this, bytes per second after the first patience, is given up.
_SLOWEST = 4096


@dataclass(frozen=True)
class Root:
    """The Simple API root of an upstream index: its URL without credentials names it everywhere."""

    url: str
    auth: tuple[str, str] | None = field(default=None, repr=False)

    @classmethod
    def of(cls, url: str) -> Root:
        """A root as the settings write it, perhaps with `user:password@`."""
        parts = urlsplit(url.rstrip("/"))
        given, at, host = parts.netloc.rpartition("@")
        user, _, password = given.partition(":")
        auth = (unquote(user), unquote(password)) if at else None
        return cls(urlunsplit(parts._replace(netloc=host)), auth)


@dataclass(frozen=True)
class Fetched:
    """A page as it came; `body` is None when upstream confirmed the ETag (304)."""

    body: bytes | None
    content_type: str
    etag: str | None
    serial: int | None
    base: str


class Missing(ExternalFailure):
    """Upstream answered that it has no such thing."""


class Client:
    """A connection pool to the upstream indexes; may be shared by threads.

    Every failure is an ExternalFailure `mirror.unreachable`, or as named.
    """

    def __init__(self, roots: tuple[Root, ...], timeout_s: float, tally: Tally) -> None:
        self._roots, self._timeout_s, self._tally = roots, timeout_s, tally
        self._hosts = tuple(urlsplit(root.url).hostname or "" for root in roots)
        self._http = requests.Session()
        self._http.headers["User-Agent"] = "buildfarm"
        for scheme in ("http://", "https://"):
            self._http.mount(scheme, _GuardedAdapter(self._check_peer))

    def page(self, root: Root, name: str, etag: str | None) -> Fetched | None:
        """A project's page, or None when this index has no such project (404).

        Raises:
            ExternalFailure: `mirror.page_too_large`, it has no end in size or time.
        """
        headers = {"Accept": ACCEPT, "Accept-Encoding": "gzip"}
        if etag:
            headers["If-None-Match"] = etag
        with self._told(root.url, "page"), self._get(f"{root.url}/{name}/", headers, stays=True) as answer:
            if answer.status_code == 404:
                return None
            fresh = partial(
                Fetched,
                content_type=answer.headers.get("Content-Type", ""),
                etag=answer.headers.get("ETag"),
                serial=_number(answer.headers.get("X-PyPI-Last-Serial")),
                base=answer.url,
            )
            if etag and answer.status_code == 304:
                return fresh(None)
            _demand_ok(answer)
            return fresh(b"".join(self._inflated(answer)))

    @contextmanager
    def file(self, url: str) -> Iterator[tuple[int | None, Iterator[bytes]]]:
        """A file's announced size and its bytes, each chunk as soon as it is there."""
        # identity: the digest is of the file, not of a form that a proxy made of it
        with self._told(_site(url), "file"), self._get(url, {"Accept-Encoding": "identity"}) as answer:
            _demand_ok(answer)
            if answer.headers.get("Content-Encoding", "identity") != "identity":
                raise _unreachable("it packed a file that is wanted as it is")
            yield _number(answer.headers.get("Content-Length")), self._chunks(answer)

    def document(self, url: str, max_bytes: int, accept: str = "*/*") -> bytes:
        """A small document beside a file."""
        headers = {"Accept": accept, "Accept-Encoding": "identity"}
        with self._told(_site(url), "file"), self._get(url, headers) as answer:
            _demand_ok(answer)
            body = bytearray()
            for chunk in self._chunks(answer):
                body += chunk
                if len(body) > max_bytes:
                    raise _unreachable(f"it sends more than {max_bytes} bytes beside a file")
            return bytes(body)

    @contextmanager
    def _told(self, upstream: str, what: str) -> Iterator[None]:
        try:
            yield
        except StorageFull:
            raise
        except Missing:
            self._tally.asked(upstream, what)
            raise
        except ExternalFailure as err:
            self._tally.asked(upstream, what, err.message)
            raise
        self._tally.asked(upstream, what)

    @contextmanager
    def _get(
        self, url: str, headers: Mapping[str, str], *, stays: bool = False
    ) -> Iterator[requests.Response]:
        try:
            answer = self._answer(url, headers, stays=stays)
        except (OSError, HTTPError, ValueError) as err:  # requests' own errors are OSErrors
            raise _unreachable(type(err).__name__) from err
        # Not ValueError and OSError here: those are of the block, which works with what it reads.
        with answer:
            try:
                yield answer
            except (requests.RequestException, HTTPError) as err:
                raise _unreachable(type(err).__name__) from err

    def _answer(self, url: str, headers: Mapping[str, str], *, stays: bool) -> requests.Response:
        for _ in range(_HOPS):
            answer = self._http.get(
                url,
                headers=dict(headers),
                timeout=self._timeout_s,
                stream=True,
                allow_redirects=False,
                auth=self._auth(url),
            )
            if not answer.is_redirect:
                return answer
            with answer:
                url = _next(url, answer.headers["Location"], stays=stays)
        raise _unreachable("it redirects without end")

    def _auth(self, url: str) -> Any:  # noqa: ANN401
        for root in self._roots:
            if _origin(root.url) == _origin(url):
                return root.auth
        return _nobody

    def _inflated(self, answer: requests.Response) -> Iterator[bytes]:
        # By hand, for a few bytes can be inflated to any number.
        is_packed = answer.headers.get("Content-Encoding", "identity") != "identity"
        unpack = zlib.decompressobj(31) if is_packed else None
        left = PAGE_BYTES
        for chunk in self._chunks(answer):
            try:
                plain = unpack.decompress(chunk, left + 1) if unpack else chunk
            except zlib.error as err:
                raise _unreachable("it sent a page that cannot be unpacked") from err
            left -= len(plain)
            if left < 0:
                raise ExternalFailure(
                    "The upstream index sends no end of a page.", code="mirror.page_too_large"
                )
            yield plain
        if unpack and not unpack.eof:
            raise _unreachable("it sent half a page")

    def _chunks(self, answer: requests.Response) -> Iterator[bytes]:
        # The time limit of a read does not end an index that drips.
        begun, received = time.monotonic(), 0
        announced = _number(answer.headers.get("Content-Length"))
        while chunk := answer.raw.read1(_CHUNK, decode_content=False):
            received += len(chunk)
            if time.monotonic() - begun > 2 * self._timeout_s + received / _SLOWEST:
                raise _unreachable("it is too slow")
            yield chunk
        if announced is not None and received != announced:
            raise _unreachable("it broke off")

    def _check_peer(self, host: str, address: str) -> None:
        for own in self._hosts:
            if host == own:
                return
        known = tuple(address for own in self._hosts for address in _addresses(own))
        if not any(may_connect(host, address, own, known) for own in self._hosts):
            raise _unreachable(f"it leads to {host} at {address}, which is not for the farm to fetch from")


class _GuardedAdapter(HTTPAdapter):
    """Connects only to where `check(host, address)` raises nothing; nothing is sent before that."""

    def __init__(self, check: Any) -> None:  # noqa: ANN401
        self._check = check
        super().__init__(pool_maxsize=32)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Make pools of guarded connections."""
        super().init_poolmanager(*args, **kwargs)
        check = self._check

        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                return _checked(super()._new_conn(), self.host, check)

        class Secure(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                return _checked(super()._new_conn(), self.host, check)

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class SecurePool(HTTPSConnectionPool):
            ConnectionCls = Secure

        self.poolmanager.pool_classes_by_scheme = {"http": PlainPool, "https": SecurePool}


def _checked(connection: socket.socket, host: str, check: Any) -> socket.socket:  # noqa: ANN401
    try:
        check(host, connection.getpeername()[0])
    except BaseException:
        connection.close()
        raise
    return connection


def _next(url: str, location: str, *, stays: bool) -> str:
    target = urljoin(url, location)
    before, after = urlsplit(url), urlsplit(target)
    is_web = after.scheme in {"http", "https"} and bool(after.hostname)
    if not is_web or (before.scheme, after.scheme) == ("https", "http"):
        raise _unreachable("it redirects to where nothing may be fetched")
    if stays and before.hostname != after.hostname:
        raise _unreachable("it redirects a page to another host")
    return urlunsplit(after._replace(netloc=after.netloc.rpartition("@")[2]))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port


def _site(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


def _addresses(host: str) -> set[str]:
    try:
        return {str(entry[4][0]) for entry in socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)}
    except OSError:
        return set()


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Keeps a `.netrc` of this account away from hosts that a page names."""
    return request


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


def _demand_ok(answer: requests.Response) -> None:
    if answer.status_code != 200:
        kind = Missing if answer.status_code in (404, 410) else ExternalFailure
        raise _unreachable(f"it answered {answer.status_code}", kind)


def _unreachable(why: str, kind: type[ExternalFailure] = ExternalFailure) -> ExternalFailure:
    return kind(
        f"The upstream index does not give what was asked: {why}.",
        code="mirror.unreachable",
        hint="See [mirror] in the settings, and the network of this host.",
    )
