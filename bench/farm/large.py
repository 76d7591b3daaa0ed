"""A large build: minutes of C++ against the compiler's own time, and again after a change of one line."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from bench.farm.stand import Stand
from bench.row import Row

PROJECT, VERSION = "contourpy", "1.3.3"
OURS = "run_attempt of contourpy (meson, pybind11), all phases (bench/farm/large.py)"
PEER = "docker run of our builder image without any limit: uv build, auditwheel repair"
_PLAIN = """set -e
cp -r /in /tmp/src && cd /tmp/src
uv build --wheel --python {python} --out-dir /tmp/raw .
auditwheel repair --wheel-dir /tmp/out /tmp/raw/*.whl
"""


def rows(stand: Stand) -> Iterator[Row]:
    """Two samples of each side: a build takes minutes."""
    source = stand.source(PROJECT, VERSION)
    ours, plain = [], []
    for _ in range(2):
        ours.append(stand.attempt(source, rest=False))
        plain.append(_plain(stand, source))
    yield Row("large_build.wall", "s", ours, OURS, plain, "plain container", PEER, 1.03)
    cached = {"compile_cache": "bench-dev", "rest": False}
    first = stand.attempt(source, **cached)
    changed = shutil.copytree(source, source.with_name(f"{source.name}-changed"))
    line = changed / "src" / "mpl2014.cpp"
    line.write_text(line.read_text() + "\nstatic const int changed_line = 1;\n")
    again = stand.attempt(changed, **cached)
    command = "the same with build.compile_cache, first and after a change of one line of one file"
    yield Row("large_rebuild.wall", "s", [again], command, [first], "own first build", command, 0.3)


def _plain(stand: Stand, source: Path) -> float:
    image = stand.images["cp311", "builder"].image_id
    house = stand.wheelhouse
    script = _PLAIN.format(python="/opt/python/cp311-cp311/bin/python")
    began = time.monotonic()
    done = subprocess.run(
        ["docker", "run", "--rm", "--network", "none", "--volume", f"{source}:/in:ro",
         "--volume", f"{house}:{house}:ro", "--env", f"UV_FIND_LINKS={house}", "--env", "UV_OFFLINE=1",
         image, "bash", "-c", script],
        capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"the plain build failed: {done.stderr[-2000:]}")
    return time.monotonic() - began
