"""Real parts for the sandbox: an engine, its images, and a farm that fits in one object."""

import hashlib
import io
import os
import platform
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from buildfarm.errors import FarmError
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.images import list_images
from buildfarm.sandbox.port import IndexAnswer
from buildfarm.sandbox.spec import AttemptOutcome, AttemptSpec

#: What containers of these tests are labelled with: each process of a parallel run has its own.
INSTANCE = os.environ.get("PYTEST_XDIST_WORKER", "pytest")
HOSTILE = Path(__file__).resolve().parent.parent / "fixtures" / "hostile"
NO_ENGINE = "No Docker engine with builder images answers: run `make test`, which starts and fills one."


class FakeFarm:
    """A farm in memory which keeps to the `FarmPort` contract and serves a directory of wheels."""

    def __init__(self, source: bytes = b"", wheelhouse: Path | None = None) -> None:
        self.source = source
        self.wheelhouse = wheelhouse
        self.log = ""
        self.segments: list[tuple[str, str, list[int]]] = []
        self.artifacts: dict[str, bytes] = {}
        self.beats: list[tuple[str, str | None]] = []
        self.beaten = threading.Condition()
        self.alive = lambda phase, container_id: True
        self.asked: list[str] = []
        self.index_status: int | None = None

    def fetch_source(self, into: Path) -> None:
        into.write_bytes(self.source)

    def heartbeat(self, phase: str, container_id: str | None) -> bool:
        with self.beaten:
            self.beats.append((phase, container_id))
            self.beaten.notify_all()
        return self.alive(phase, container_id)

    def append_log(self, offset: int, phase: str, text: str, times_ms: list[int]) -> int:
        assert offset == len(self.log.encode())
        assert text.endswith("\n")
        assert len(times_ms) == text.count("\n")
        assert len(text.encode()) <= 64 * 1024
        self.log += text
        self.segments.append((phase, text, times_ms))
        return len(self.log.encode())

    def put_artifact(self, path: Path, filename: str, sha256: str) -> None:
        data = path.read_bytes()
        assert hashlib.sha256(data).hexdigest() == sha256
        self.artifacts[filename] = data

    def index_get(self, path: str, headers: Mapping[str, str]) -> IndexAnswer:
        self.asked.append(path)
        if self.index_status is not None:
            return IndexAnswer(self.index_status, {}, iter([b"no\n"]))
        if self.wheelhouse is None:
            return IndexAnswer(404, {}, iter([b"not found\n"]))
        _, kind, name, filename = path.split("/")
        if kind == "files" and (self.wheelhouse / filename).is_file():
            data = (self.wheelhouse / filename).read_bytes()
            return IndexAnswer(200, {"Content-Length": str(len(data))}, iter([data]))
        files = [file.name for file in self.wheelhouse.glob(f"{name}-*.whl")]
        if kind != "simple" or not files:
            return IndexAnswer(404, {}, iter([b"not found\n"]))
        links = "".join(f'<a href="../../files/{name}/{file}">{file}</a>\n' for file in files)
        page = f"<!DOCTYPE html><html><body>{links}</body></html>".encode()
        return IndexAnswer(200, {"Content-Type": "text/html"}, iter([page]))

    def lines_of(self, phase: str) -> str:
        return "".join(text for kind, text, _ in self.segments if kind == phase)


def source_tar(files: Mapping[str, str]) -> bytes:
    """A snapshot as the fetcher makes it: one top directory `src`."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, text in files.items():
            member = tarfile.TarInfo(f"src/{name}")
            member.size = len(text.encode())
            member.mtime = 1_700_000_000
            archive.addfile(member, io.BytesIO(text.encode()))
    return buffer.getvalue()


C_PROJECT = {
    "pyproject.toml": """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "fastadd"
version = "1.2"
[tool.setuptools]
packages = ["fastadd"]
[[tool.setuptools.ext-modules]]
name = "fastadd._add"
sources = ["add.c"]
""",
    "fastadd/__init__.py": "from fastadd._add import add\n",
    "add.c": """
#include <Python.h>
static PyObject *add(PyObject *self, PyObject *args) {
    long a, b;
    if (!PyArg_ParseTuple(args, "ll", &a, &b)) return NULL;
    return PyLong_FromLong(a + b);
}
static PyMethodDef methods[] = {{"add", add, METH_VARARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_add", NULL, -1, methods};
PyMODINIT_FUNC PyInit__add(void) { return PyModule_Create(&module); }
""",
}


def hostile(body: str) -> dict[str, str]:
    """A project whose own build backend runs `body` in build_wheel; it needs no index."""
    indented = "\n".join("    " + line for line in body.strip().splitlines())
    return {
        "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
        "backend.py": "import os, sys, socket, subprocess, time, zipfile\n"
        "def build_wheel(directory, config_settings=None, metadata_directory=None):\n" + indented + "\n",
    }


def hostile_project(name: str) -> dict[str, str]:
    """A project of tests/fixtures/hostile, with what all of them share."""
    return {path.name: path.read_text() for part in ("common", name) for path in (HOSTILE / part).glob("*.*")}


PURE_WHEEL = """
name = "calm-1-py3-none-any.whl"
with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
    wheel.writestr("calm.py", "")
    wheel.writestr("calm-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: calm\\nVersion: 1\\n")
    wheel.writestr("calm-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nTag: py3-none-any\\n")
    wheel.writestr("calm-1.dist-info/RECORD", "")
return name
"""


@pytest.fixture(scope="session")
def engine() -> Iterator[str]:
    host = os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock")
    try:
        images = list_images(host)
    except FarmError:
        images = []
    if not images:
        pytest.fail(NO_ENGINE)
    return host


@pytest.fixture(scope="session")
def images(engine: str) -> dict[str, str]:
    """Role -> image ID of the suite with CPython 3.11, for this machine and with its own compiler."""
    held = [image for image in list_images(engine) if image.platform.endswith(platform.machine())]
    return {
        image.role: image.image_id
        for image in held
        if "cp311" in image.interpreters and image.toolchain is None
    }


@pytest.fixture(scope="session")
def wheelhouse(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the fixture project needs, fetched once with the pip settings of this machine."""
    directory = tmp_path_factory.mktemp("wheelhouse")
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "download",
            "-q",
            "--no-deps",
            "--only-binary",
            ":all:",
            "-d",
            directory,
            "setuptools",
            "pip",
            "packaging",
        ],
        check=True,
    )
    return directory


@pytest.fixture
def spec_of(images: dict[str, str]):
    def make(source: bytes, **changes: object) -> AttemptSpec:
        values = {
            "job_id": "job_test",
            "attempt": 1,
            "target": "cp311-manylinux_2_36_x86_64",
            "interpreter": "cp311",
            "build_image": images["builder"],
            "test_image": images["test"],
            "source_sha256": hashlib.sha256(source).hexdigest(),
            "source_date_epoch": 1_700_000_000,
        }
        return AttemptSpec.model_validate({**values, **changes})

    return make


@pytest.fixture
def attempt(engine: str, spec_of, tmp_path: Path, wheelhouse: Path):
    """Run a project through the sandbox; answers the outcome and the farm it spoke to."""

    def run(
        files: Mapping[str, str], *, farm: FakeFarm | None = None, **changes: object
    ) -> tuple[AttemptOutcome, FakeFarm]:
        source = source_tar(files)
        farm = farm or FakeFarm(source, wheelhouse)
        farm.source = source
        outcome = run_attempt(
            spec_of(source, **changes), farm, docker_host=engine, workdir=tmp_path / "work", instance=INSTANCE
        )
        return outcome, farm

    return run
