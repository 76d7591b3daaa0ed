"""Reads: what one request costs the server's processors, ours with credentials and the peers without."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from bench.index.load import FILE, HTML_PAGE, PAGE, Case, Load, fetch, in_turn, load, probed, shown_command
from bench.index.process import Server
from bench.index.stand import BIG_FILES, PROJECTS, Stand
from bench.row import Row

_SMALL, _BIG, _ROOT = "/dev/simple/small/", "/dev/simple/big/", "/dev/simple/"
_WHEEL = "/dev/files/small/small-1.0-py3-none-any.whl"
_LARGE = "/dev/files/large/large-1.0-py3-none-any.whl"
CASES = {
    "page_small": Case(_SMALL, HTML_PAGE, mentions=(b"small-1.", 10), encoding="gzip"),
    "json": Case(_SMALL, PAGE, mentions=(b"small-1.", 10), encoding="gzip"),
    "304": Case(_SMALL, PAGE, status=304, revalidate=True),
    "page_1000": Case(_BIG, PAGE, mentions=(b"big-1.", BIG_FILES), encoding="gzip"),
    "root_20k": Case(_ROOT, PAGE, mentions=(b"acme-", PROJECTS - 3), encoding="gzip"),
    "metadata": Case(_WHEEL + ".metadata", FILE, mentions=(b"Requires-Dist", 35)),
    "file_50k": Case(_WHEEL, FILE),
    "file_200m": Case(_LARGE, FILE, seconds=3, connections=2),
}


def against_static(stand: Stand, name: str, case: str, server: Server, goal: float) -> Row:
    """A case on a server of ours and on nginx with the same bytes."""
    return compared(name, server, stand.static, same_bytes(server, CASES[case]), goal)


def same_bytes(server: Server, case: Case) -> Case:
    """The case, right only where the answer has the bytes that this server sends."""
    if case.status == 304:
        return case
    return replace(case, sha256=fetch(server, case.path, case.headers).sha256)


def compared(
    name: str, ours: Server, peer: Server, case: Case, goal: float | None, *, peer_case: Case | None = None
) -> Row:
    """The case on both in turn; `peer_case` where the peer has it under another path."""
    by_size = case.seconds > 1
    other = peer_case or case
    samples = in_turn(_sampler(ours, case, by_size=by_size), _sampler(peer, other, by_size=by_size))
    return Row(
        name,
        "CPU s/GB" if by_size else "CPU us",
        samples[0],
        shown_command(ours, case),
        samples[1],
        peer.name,
        shown_command(peer, other),
        goal,
    )


def _sampler(server: Server, case: Case, *, by_size: bool) -> Callable[[], float]:
    headers = probed(server, case)

    def sample() -> float:
        seen: Load = load(server, case, headers)
        return seen.cpu_s_per_gb if by_size else seen.cpu_us

    return sample


def growth_of_index(stand: Stand, name: str, goal: float) -> Row:
    """A page of ten files in an index of 200,000 projects, against one of 200."""
    return compared(name, stand.many.reads, stand.few.reads, CASES["json"], goal)


def small_against_devpi(stand: Stand, name: str, goal: float) -> Row:
    """The page of ten files, as pip asks for it."""
    return _elsewhere(
        name, stand.library.reads, stand.devpi, CASES["json"], "/bench/dev/+simple/small/", goal
    )


def big_against_devpi(stand: Stand, name: str, goal: float) -> Row:
    """The page of a thousand files, as pip asks for it."""
    stand.fill_devpi_big()
    return _elsewhere(
        name, stand.library.reads, stand.devpi, CASES["page_1000"], "/bench/dev/+simple/big/", goal,
        seconds=15, connections=1,  # it takes a second and more for each
    )  # fmt: skip


def small_against_pypiserver(stand: Stand, name: str, goal: float) -> Row:
    """The page of ten files, as pip asks for it; pypiserver has HTML alone."""
    return _elsewhere(name, stand.library.reads, stand.pypiserver, CASES["json"], "/simple/small/", goal)


def _elsewhere(name: str, ours: Server, peer: Server, case: Case, path: str, goal: float, **load: int) -> Row:
    """The case, and the page with as many files at a peer that has it elsewhere and compresses nothing.

    `load` is what is different in the load on the peer: `seconds`, `connections`.
    """
    return compared(name, ours, peer, case, goal, peer_case=replace(case, path=path, encoding="", **load))
