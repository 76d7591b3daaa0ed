"""The serving process as a whole: memory, first answer after a start, patience under other load."""

from __future__ import annotations

import subprocess
from collections.abc import Callable

from bench.index import ours
from bench.index.load import PAGE, RUNS, Case, fetch, in_turn, load, probed, shown_command, wrk_command
from bench.index.process import Server
from bench.index.seed import small_names
from bench.index.stand import PROJECTS, Stand
from bench.row import Row

_SMALL = Case("/dev/simple/small/", PAGE, seconds=3, encoding="gzip")
_DASHBOARD = Case("/", {"Accept": "text/html"}, seconds=5, connections=2)


def memory_empty(stand: Stand, name: str, goal: float) -> Row:
    """A farm that nobody has used."""
    with ours.farm(stand.folder / "empty", seed=lambda _: None) as farm:
        samples = [farm.front.pss_mib()]
    return Row(name, "PSS MiB", samples, f"smaps_rollup of the front  # {farm.reads.command}", [], goal=goal)


def memory_full(stand: Stand, name: str, goal: float) -> Row:
    """The front once it has sent every page of 20,000 projects."""
    for project in small_names(PROJECTS - 3):
        fetch(stand.library.reads, f"/dev/simple/{project}/", PAGE)
    samples = [stand.library.front.pss_mib()]
    described = "smaps_rollup of the front, each page sent once"
    return Row(name, "PSS MiB", samples, f"{described}  # {stand.library.reads.command}", [], goal=goal)


def first_answer(stand: Stand, name: str, goal: float) -> Row:
    """Processor time of what serves, from its start to the first page."""
    samples: list[float] = []
    for _ in range(RUNS):
        with ours.farm(stand.folder / "again", seed=None if samples else stand.fill_few) as farm:
            samples.append(farm.first_answer_cpu_s)
    described = "GET /dev/simple/ in a loop from the start on"
    return Row(name, "CPU s", samples, f"{described}  # {farm.reads.command}", [], goal=goal)


def beside_dashboard(stand: Stand, name: str, goal: float) -> Row:
    """The slowest hundredth of small pages while others look at the dashboard, which the peer suffers too."""
    noise = stand.library.reads
    ours_p99, peer_p99 = (_p99(server, noise) for server in (stand.library.reads, stand.static))
    samples = in_turn(ours_p99, peer_p99)
    beside = f"beside {shown_command(noise, _DASHBOARD)}"
    return Row(
        name, "p99 us", samples[0], f"{shown_command(noise, _SMALL)} {beside}",
        samples[1], stand.static.name, f"{shown_command(stand.static, _SMALL)} {beside}", goal,
    )  # fmt: skip


def _p99(server: Server, noise: Server) -> Callable[[], float]:
    headers, noisy = probed(server, _SMALL), probed(noise, _DASHBOARD)

    def sample() -> float:
        beside = subprocess.Popen(wrk_command(noise, _DASHBOARD, noisy), stdout=subprocess.DEVNULL)
        try:
            return float(load(server, _SMALL, headers).p99_us)
        finally:
            beside.wait()

    return sample
