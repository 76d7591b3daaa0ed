"""Builds by zig: an older C library than the suite's, with its wrong-but-green twin."""

from __future__ import annotations

import io
import os
import subprocess
import zipfile
from pathlib import Path

import pytest

from buildfarm.sandbox.images import list_images
from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate
from tests.sandbox.conftest import C_PROJECT

pytestmark = [pytest.mark.engine, pytest.mark.exhaustive]

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "zig-images.sh"
SETUP = """
import os
from setuptools import Extension, setup
{first}
add = Extension("fastadd._add", ["add.cc"])
setup(name="fastadd", version="1.2", packages=["fastadd"], ext_modules=[add])
"""
#: What GCC 12 makes of it asks for a symbol of glibc 2.32.
CXX_PROJECT = {
    "pyproject.toml": C_PROJECT["pyproject.toml"].partition("[project]")[0],
    "setup.py": SETUP.format(first=""),
    "fastadd/__init__.py": C_PROJECT["fastadd/__init__.py"],
    "add.cc": """
#include <Python.h>
#include <memory>
#include <stdexcept>
#include <string>
static PyObject *add(PyObject *self, PyObject *args) {
    long a, b;
    if (!PyArg_ParseTuple(args, "ll", &a, &b)) return NULL;
    try { throw std::runtime_error(std::to_string(a)); }
    catch (const std::exception &error) {
        auto text = std::make_shared<std::string>(error.what());
        std::weak_ptr<std::string> other = text;
        return PyLong_FromLong(std::stol(*other.lock()) + b);
    }
}
static PyMethodDef methods[] = {{"add", add, METH_VARARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "_add", NULL, -1, methods};
PyMODINIT_FUNC PyInit__add(void) { return PyModule_Create(&module); }
""",
}
BY_NAME = 'os.environ.update(CC="gcc", CXX="g++", LDSHARED="gcc -shared", LDCXXSHARED="g++ -shared")'
TEST = {"command": ["python", "-c", "from fastadd import add; assert add(2, 3) == 5"]}


@pytest.fixture(scope="session")
def zig(engine: str) -> dict[str, str]:
    """Target -> image ID of its builder image; made once, kept by the engine."""
    subprocess.run([SCRIPT], check=True, env={**os.environ, "DOCKER_HOST": engine})
    return {
        f"cp311-{image.platform}": image.image_id for image in list_images(engine) if image.toolchain == "zig"
    }


@pytest.fixture
def built(attempt, zig):
    """Build a project by zig for a platform and test it."""

    def run(files, platform, **changes):
        target = f"cp311-{platform}"
        return attempt(files, target=target, build_image=zig[target], test=TEST, **changes)

    return run


def published(farm, tmp_path):
    """The wheel's name and members, once what is done before publishing has let it pass."""
    ((name, wheel),) = farm.artifacts.items()
    (tmp_path / name).write_bytes(wheel)
    validate(tmp_path / name, Expectation(name, "fastadd", "1.2", 1 << 24, origin="build"))
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return name, archive.namelist()


@pytest.mark.parametrize("files", [C_PROJECT, CXX_PROJECT], ids=["C", "C++"])
def test_a_wheel_for_an_older_c_library_than_the_image_s(built, tmp_path, files):
    outcome, farm = built(files, "manylinux_2_17_x86_64")

    assert outcome.state == "succeeded", farm.log
    name, _ = published(farm, tmp_path)
    assert "manylinux_2_17_x86_64" in name or "manylinux_2_5_x86_64" in name


def test_without_it_the_suite_s_compiler_decides(attempt):
    _, farm = attempt(CXX_PROJECT)

    (name,) = farm.artifacts
    assert "manylinux_2_17_" not in name


def test_a_build_that_calls_another_compiler_fails_its_checks(built):
    files = {**CXX_PROJECT, "setup.py": SETUP.format(first=BY_NAME)}
    outcome, farm = built(files, "manylinux_2_17_x86_64")

    assert (outcome.state, outcome.cause, outcome.failure_class) == ("failed", "checks", "shape"), farm.log
    assert "needs a newer C library" in outcome.first_error
    assert farm.artifacts == {}
