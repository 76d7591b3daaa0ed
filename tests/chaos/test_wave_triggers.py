"""Rebuild waves on a whole farm for what is newer beneath the projects: an image, an interpreter.

The newer image is the old one with one more file, and with labels that keep other farms from taking it.
"""

import io
import os
import tarfile
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from chaos_harness import index_files

import docker
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(400)]
COMPILER = "/etc/compiler-of-the-test"
PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "{name}"
version = "1.0"

[tool.buildfarm]
test = false
build = {{ sdist = false }}
targets = {{ native = true, interpreters = {interpreters} }}
limits = {{ memory = "256 MiB", scratch = "64 MiB", time = "5m" }}
"""
#: Compiles one module; it holds what a file of the image says, where `{path}` is there.
BACKEND = """
import pathlib, subprocess, sys, sysconfig, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    said = pathlib.Path("{path}")
    code = '#include <Python.h>\\nstatic const char *said = "%s";\\n' % (
        said.read_text().strip() if said.is_file() else "nothing")
    code += 'static PyObject *say(PyObject *s, PyObject *a) {{ return PyUnicode_FromString(said); }}\\n'
    code += 'static PyMethodDef all[] = {{{{"say", say, METH_NOARGS, 0}}, {{0, 0, 0, 0}}}};\\n'
    code += 'static struct PyModuleDef module = {{PyModuleDef_HEAD_INIT, "{name}", 0, -1, all}};\\n'
    code += 'PyMODINIT_FUNC PyInit_{name}(void) {{ return PyModule_Create(&module); }}\\n'
    pathlib.Path("module.c").write_text(code)
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    include = sysconfig.get_path("include")
    command = ["gcc", "-shared", "-fPIC", "-I", include, "module.c", "-o", "module.so"]
    subprocess.run(command, check=True)
    tag = "cp%d%d" % sys.version_info[:2]
    tag = tag + "-" + tag + "-linux_x86_64"
    info = "{name}-1.0.dist-info"
    files = {{
        "{name}" + suffix: pathlib.Path("module.so").read_bytes(),
        info + "/METADATA": b"Metadata-Version: 2.1\\nName: {name}\\nVersion: 1.0\\n",
        info + "/WHEEL": b"Wheel-Version: 1.0\\nGenerator: test\\nRoot-Is-Purelib: false\\nTag: "
        + tag.encode() + b"\\n",
    }}
    files[info + "/RECORD"] = "".join(path + ",,\\n" for path in [*files, info + "/RECORD"]).encode()
    filename = "{name}-1.0-" + tag + ".whl"
    with zipfile.ZipFile(folder + "/" + filename, "w") as wheel:
        for path, content in files.items():
            wheel.writestr(zipfile.ZipInfo(path), content)
    return filename
"""


def release(farm, name: str, *, path: str = "/nowhere", interpreters: str = '"all"') -> None:
    """Tag, build and publish version 1.0 of a project with a compiled module."""
    source = farm.connect(name)
    files = {
        "pyproject.toml": PROJECT.format(name=name, interpreters=interpreters),
        "backend.py": BACKEND.format(name=name, path=path),
    }
    source.repository.commit(files, tag="v1.0")
    build_id = farm.api("POST", "builds", json={"source": name, "ref": "refs/tags/v1.0"})["id"]
    ended = wait_for(lambda: (b := farm.get(f"builds/{build_id}"))["finished_at"] and b, "a release", 120)
    assert ended["state"] == "published", ended


def use(farm, images: list[dict[str, Any]]) -> None:
    fields = ("image_id", "platform", "role", "suite", "interpreters")
    farm.api("PUT", "images", json={"images": [{name: one[name] for name in fields} for one in images]})


def offers(farm) -> list[tuple[str, str, int]]:
    return [(o["trigger"], o["subject"], o["projects"]) for o in farm.get("waves/offers")["items"]]


def through(farm, trigger: str, subject: str) -> tuple[str, dict[str, str]]:
    """Open a wave; its id, and the states of its members when all are through."""
    wave = farm.api("POST", "waves", json={"trigger": trigger, "subject": subject})["id"]
    shown: dict[str, Any] = wait_for(
        lambda: (w := farm.get(f"waves/{wave}"))["state"] == "ready" and w, f"the end of {wave}", 180
    )
    return wave, {one["project"]: one["state"] for one in shown["members"]}


@pytest.fixture
def successor(engine: str) -> Iterator[Any]:
    """Makes an image of this engine's builder of a suite, with what a module is compiled with said in it."""
    client = docker.APIClient(base_url=os.environ["DOCKER_HOST"])
    name, made = f"buildfarm-test/{uuid.uuid4().hex}", []

    def make(image_id: str) -> str:
        text, archive = b"a newer compiler\n", io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            member = tarfile.TarInfo(COMPILER.lstrip("/"))
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        container = client.create_container(image_id, ["true"])["Id"]
        try:
            client.put_archive(container, "/", archive.getvalue())
            labels = [f"LABEL org.buildfarm.derived={name} org.buildfarm.base={image_id}"]
            client.commit(container, name, "newer", changes=labels)
        finally:
            client.remove_container(container)
        made.append(f"{name}:newer")
        return str(client.inspect_image(made[0])["Id"])

    yield make
    for one in made:
        client.remove_image(one, force=True)
    client.close()


def test_a_new_image_opens_a_wave_that_stops_where_nothing_changed(make_farm, successor) -> None:
    farm = make_farm(builders=2)
    farm.start()
    images = [one for one in farm.get("images")["items"] if one["suite"] == "trixie"]
    use(farm, images)
    release(farm, "wavesame")
    release(farm, "waveother", path=COMPILER)
    assert offers(farm) == []

    (builder,) = (one for one in images if one["role"] == "builder")
    newer = {**builder, "image_id": successor(builder["image_id"])}
    use(farm, [newer, *(one for one in images if one["role"] == "test")])
    assert offers(farm) == [("image", "trixie", 2)]

    wave, states = through(farm, "image", "trixie")
    assert states == {"wavesame": "equal", "waveother": "rebuilt"}
    old = index_files(farm, "waveother")
    farm.api("POST", f"waves/{wave}/promote", json={})
    (new,) = index_files(farm, "waveother") - old
    assert new.startswith("waveother-1.0-1-cp313-cp313-manylinux")
    assert len(index_files(farm, "wavesame")) == 1
    built_in = (
        "SELECT DISTINCT json_extract(job.spec, '$.build_image') FROM job JOIN build ON build.id = build_id"
        " WHERE wave_id = ?"
    )
    assert farm.sql(built_in, wave) == [(newer["image_id"],)]
    assert offers(farm) == []


def test_a_new_interpreter_opens_a_wave_for_the_recipes_that_want_it(make_farm) -> None:
    farm = make_farm(builders=2)
    farm.start()
    images = farm.get("images")["items"]
    if {one["suite"] for one in images} < {"bookworm", "trixie"}:
        pytest.skip("needs images of two suites")
    images = [one for one in images if one["interpreters"] in (["cp311"], ["cp313"])]
    use(farm, [one for one in images if one["interpreters"] == ["cp311"]])
    release(farm, "waveevery")
    release(farm, "wavenamed", interpreters='["cp311"]')
    assert offers(farm) == []

    use(farm, images)
    assert offers(farm) == [("python", "cp313", 1)]
    trigger = {"trigger": "python", "subject": "cp313"}
    planned = farm.api("POST", "waves/preview", json=trigger)
    assert [one["project"] for one in planned["members"]] == ["waveevery"]
    assert [(one["project"], one["why"]) for one in planned["left_out"]] == [
        ("wavenamed", "its recipe names cp311 alone")
    ]
    wave, states = through(farm, **trigger)
    assert states == {"waveevery": "rebuilt"}
    old = index_files(farm, "waveevery")
    farm.api("POST", f"waves/{wave}/promote", json={})
    assert {name.split("-")[3] for name in index_files(farm, "waveevery") - old} == {"cp311", "cp313"}
    assert offers(farm) == []
