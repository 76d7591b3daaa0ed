"""An image like PyPA's, in a registry and pinned by digest: what it lacks is put in, and builds run in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from chaos_compiled import compiled
from chaos_harness import Build, Farm

import docker
from buildfarm.sandbox.carrying import load, save
from buildfarm.sandbox.images import list_images
from tests.engines import empty_engine
from tests.ports import free_port
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(900)]

PULL = Path(__file__).parents[2] / "docker" / "pull-images.sh"
POLICY = "manylinux_2_36"
#: What an image of ours is without all that the farm wants of one, laid out as PyPA's are.
STRIP = """
userdel --remove builder 2>/dev/null || true
rm -rf /opt/_internal /work /src /in /farm /run/farm /usr/local/bin/*
mkdir -p /opt/_internal/pipx /opt/rh/gcc-toolset-14/root/usr/bin
printf '#!/bin/sh\\necho old\\n' >/usr/local/bin/auditwheel
printf '#!/bin/sh\\nexit 3\\n' >/usr/local/bin/manylinux-entrypoint
chmod +x /usr/local/bin/*
for name in gcc g++; do
    rm -f "/usr/bin/$name" "/usr/bin/$name-12"
    ln -s "/usr/bin/x86_64-linux-gnu-$name-12" "/opt/rh/gcc-toolset-14/root/usr/bin/$name"
done
cp /bin/true /usr/bin/was-setuid
chmod 4755 /usr/bin/was-setuid
"""
TOOLSET = "/opt/rh/gcc-toolset-14/root/usr/bin"
SETTINGS = [
    f"ENV PATH={TOOLSET}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    'ENTRYPOINT ["/usr/local/bin/manylinux-entrypoint"]',
    'CMD ["/bin/bash"]',
]


@pytest.fixture
def host() -> Iterator[str]:
    """An engine of this test's own: others must not find its images."""
    with empty_engine() as host:
        yield host


@pytest.fixture
def registry(tmp_path: Path) -> Iterator[str]:
    """A registry on a loopback port."""
    program = shutil.which("docker-registry")
    if program is None:
        pytest.skip("no registry is installed (package docker-registry)")
    address = f"127.0.0.1:{free_port()}"
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(tmp_path / "registry")}},
        "http": {"addr": address},
    }
    (tmp_path / "registry.yml").write_text(json.dumps(settings))  # JSON is YAML
    with (tmp_path / "registry.log").open("wb") as log:
        process = subprocess.Popen([program, "serve", tmp_path / "registry.yml"], stdout=log, stderr=log)

    def answers() -> bool:
        try:
            return requests.get(f"http://{address}/v2/", timeout=2).ok
        except requests.ConnectionError:
            return False

    try:
        wait_for(answers, "the registry")
        yield address
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def reference(host: str, registry: str, tmp_path: Path) -> str:
    """An image like PyPA's by its digest: it is in the registry, and in no engine."""
    first, archive = os.environ["DOCKER_HOST"], tmp_path / "archive"
    wanted = (f"{POLICY}_x86_64", "builder", ["cp311"])
    ours = next(
        one.image_id for one in list_images(first) if (one.platform, one.role, one.interpreters) == wanted
    )
    with archive.open("wb") as out:
        save(first, ours, out.write)
    load(host, archive, ours, "test")
    name, tag = f"{registry}/pypa/{POLICY}_x86_64", "2026.10.21-1"
    client = docker.APIClient(base_url=host, timeout=300)
    container = client.create_container(ours, ["sh", "-euc", STRIP], user="0", entrypoint="")["Id"]
    client.start(container)
    assert client.wait(container)["StatusCode"] == 0, client.logs(container)
    # Through a file of a root file system: labels stay behind.
    client.import_image_from_stream(client.export(container), repository=name, tag=tag, changes=SETTINGS)
    client.remove_container(container)
    client.push(name, tag)
    (pushed,) = client.inspect_image(f"{name}:{tag}")["RepoDigests"]
    for image in client.images():
        client.remove_image(image["Id"], force=True)
    client.close()
    return str(pushed)


def pull(host: str, reference: str, folder: Path, policy: str = POLICY) -> subprocess.CompletedProcess[str]:
    name, digest = reference.split("@")
    pins = folder / "images.toml"
    pins.write_text(
        f'[[image]]\npolicy = "{policy}"\narch = "x86_64"\nname = "{name}"\ndigest = "{digest}"\n'
    )
    environment = os.environ | {"DOCKER_HOST": host}
    return subprocess.run([PULL, pins], env=environment, capture_output=True, text=True)


def test_an_image_that_is_pinned_by_digest_is_pulled_and_built_in(
    make_farm: Callable[..., Farm], host: str, reference: str, tmp_path: Path
) -> None:
    wrong = pull(host, reference, tmp_path, "manylinux_2_28")
    assert wrong.returncode == 1
    assert "the image builds for manylinux_2_36" in wrong.stderr
    moved = pull(host, f"{reference.partition('@')[0]}@sha256:{'0' * 64}", tmp_path)
    assert (moved.returncode, moved.stdout) == (1, "")

    done = pull(host, reference, tmp_path)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert [(row["role"], row["platform"], row["interpreters"]) for row in rows] == [
        ("builder", "manylinux_2_36_x86_64", ["cp311"]),
        ("test", "manylinux_2_36_x86_64", ["cp311"]),
    ]
    again = pull(host, reference, tmp_path)
    assert json.loads(again.stdout) == rows
    assert again.stderr.count("up to date") == 2

    by_role = {row["role"]: row["image_id"] for row in rows}
    compilers, tools = ["gcc", "g++", "as", "ld"], ["make", "git"]
    assert said(host, by_role["builder"]) == ["1000", "0", *compilers, *tools, "auditwheel", "patchelf"]
    assert said(host, by_role["test"]) == ["1000", "0", *tools]

    farm = make_farm(DOCKER_HOST=host)
    farm.start()
    source = farm.connect("fastone")
    source.repository.commit(compiled("1.0"), tag="1.0")
    started = farm.api("POST", "builds", json={"source": "fastone", "ref": "refs/tags/1.0"})
    build = Build(source, "1.0", started["id"])
    shown = build.reaches("published", 240)
    (wheel,) = (one["filename"] for one in shown["files"] if one["filename"].endswith(".whl"))
    assert "-cp311-cp311-manylinux" in wheel
    assert (build.job["build_image"], build.job["test_image"]) == (by_role["builder"], by_role["test"])


def said(host: str, image_id: str) -> list[str]:
    """The user, how many files are setuid, and which programs there are."""
    script = """
        id -u
        find / -xdev -type f -perm /6000 2>/dev/null | wc -l
        for tool in gcc g++ cc as ld make git auditwheel patchelf; do
            $tool --version >/dev/null 2>&1 && echo $tool
        done
        true
    """
    client = docker.DockerClient(base_url=host)
    try:
        out = client.containers.run(image_id, ["sh", "-euc", script], network_mode="none", remove=True)
    finally:
        client.close()
    return out.decode().split()
