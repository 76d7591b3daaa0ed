"""The farm against cibuildwheel: the same C extension, the same image, one after the other in turn.

Ours is a real farm: git push, webhook, queue, container, attestation, index; the peer builds the wheel in
a checkout. Both build without network from what was fetched before (ours through its own index, warm; the
peer from a folder), and neither runs tests, so that the work compared is: build and repair one wheel.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

import requests

from bench.row import Row
from buildfarm.sandbox.images import list_images
from tests.tour import demo

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
PROJECT = "MarkupSafe"
RECIPE = 'test = false\n[targets]\ninterpreters = ["cp311"]\nnative = true\n[build]\nsdist = false\n'
OURS = "git push of a tag to a source of `buildfarm up` (bench/farm.py)"
PEER = (
    "cibuildwheel --only cp311-manylinux_x86_64 with build[uv], network none, the same image (bench/farm.py)"
)


def rows(only: Sequence[str]) -> list[Row]:
    """Every figure of the area, or those asked for; all come from the same pushes."""
    folder = Path(tempfile.mkdtemp(prefix="buildfarm-bench-"))
    try:
        demo.FOLDER = folder
        for name in ("git", "work", "upstream", "home", "venvs"):
            (folder / name).mkdir()
        wheelhouse = _wheelhouse(folder)
        with _peer_image(folder, wheelhouse) as image, demo.farm() as ready:
            measured = _measure(ready, image, wheelhouse, folder / "wheels")
            return [row for row in measured if not only or row.name.strip() in only]
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _measure(ready: dict[str, str], image: str, wheelhouse: Path, out: Path) -> list[Row]:
    tour = demo.Tour(ready)
    bare, clone, version = demo.make_repositories(PROJECT)
    (clone / "buildfarm.toml").write_text(RECIPE)
    tour.command("source", "add", "bench", f"file://{bare}", "--project", PROJECT)
    tour.command("source", "hook", "bench", "--into", bare / "hooks")
    ours: dict[str, list[float]] = {}
    peer: dict[str, list[float]] = {"wall": [], "cpu": []}
    for run in range(RUNS + 1):
        fresh = f"{version}.post{run + 1}"
        _set_version(clone, version, fresh)
        figures = _push(tour, ready, clone, fresh)
        wall, cpu = _cibuildwheel(clone, image, wheelhouse, out)
        if run:  # the first of each fills caches
            for name, seconds in figures.items():
                ours.setdefault(name, []).append(seconds)
            peer["wall"].append(wall)
            peer["cpu"].append(cpu)
        print(f"run {run}: ours {figures['attempt']:.2f} s, cibuildwheel {wall:.2f} s", file=sys.stderr)
    compared = [
        Row(
            "claimed to wheel in the farm (wall)",
            "s",
            ours["attempt"],
            OURS,
            peer["wall"],
            "cibuildwheel",
            PEER,
        ),
        Row("containers (CPU)", "s", ours["container cpu"], OURS, peer["cpu"], "cibuildwheel", PEER),
    ]
    return compared + [Row(name, "s", samples, OURS, []) for name, samples in ours.items()]


def _push(tour: demo.Tour, ready: dict[str, str], clone: Path, version: str) -> dict[str, float]:
    """Push one tag; seconds of each step as the farm's own records have them."""
    demo.git(clone, "commit", "--quiet", "--all", "--message", version)
    demo.git(clone, "tag", version)
    pushed = time.time()
    demo.git(clone, "push", "--quiet", "origin", version)
    returned = time.time()
    builds = tour.json("build", "list", "--source", "bench")["items"]
    page = f"{ready['url']}/dev/simple/{PROJECT.lower()}/"
    credentials = ("__token__", ready["admin_token"])
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    deadline = time.time() + 120
    while version not in requests.get(page, auth=credentials, headers=accept, timeout=10).text:
        if time.time() > deadline:
            raise SystemExit(
                f"bench: {version} was not published: {tour.command('build', 'show', builds[0]['id'])}"
            )
        time.sleep(0.05)
    installable = time.time()
    build = tour.json("build", "show", str(builds[0]["id"]))  # type: ignore[index]
    job = build["jobs"][0]  # type: ignore[index]
    attempt = tour.json("job", "show", job["id"])["attempts"][-1]  # type: ignore[index]
    phases = {phase["phase"]: phase for phase in attempt["phases"]}
    at = {name: datetime.fromisoformat(value).timestamp() for name, value in {
        "made": build["created_at"], "planned": job["created_at"], "claimed": attempt["started_at"],
        "done": attempt["finished_at"], "published": build["finished_at"],
    }.items()}  # fmt: skip
    return {
        "push to installable": installable - pushed,
        "  git push itself": returned - pushed,
        "  push to build queued": at["made"] - pushed,
        "  fetch and plan": at["planned"] - at["made"],
        "  planned to claimed": at["claimed"] - at["planned"],
        "attempt": at["done"] - at["claimed"],
        **{f"    phase {name}": phase["seconds"] for name, phase in phases.items()},
        "container cpu": sum(phase["cpu_seconds"] or 0.0 for phase in phases.values()),
        "  attempt done to published": at["published"] - at["done"],
        "  published to seen on the page": installable - at["published"],
    }


def _cibuildwheel(clone: Path, image: str, wheelhouse: Path, out: Path) -> tuple[float, float]:
    """Build the wheel with the peer; wall seconds of the process, CPU seconds of its container."""
    offline = f"NO_INDEX=1 {{0}}_FIND_LINKS={wheelhouse}"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))
    } | {
        "CIBW_MANYLINUX_X86_64_IMAGE": image,
        "CIBW_BUILD_FRONTEND": "build[uv]",
        "CIBW_DEPENDENCY_VERSIONS": "latest",
        "CIBW_CONTAINER_ENGINE": "docker; disable_host_mount: True; "
        f"create_args: --network=none --volume={wheelhouse}:{wheelhouse}:ro",
        "CIBW_ENVIRONMENT": f"PIP_{offline.format('PIP')} UV_{offline.format('UV')} UV_OFFLINE=1",
    }
    before = _containers_cpu_s()
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", "--only", "cp311-manylinux_x86_64", "--output-dir", str(out)],
        cwd=clone, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    wall = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"bench: cibuildwheel failed:\n{done.stdout[-3000:]}{done.stderr[-2000:]}")
    return wall, _containers_cpu_s() - before


def _containers_cpu_s() -> float:
    """CPU seconds of everything that ever ran below the engine's cgroup (version 1 or 2)."""
    first, second = (
        Path("/sys/fs/cgroup/cpuacct/docker/cpuacct.usage"),
        Path("/sys/fs/cgroup/docker/cpu.stat"),
    )
    if first.exists():
        return int(first.read_text()) / 1e9
    if second.exists():
        return int(second.read_text().split()[1]) / 1e6
    return 0.0


@contextmanager
def _peer_image(folder: Path, wheelhouse: Path) -> Iterator[str]:
    """Our own builder image with what cibuildwheel expects in any image: two names, and `build`."""
    builder = next(
        image for image in list_images(None) if image.role == "builder" and image.suite == "bookworm"
    )
    context = folder / "peer-image"
    shutil.copytree(wheelhouse, context / "wheels")
    (context / "Dockerfile").write_text(
        f"FROM {builder.image_id}\nUSER root\nCOPY wheels /wheels\n"
        "RUN ln -sf /opt/python/cp311-cp311 /opt/python/cp39-cp39 "
        "&& printf '#!/bin/sh\\nexit 0\\n' >/usr/local/bin/manylinux-interpreters "
        "&& chmod 755 /usr/local/bin/manylinux-interpreters "
        "&& uv pip install --python /opt/python/cp311-cp311/bin/python --break-system-packages "
        "--offline --no-index --find-links /wheels build[uv]\n"
    )
    name = "buildfarm/bench-cibuildwheel:bookworm"
    environment = dict(os.environ) | {"DOCKER_BUILDKIT": "0"}
    command = ["docker", "build", "--quiet", "--network", "none", "--tag", name, str(context)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"bench: the peer's image could not be made:\n{done.stdout}{done.stderr}")
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", "--force", name], check=False, stdout=subprocess.DEVNULL)


def _wheelhouse(folder: Path) -> Path:
    place = folder / "wheelhouse"
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:", "--dest", str(place),
         "setuptools", "build[uv]", "pip", "auditwheel"],
        check=True,
    )  # fmt: skip
    return place


def _set_version(clone: Path, old: str, new: str) -> None:
    """Each run makes another release, so that nothing is answered from an earlier one."""
    path = clone / "pyproject.toml"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text(
        "".join(f'version = "{new}"\n' if line.startswith("version = ") else line for line in lines)
    )
    if new not in path.read_text():
        raise SystemExit(json.dumps({"bench": "no version line", "old": old}))
