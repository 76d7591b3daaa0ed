"""The mirror: what was fetched before, against our own channels; what was not, against a cache in nginx."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from urllib.parse import urljoin, urlsplit

from bench.index import clients, crowd
from bench.index.load import FILE, PAGE, RUNS, Case, fetch, in_turn
from bench.index.peers import fetch_json, project_names
from bench.index.process import Server
from bench.index.serving import compared, same_bytes
from bench.index.stand import Stand
from bench.row import Row

_MIRROR, _LOCAL = "/mirror/simple/", "/dev/simple/"
_PROJECT = "idna"


def page_warm(stand: Stand, name: str, goal: float) -> Row:
    """A page that was asked for before, against the same project in a channel of its own."""
    local = Case(f"{_LOCAL}{_PROJECT}/", PAGE, mentions=(f"{_PROJECT}-".encode(), 1), encoding="gzip")
    mirrored = replace(local, path=f"{_MIRROR}{_PROJECT}/")
    fetch(stand.mirror.reads, mirrored.path, mirrored.headers)
    return compared(name, stand.mirror.reads, stand.real.reads, mirrored, goal, peer_case=local)


def file_warm(stand: Stand, name: str, goal: float) -> Row:
    """A file that was asked for before, against the same file in a channel of its own."""
    mirrored, local = (
        Case(_files(server, index, _PROJECT)[0], FILE)
        for server, index in ((stand.mirror.reads, _MIRROR), (stand.real.reads, _LOCAL))
    )
    local = same_bytes(stand.real.reads, local)
    mirrored = replace(mirrored, sha256=local.sha256)
    fetch(stand.mirror.reads, mirrored.path, FILE)
    return compared(name, stand.mirror.reads, stand.real.reads, mirrored, goal, peer_case=local)


def page_cold(stand: Stand, name: str, goal: float) -> Row:
    """Pages that nobody asked for before."""
    ours = [(f"{_MIRROR}{project}/", PAGE) for project in _projects(stand)]
    peer = [(f"{_LOCAL}{project}/", PAGE) for project in _projects(stand)]
    return _cold(stand, name, goal, "page", ours, peer)


def file_cold(stand: Stand, name: str, goal: float) -> Row:
    """Files that nobody asked for before, of pages that somebody did."""
    ours = [(_files(stand.mirror.reads, _MIRROR, project)[0], FILE) for project in _projects(stand)]
    peer = [(_files(stand.cache, _LOCAL, project)[0], FILE) for project in _projects(stand)]
    return _cold(stand, name, goal, "file", ours, peer)


def install_warm(stand: Stand, name: str, goal: float) -> Row:
    """The real set by uv, with everything fetched before."""
    ours, peer = (stand.mirror.reads, _MIRROR), (stand.proxpi, "/index/")
    return clients.compared(stand, name, "install_uv", goal, ours, peer)


def first_byte(stand: Stand, name: str, goal: float) -> Row:
    """From the upstream's first byte of a cold file to the first byte at the first of 100 clients."""
    samples = [one.delay_ms for one in stand.crowds]
    return Row(name, "ms", samples, crowd.DESCRIBED, [], goal=goal)


def fetches(stand: Stand, name: str, goal: float) -> Row:
    """How often the upstream was asked for that file."""
    samples = [float(one.fetches) for one in stand.crowds]
    return Row(name, "fetches", samples, crowd.DESCRIBED, [], goal=goal)


_Wanted = list[tuple[str, dict[str, str]]]


def _cold(stand: Stand, name: str, goal: float, what: str, ours: _Wanted, peer: _Wanted) -> Row:
    samples = in_turn(_cold_sampler(stand.mirror.writes, ours), _cold_sampler(stand.cache, peer))
    described = (
        f"GET of each {what} once, {len(ours) // (RUNS + 1)} others in each sample (bench/index/mirroring.py)"
    )
    return Row(
        name, "CPU ms", samples[0], f"{described}  # {stand.mirror.writes.command}",
        samples[1], "nginx proxy_cache", f"{described}  # {stand.cache.command}", goal,
    )  # fmt: skip


def _cold_sampler(server: Server, wanted: _Wanted) -> Callable[[], float]:
    left, each = iter(wanted), len(wanted) // (RUNS + 1)

    def sample() -> float:
        before = server.cpu_s()
        _get_all(server, islice(left, each))
        return (server.cpu_s() - before) / each * 1e3

    return sample


def _get_all(server: Server, wanted: Iterator[tuple[str, dict[str, str]]]) -> None:
    """One request after the other on one connection, as long as the server keeps it."""
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)
    for path, headers in wanted:
        connection.request("GET", path, headers={**server.headers, **headers})
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            raise SystemExit(f"bench: {server.name} answered {answer.status} for {path}")
    connection.close()


def _projects(stand: Stand) -> list[str]:
    """All but the one that the rows of warm answers use."""
    return [name for name in project_names(stand.real.reads, "dev") if name != _PROJECT]


def _files(server: Server, index: str, project: str) -> list[str]:
    path = f"{index}{project}/"
    return [urljoin(path, file["url"]) for file in fetch_json(server, path)["files"]]
