"""Builds of small projects: one, four targets, twenty projects, and what the isolation costs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

from bench.farm import peer
from bench.farm.stand import RUNS, Stand, containers_cpu_s
from bench.row import Row
from buildfarm.sandbox import containers

SLOTS = ("slot0", "slot1")
OURS = "run_attempt: isolated containers used once, repair, test without compilers (bench/farm/builds.py)"
PEER = peer.COMMAND.format(target="cp311")
SMALL, SMALL_VERSION, SMALL_MODULE = "markupsafe", "3.0.4", "markupsafe._speedups"
#: Of the projects in tests/tour/world.toml and their like: those that need no package of the system.
TWENTY = {
    "markupsafe": "markupsafe._speedups", "pyyaml": "yaml._yaml", "wrapt": "wrapt._wrappers",
    "zope.interface": "zope.interface", "kiwisolver": "kiwisolver", "xxhash": "xxhash", "psutil": "psutil",
    "coverage": "coverage.tracer", "msgpack": "msgpack._cmsgpack", "ujson": "ujson",
    "simplejson": "simplejson._speedups", "multidict": "multidict._multidict", "bitarray": "bitarray",
    "tornado": "tornado.speedups", "cffi": "_cffi_backend", "greenlet": "greenlet", "regex": "regex",
    "mmh3": "mmh3", "propcache": "propcache._helpers_c", "lz4": "lz4.frame",
}  # fmt: skip


def fresh(stand: Stand) -> Iterator[Row]:
    """One small C extension.

    Containers of ours are started ahead, after the attempt before: not in the wall time of the attempt, but
    the processor time is that of one attempt and the start of one set of containers.
    """
    source, image = stand.source(SMALL, SMALL_VERSION), stand.peer_image()
    walls: tuple[list[float], list[float]] = ([], [])
    cpus: tuple[list[float], list[float]] = ([], [])
    for run in range(RUNS + 1):
        before = containers_cpu_s()
        ours = stand.attempt(source, test=_imports(SMALL_MODULE))
        between = containers_cpu_s()
        began = time.monotonic()
        _peer(stand, source, image, SMALL_MODULE)
        theirs = time.monotonic() - began
        after = containers_cpu_s()
        if run:  # the first of each fills caches
            for samples, value in ((walls[0], ours), (walls[1], theirs), (cpus[0], between - before),
                                   (cpus[1], after - between)):  # fmt: skip
                samples.append(value)
    yield Row("build.fresh.wall", "s", walls[0], OURS, walls[1], "cibuildwheel", PEER, 0.35)
    yield Row("build.fresh.cpu", "s", cpus[0], OURS, cpus[1], "cibuildwheel", PEER, 0.5)


def isolation(stand: Stand) -> Iterator[Row]:
    """The same attempt under the policy and in plain containers, none of them started ahead."""
    source = stand.source(SMALL, SMALL_VERSION)
    isolated, plain = [], []
    for run in range(2 * RUNS + 1):
        one = stand.attempt(source, test=_imports(SMALL_MODULE), rest=False, slot="isolated")
        with mock.patch.object(containers, "host_config", _plain):
            other = stand.attempt(source, test=_imports(SMALL_MODULE), rest=False, slot="plain")
        if run:
            isolated.append(one)
            plain.append(other)
    command = (
        "the same attempt without the policy: no limit, all capabilities, writable root, Docker's seccomp"
    )
    yield Row("isolation.wall", "s", isolated, OURS, plain, "plain container", command, 1.05)


def four_targets(stand: Stand) -> Iterator[Row]:
    """Two projects for two interpreters: ours in two slots at a time, the peer one after the other.

    Each slot has rested before; between the jobs of a queue a builder does not.
    """
    wanted = [(name, target) for name in ("markupsafe", "wrapt") for target in ("cp311", "cp313")]
    for name, _ in wanted:
        stand.source(name, SMALL_VERSION if name == SMALL else None)
    ours, theirs = [], []
    for run in range(RUNS + 1):
        one = _seconds(lambda: _side_by_side(stand, wanted))
        for slot in SLOTS:
            stand.rest(slot)
        other = _seconds(lambda: _in_turn(stand, wanted))
        if run:
            ours.append(one)
            theirs.append(other)
    yield Row("build.four_targets.wall", "s", ours, OURS, theirs, "cibuildwheel", PEER, 1 / 3)


def twenty_projects(stand: Stand) -> Iterator[Row]:
    """Twenty real projects for one interpreter; once, for it takes minutes."""
    wanted = [(name, "cp311") for name in TWENTY]
    for name in TWENTY:
        stand.source(name, SMALL_VERSION if name == SMALL else None)
    ours = _seconds(lambda: _side_by_side(stand, wanted))
    theirs = _seconds(lambda: _in_turn(stand, wanted))
    yield Row("build.twenty_projects.wall", "s", [ours], OURS, [theirs], "cibuildwheel", PEER, 0.5)


def _side_by_side(stand: Stand, wanted: list[tuple[str, str]]) -> None:
    def build(slot: str, mine: Iterator[tuple[str, str]]) -> None:
        for name, target in mine:
            stand.attempt(stand.source(name), target, test=_imports(TWENTY[name]), slot=slot, rest=False)

    shared = _Shared(wanted)
    with ThreadPoolExecutor(max_workers=len(SLOTS)) as pool:
        for done in [pool.submit(build, slot, shared) for slot in SLOTS]:
            done.result()


class _Shared(Iterator[tuple[str, str]]):
    """What is left to build, given out one by one to several threads."""

    def __init__(self, wanted: list[tuple[str, str]]) -> None:
        self._left = list(reversed(wanted))

    def __next__(self) -> tuple[str, str]:
        try:
            return self._left.pop()
        except IndexError:
            raise StopIteration from None


def _in_turn(stand: Stand, wanted: list[tuple[str, str]]) -> None:
    for name, target in wanted:
        _peer(stand, stand.source(name), stand.peer_image(target), TWENTY[name], target)


def _peer(stand: Stand, source: Path, image: str, module: str, interpreter: str = "cp311") -> None:
    command = f"python -c 'import {module}'"
    peer.build(source, image, interpreter, stand.wheelhouse, stand.folder / "wheels", command)


def _imports(module: str) -> list[str]:
    return ["python", "-c", f"import {module}"]


def _seconds(act: Callable[[], object]) -> float:
    began = time.monotonic()
    act()
    return time.monotonic() - began


def _plain(_limits: object, *, machine: str, cpus: float, mounts: dict[str, Path]) -> dict[str, Any]:
    binds = [f"{place}:{target}:ro" for target, place in mounts.items()]
    return {"network_mode": "none", "binds": binds}
