"""What the rows of the farm share: images, sources, a folder of wheels that both sides read, attempts."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
import sys
import tarfile
import threading
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bench.farm import peer
from buildfarm.errors import InvalidInput
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.bytecode import store_of
from buildfarm.sandbox.images import ImageRecord, list_images
from buildfarm.sandbox.janitor import reap
from buildfarm.sandbox.port import IndexAnswer
from buildfarm.sandbox.precompile import compile_noted
from buildfarm.sandbox.prestart import refill, remember
from buildfarm.sandbox.spec import AttemptSpec
from tests.tour.stage import fetch_sdist

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
INSTANCE = f"bench{os.getpid()}"
#: What the projects need to be built and tested, for both sides the newest that pip finds here.
_NEEDED = (
    "setuptools", "wheel", "pip", "packaging", "build[uv]", "auditwheel", "cython", "cython<3.1", "cppy",
    "expandvars", "setuptools-scm", "meson-python", "meson", "ninja", "pybind11", "numpy", "cffi", "cffi<2",
    "pkgconfig", "pythran", "tomli", "typing_extensions", "pycparser", "setuptools<81", "vcs_versioning",
)  # fmt: skip


class FolderFarm:
    """The farm as an attempt sees it (`FarmPort`), with a folder of wheels for an index."""

    def __init__(self, source: Path, wheelhouse: Path) -> None:
        self._source, self._wheelhouse = source, wheelhouse
        self.log = ""
        self.wheels: list[str] = []

    def fetch_source(self, into: Path) -> None:
        """The source, as a link to the one file."""
        os.link(self._source, into)

    def heartbeat(self, _phase: str, _container_id: str | None) -> bool:
        """Go on."""
        return True

    def append_log(self, _offset: int, _phase: str, text: str, _times_ms: list[int]) -> int:
        """Keep it for an error message."""
        self.log += text
        return len(self.log.encode())

    def put_artifact(self, _path: Path, filename: str, _sha256: str) -> None:
        """Note its name."""
        self.wheels.append(filename)

    def index_get(self, path: str, _headers: Mapping[str, str]) -> IndexAnswer:
        """Pages and files of the folder."""
        kind, project, *rest = path.strip("/").split("/")
        if kind == "files":
            data = (self._wheelhouse / rest[0]).read_bytes()
            return IndexAnswer(200, {"Content-Length": str(len(data))}, iter([data]))
        files = _by_project(self._wheelhouse).get(project, [])
        links = "".join(f'<a href="../../files/{project}/{name}">{name}</a>\n' for name in files)
        if not files:
            return IndexAnswer(404, {}, iter([b"not found\n"]))
        return IndexAnswer(200, {"Content-Type": "text/html"}, iter([f"<html>{links}</html>".encode()]))


@cache
def _by_project(wheelhouse: Path) -> dict[str, list[str]]:
    files: dict[str, list[str]] = {}
    for wheel in wheelhouse.glob("*.whl"):
        name = wheel.name.split("-")[0].lower().replace("_", "-").replace(".", "-")
        files.setdefault(name, []).append(wheel.name)
    return files


class Stand:
    """Made once for all rows; everything lies in one folder and is gone with it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workdir = folder / "work"
        self.host = os.environ.get("DOCKER_HOST")
        self._stack = ExitStack()
        self._peers: dict[str, str] = {}
        self._sources: dict[str, Path] = {}
        self._packing = threading.Lock()

    @cached_property
    def wheelhouse(self) -> Path:
        """What both sides read, downloaded when a row first needs it."""
        folder = self.folder / "wheelhouse"
        for interpreter in ("3.11", "3.13"):
            _download(interpreter, folder)
        return folder

    @cached_property
    def images(self) -> dict[tuple[str, str], ImageRecord]:
        """The engine's images for this machine, by interpreter and role."""
        here = platform.machine()
        held = [one for one in list_images(self.host) if one.platform.endswith(here) and not one.toolchain]
        return {(image.interpreters[0], image.role): image for image in reversed(held)}

    def __enter__(self) -> Stand:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()
        reap(self.host, INSTANCE)

    def source(self, project: str, version: str | None = None) -> Path:
        """A project's unpacked source."""
        if project not in self._sources:
            place = self.folder / "sources"
            place.mkdir(exist_ok=True)
            self._sources[project], _ = fetch_sdist(project, place, version)
        return self._sources[project]

    def attempt(
        self,
        source: Path,
        interpreter: str = "cp311",
        *,
        test: list[str] | None = None,
        slot: str = "a",
        rest: bool = True,
        **more: Any,
    ) -> float:
        """Build, repair and test a wheel as a builder does; wall seconds of the attempt
        until it is reported.

        Without `rest` the next one follows at once.

        Raises:
            SystemExit: it did not succeed; its log is shown.
        """
        tar = self._tar(source)
        farm = FolderFarm(tar, self.wheelhouse)
        spec = AttemptSpec.model_validate(
            {
                "job_id": f"job_{slot}",
                "attempt": 1,
                "target": f"{interpreter}-manylinux",
                "interpreter": interpreter,
                "build_image": self.images[interpreter, "builder"].image_id,
                "test_image": self.images[interpreter, "test"].image_id,
                "source_sha256": _digest(tar),
                "source_date_epoch": 1_700_000_000,
                "expect_native": True,
                "test": None if test is None else {"command": test},
                "limits": {"memory_bytes": 4 * 2**30},
                **more,
            }
        )
        workdir = self.workdir / slot
        began = time.monotonic()
        ended: list[float] = []
        outcome = run_attempt(
            spec, farm, docker_host=self.host, workdir=workdir, instance=INSTANCE, bytecode=store_of(workdir),
            report=lambda _: ended.append(time.monotonic()),
        )  # fmt: skip
        if outcome.state != "succeeded":
            raise SystemExit(f"bench: {source.name}: {outcome.first_error}\n{farm.log[-3000:]}")
        remember(spec, outcome, workdir)
        if rest:
            self.rest(slot)
        return ended[0] - began

    def rest(self, slot: str = "a") -> None:
        """What a builder does when it has nothing else to do, which is in nobody's seconds."""
        here: Any = {"docker_host": self.host, "workdir": self.workdir / slot, "instance": INSTANCE}
        refill(**here)
        while compile_noted(**here):
            pass

    def _tar(self, source: Path) -> Path:
        tar = self.folder / f"{source.name}.tar"
        with self._packing:  # slots may want the same one
            if not tar.exists():
                with tarfile.open(tar, "w") as archive:
                    archive.add(source, arcname="source")
        return tar

    def peer_image(self, interpreter: str = "cp311") -> str:
        """Our builder image as cibuildwheel wants it."""
        if interpreter not in self._peers:
            made = peer.image_of(self.images[interpreter, "builder"], self.wheelhouse, self.folder)
            self._peers[interpreter] = self._stack.enter_context(made)
        return self._peers[interpreter]


def _download(python: str, folder: Path) -> None:
    for needed in _NEEDED:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--only-binary", ":all:",
             "--python-version", python, "--dest", str(folder), needed],
            capture_output=True, text=True,
        )  # fmt: skip
        if done.returncode:
            raise InvalidInput(f"{needed} cannot be downloaded: {done.stderr.strip()[-300:]}")


def containers_cpu_s() -> float:
    """CPU seconds of everything that ever ran below the engine's cgroup (version 1 or 2)."""
    first = Path("/sys/fs/cgroup/cpuacct/docker/cpuacct.usage")
    second = Path("/sys/fs/cgroup/docker/cpu.stat")
    if first.exists():
        return int(first.read_text()) / 1e9
    if second.exists():
        return int(second.read_text().split()[1]) / 1e6
    return 0.0


@cache
def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
