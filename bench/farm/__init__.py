"""The farm against its peers: one run, one table. What each row is: docs/benchmarks.md."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.farm import answered, builds, hooks, large, ledger, pushes, queued, told, waves
from bench.farm.stand import Stand
from bench.row import Row

#: What is measured together, by the names of its rows.
PARTS: dict[tuple[str, ...], Callable[[Stand], Iterator[Row]]] = {
    ("build.fresh.wall", "build.fresh.cpu"): builds.fresh,
    ("isolation.wall",): builds.isolation,
    ("build.four_targets.wall",): builds.four_targets,
    ("push",): pushes.rows,
    ("push.told",): told.rows,
    ("hooks",): hooks.rows,
    ("queue",): queued.rows,
    ("answered.equal_input",): answered.rows,
    ("wave.preview",): waves.rows,
    ("ledger",): ledger.rows,
    ("large_build.wall", "large_rebuild.wall"): large.rows,
    ("build.twenty_projects.wall",): builds.twenty_projects,
}


def rows(only: Sequence[str]) -> Iterator[Row]:
    """The rows asked for, all when none is named; `push`, `hooks`, `queue`, `ledger` name all of theirs."""
    known = {name for names in PARTS for name in names}
    if unknown := set(only) - known:
        raise SystemExit(
            f"bench: there is no row {', '.join(sorted(unknown))}; there are: {', '.join(known)}"
        )
    folder = Path(tempfile.mkdtemp(prefix="buildfarm-bench-"))
    lost = []
    try:
        with Stand(folder) as stand:
            for names, measure in PARTS.items():
                if only and not set(only) & set(names):
                    continue
                try:
                    yield from measure(stand)
                except SystemExit as err:
                    lost += names
                    print(f"{', '.join(names)}: THROWN OUT: {err}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if lost:
        raise SystemExit(f"bench: not measured: {', '.join(lost)}")
