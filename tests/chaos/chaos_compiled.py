"""A project of C that needs no index: its own backend compiles it, for whatever machine it is told of."""

import json
from collections.abc import Sequence

RECIPE = """
[build-system]
requires = []
build-backend = "compiling"
backend-path = ["."]
[project]
name = "fastone"
version = "{version}"
[tool.chaos]
seconds = 0
[tool.buildfarm]
targets = {{ interpreters = {interpreters}, platforms = {platforms} }}
test = {{ command = ["python", "-c", "import fastone; assert fastone.one() == 1"] }}
"""
BACKEND = """
import os, shlex, subprocess, sys, sysconfig, zipfile
from backend import METADATA, VERSION, build_sdist

PYTHON = "cp%d%d" % sys.version_info[:2]
TAG = f"{PYTHON}-{PYTHON}-" + sysconfig.get_platform().replace("-", "_")

def build_wheel(folder, config_settings=None, metadata_directory=None):
    module = "fastone" + sysconfig.get_config_var("EXT_SUFFIX")
    flags = ["-shared", "-fPIC", "-O2", "-I" + sysconfig.get_path("include")]
    subprocess.run([*shlex.split(os.environ.get("CC", "gcc")), *flags, "fastone.c", "-o", module], check=True)
    info = f"fastone-{VERSION}.dist-info"
    with zipfile.ZipFile(os.path.join(folder, f"fastone-{VERSION}-{TAG}.whl"), "w") as wheel:
        wheel.write(module)
        wheel.writestr(f"{info}/METADATA", METADATA)
        wheel.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\\nRoot-Is-Purelib: false\\nTag: {TAG}\\n")
        names = [*wheel.namelist(), f"{info}/RECORD"]
        wheel.writestr(f"{info}/RECORD", "".join(f"{name},,\\n" for name in names))
    return f"fastone-{VERSION}-{TAG}.whl"
"""
MODULE = """
#include <Python.h>
static PyObject *one(PyObject *self, PyObject *args) { return PyLong_FromLong(1); }
static PyMethodDef methods[] = {{"one", one, METH_NOARGS, ""}, {NULL, NULL, 0, NULL}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "fastone", NULL, -1, methods};
PyMODINIT_FUNC PyInit_fastone(void) { return PyModule_Create(&module); }
"""


def compiled(
    version: str, platforms: str = '"all"', more: str = "", *, interpreters: Sequence[str] = ("cp311",)
) -> dict[str, str]:
    """The files of a release, beside the backend of every repository here; `more` goes on with its recipe."""
    recipe = RECIPE.format(version=version, platforms=platforms, interpreters=json.dumps(interpreters))
    return {"pyproject.toml": recipe + more, "compiling.py": BACKEND, "fastone.c": MODULE}
