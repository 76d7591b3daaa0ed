"""The contract of the images, and what is said about an engine."""

import os
import re
import subprocess
from pathlib import Path

import pytest

import docker
from buildfarm.sandbox.images import check_engine, list_images, missing_images

ROOT = Path(__file__).resolve().parents[2]
SCRIPTS = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docker").rglob("*.sh"))

#: Names bytecode that Python would not take, for it was made of a source with another time (PEP 552).
STALE = """
import glob, importlib.util, os
for place in "/usr/lib/python3*", "/opt/_internal":
    for path in glob.glob(place + "/**/__pycache__/*.pyc", recursive=True):
        with open(path, "rb") as file:
            _magic, flags, time = (int.from_bytes(file.read(4), "little") for _ in range(3))
        source = importlib.util.source_from_cache(path)
        if not flags and int(os.stat(source).st_mtime) != time:
            print(path)
"""


def run(engine, image, script):
    client = docker.DockerClient(base_url=engine)
    try:
        output = client.containers.run(
            image, ["sh", "-euc", script], network_mode="none", remove=True, read_only=True
        )
    finally:
        client.close()
    return output.decode()


@pytest.mark.engine
def test_each_suite_has_a_builder_and_a_test_image(engine):
    roles = {}
    for record in list_images(engine):
        roles.setdefault(record.suite, set()).add(record.role)
        assert re.fullmatch(r"manylinux_2_\d+_(x86_64|i686|aarch64)", record.platform)
        assert re.fullmatch(r"[0-9a-f]{64}", record.packages)

    assert roles["bookworm"] == {"builder", "test"}
    assert all(found == {"builder", "test"} for found in roles.values())


@pytest.mark.engine
def test_every_image_keeps_the_contract(engine):
    for record in list_images(engine):
        (interpreter,) = record.interpreters
        script = f"""
            id -u
            python=/opt/python/{interpreter.removesuffix("t")}-{interpreter}/bin/python
            $python -c 'import sys; print("cp%d%d" % sys.version_info[:2] + sys.abiflags)'
            getconf GNU_LIBC_VERSION
            uv --version >/dev/null
            find / -xdev -type f -perm /6000 2>/dev/null | wc -l
            ls -A /etc/apt/sources.list.d | wc -l
            for tool in gcc g++ make git auditwheel patchelf pyproject-build; do
                command -v $tool >/dev/null && echo $tool
            done
            true
        """
        lines = run(engine, record.image_id, script).split("\n")
        assert lines[:5] == ["1000", interpreter, record.libc, "0", "0"]
        tools = lines[5:-1]
        if record.role == "test":
            assert tools == ["make"]
        else:
            assert tools == ["gcc", "g++", "make", "git", "auditwheel", "patchelf", "pyproject-build"]


@pytest.mark.engine
def test_our_tools_are_on_no_build_s_path(engine, images):
    script = "/usr/bin/python3 -c 'import auditwheel' 2>&1 || true"

    assert "No module named" in run(engine, images["builder"], script)


@pytest.mark.engine
def test_no_program_of_an_image_is_compiled_anew_by_each_container(engine):
    for record in list_images(engine):
        assert run(engine, record.image_id, f"/usr/bin/python3 -I -c '{STALE}'") == "", record


@pytest.mark.engine
def test_a_fit_engine_is_usable(engine):
    report = check_engine(engine)

    assert report.usable, report
    assert {finding.name for finding in report.findings} >= {"engine", "memory limit", "storage", "clock"}


@pytest.mark.engine
def test_images_that_the_engine_does_not_hold_are_named(engine, images):
    unknown = f"sha256:{'0' * 64}"

    assert missing_images(engine, [*images.values(), unknown]) == [unknown]


def test_an_engine_that_is_away_is_reported_with_a_hint(tmp_path):
    report = check_engine(f"unix://{tmp_path}/nobody.sock")

    assert not report.usable
    assert "engine.sh" in report.findings[0].hint


@pytest.mark.parametrize("script", SCRIPTS)
def test_the_shell_scripts_parse(script):
    path = ROOT / script
    subprocess.run(["bash", "-n", path], check=True)
    is_program = path.read_text().startswith("#!")
    assert bool(path.stat().st_mode & 0o100) == is_program


def test_an_interpreter_without_a_known_source_is_refused_before_anything_is_made():
    script = ROOT / "docker" / "build-images.sh"
    done = subprocess.run([script, "--with", "cp314,cp399"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "no source of cp399 is known; see docker/cpython/sources.conf" in done.stderr


@pytest.mark.engine
def test_an_interpreter_that_no_archive_gives_is_named_with_each_reason(engine, images, tmp_path):
    nowhere = f"file://{tmp_path}/nowhere"
    mirrors = {"BUILDFARM_DEBIAN_MIRROR": nowhere, "BUILDFARM_UBUNTU_MIRROR": nowhere}
    own = {"DOCKER_HOST": engine, "BUILDFARM_IMAGE_CACHE": str(tmp_path / "cache")}
    done = subprocess.run(
        [ROOT / "docker" / "cpython" / "build.sh", "cp314", images["builder"]],
        env={**os.environ, **mirrors, **own},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (3, "")
    line = done.stderr.strip().splitlines()[-1]
    assert "cp314 cannot be had: forky: " in line
    assert "; resolute: " in line


@pytest.fixture
def cpython(engine, images, tmp_path):
    """Runs docker/cpython/build.sh beside an apt that notes which archive is asked and has no package."""
    apt = tmp_path / "bin" / "apt-get"
    apt.parent.mkdir()
    apt.write_text(
        f"""#!/bin/bash
        for word in "$@"; do
            [[ $word == Dir::Etc::sourcelist=* ]] && list=${{word#*=}}
            [[ $word == update ]] && cat "$list" >>{tmp_path}/asked
            [[ $word == source ]] && {{ echo "E: Unable to find a source package" >&2; exit 100; }}
        done
        exit 0
        """
    )
    apt.chmod(0o755)
    own = {"DOCKER_HOST": engine, "BUILDFARM_IMAGE_CACHE": str(tmp_path / "cache")}
    own["PATH"] = f"{apt.parent}:{os.environ['PATH']}"

    def run_script(**mirrors: str) -> str:
        script = ROOT / "docker" / "cpython" / "build.sh"
        environment = {**os.environ, **own, **mirrors}
        command = [script, "cp313", images["builder"]]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 3, done.stderr
        return done.stderr

    run_script.asked = tmp_path / "asked"
    return run_script


@pytest.mark.engine
def test_the_lists_of_one_archive_are_not_taken_for_those_of_another(cpython):
    for archive in ("one", "one", "two", "two"):
        assert "trixie: it has no python3.13" in cpython(
            BUILDFARM_DEBIAN_MIRROR=f"http://{archive}.invalid/debian"
        )
    assert re.findall(r"http://(\w+)", cpython.asked.read_text()) == ["one", "two"]


@pytest.mark.engine
def test_a_host_without_a_debian_archive_is_told_how_to_name_one(cpython):
    said = cpython(BUILDFARM_DEBIAN_MIRROR="")
    assert "cp313 cannot be had: trixie: E: this host's apt knows no Debian archive" in said
    assert not cpython.asked.exists()
