"""The index against its peers: one run, one table. What each row is: docs/benchmarks.md."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from bench.index import clients, mirroring, serving, uploads, whole
from bench.index.load import ThrownOut
from bench.index.stand import Stand
from bench.row import Row

Measure = Callable[[Stand, str, float], Row]


def _embedded(case: str) -> Measure:
    return lambda stand, name, goal: serving.against_static(stand, name, case, stand.library.reads, goal)


def _front(case: str) -> Measure:
    return lambda stand, name, goal: serving.against_static(stand, name, case, stand.appliance, goal)


def _client(client: str) -> Measure:
    return lambda stand, name, goal: clients.against_static(stand, name, client, goal)


#: Every row: its goal (greatest ratio ours / peer; without a peer the greatest value) and how it is measured.
ROWS: dict[str, tuple[float, Measure]] = {
    "embedded.page_small": (1.3, _embedded("page_small")),
    "embedded.json": (1.3, _embedded("json")),
    "embedded.304": (1.5, _embedded("304")),
    "embedded.page_1000": (1.3, _embedded("page_1000")),
    "embedded.root_20k": (1.3, _embedded("root_20k")),
    "embedded.metadata": (1.8, _embedded("metadata")),
    "embedded.file_50k": (1.8, _embedded("file_50k")),
    "embedded.file_200m": (1.5, _embedded("file_200m")),
    "front.page_small": (1.7, _front("page_small")),
    "front.metadata": (1.7, _front("metadata")),
    "front.file_50k": (1.7, _front("file_50k")),
    "front.file_200m": (1.1, _front("file_200m")),
    "page_small.vs_devpi": (0.01, serving.small_against_devpi),
    "page_1000.vs_devpi": (0.001, serving.big_against_devpi),
    "page_small.vs_pypiserver": (0.01, serving.small_against_pypiserver),
    "dashboard.p99": (1.5, whole.beside_dashboard),
    "memory.20k": (250, whole.memory_full),
    "memory.empty": (60, whole.memory_empty),
    "start.first_answer": (1, whole.first_answer),
    "upload": (0.6, uploads.first_upload),
    "upload.growth": (2.0, uploads.growth),
    "upload.growth.vs_devpi": (0.6, uploads.growth_against_devpi),
    "growth.page": (1.1, serving.growth_of_index),
    "growth.publish": (1.2, uploads.growth_of_index),
    "resolve_uv.wall": (1.10, _client("resolve_uv")),
    "install_uv.wall": (1.10, _client("install_uv")),
    "install_pip.wall": (1.10, _client("install_pip")),
    "mirror.page_cold": (1.2, mirroring.page_cold),
    "mirror.file_cold": (1.2, mirroring.file_cold),
    "mirror.page_warm": (1.2, mirroring.page_warm),
    "mirror.file_warm": (1.2, mirroring.file_warm),
    "mirror.install_warm.wall": (0.5, mirroring.install_warm),
    "mirror.first_byte": (20, mirroring.first_byte),
    "mirror.fetches": (1, mirroring.fetches),
}


def rows(only: Sequence[str]) -> Iterator[Row]:
    """The rows asked for, all when none is named; ends with an error when one could not be measured."""
    if unknown := set(only) - set(ROWS):
        raise SystemExit(f"bench: there is no row {', '.join(sorted(unknown))}; there are: {', '.join(ROWS)}")
    lost = []
    folder = Path(tempfile.mkdtemp(prefix="buildfarm-bench-"))
    try:
        with Stand(folder) as stand:
            for name in only or ROWS:
                goal, measure = ROWS[name]
                try:
                    yield measure(stand, name, goal)
                except ThrownOut as err:
                    lost.append(name)
                    print(f"{name}: THROWN OUT: {err}", file=sys.stderr, flush=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    if lost:
        raise SystemExit(f"bench: not measured: {', '.join(lost)}")
