"""Uploads: what one file costs all processes of a server, from the request to the page that lists it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import count

from bench.index.load import in_turn
from bench.index.peers import DEVPI_INDEX, upload
from bench.index.process import Server
from bench.index.stand import GROWN, Stand
from bench.index.wheels import some_wheel
from bench.row import Row

#: Uploads of one sample.
_AT_ONCE = 10
_NEW = count()
OURS = "/dev/legacy/"
_DESCRIBED = "POST of a 50 kB wheel (bench/index/peers.py, upload), 10 in a row"


def first_upload(stand: Stand, name: str, goal: float) -> Row:
    """New projects, ours and devpi's."""
    return _row(
        name, goal,
        (stand.few.writes, OURS, _new_projects()), (stand.devpi, DEVPI_INDEX, _new_projects()),
    )  # fmt: skip


def growth(stand: Stand, name: str, goal: float) -> Row:
    """One project with a thousand releases, against new projects; both ours."""
    farm = stand.few.writes
    return _row(name, goal, (farm, OURS, _new_releases("grown")), (farm, OURS, _new_projects()))


def growth_against_devpi(stand: Stand, name: str, goal: float) -> Row:
    """One project with a thousand releases, against devpi's with two hundred."""
    for filename, body in _until("grown", GROWN):
        upload(stand.devpi, DEVPI_INDEX, filename, body)
    return _row(
        name, goal,
        (stand.few.writes, OURS, _new_releases("grown")), (stand.devpi, DEVPI_INDEX, _new_releases("grown")),
    )  # fmt: skip


def growth_of_index(stand: Stand, name: str, goal: float) -> Row:
    """New projects in an index of 200,000, against one of 200."""
    return _row(
        name, goal, (stand.many.writes, OURS, _new_projects()), (stand.few.writes, OURS, _new_projects())
    )


def _row(name: str, goal: float, ours: _Uploads, peer: _Uploads) -> Row:
    samples = in_turn(_sampler(*ours), _sampler(*peer))
    return Row(
        name, "CPU ms", samples[0], f"{_DESCRIBED}  # {ours[0].command}",
        samples[1], peer[0].name, f"{_DESCRIBED}  # {peer[0].command}", goal,
    )  # fmt: skip


_Uploads = tuple[Server, str, Iterator[tuple[str, bytes]]]


def _sampler(server: Server, path: str, wheels: Iterator[tuple[str, bytes]]) -> Callable[[], float]:
    def sample() -> float:
        batch = [next(wheels) for _ in range(_AT_ONCE)]
        before = server.cpu_s()
        for filename, body in batch:
            upload(server, path, filename, body)
        return (server.cpu_s() - before) / _AT_ONCE * 1e3

    return sample


def _new_projects() -> Iterator[tuple[str, bytes]]:
    return (some_wheel(f"fresh{next(_NEW)}", "1.0") for _ in count())


def _new_releases(project: str) -> Iterator[tuple[str, bytes]]:
    return (some_wheel(project, f"2.{next(_NEW)}") for _ in count())


def _until(project: str, releases: int) -> Iterable[tuple[str, bytes]]:
    return (some_wheel(project, f"1.{number}") for number in range(releases))
