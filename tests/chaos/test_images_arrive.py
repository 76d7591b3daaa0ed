"""A host whose engine has no image joins: it fetches the farm's, builds in them, and lets go of old ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from chaos_compiled import compiled
from chaos_harness import BUILDFARM, Build, Farm

import docker
from buildfarm.errors import ExternalFailure
from buildfarm.sandbox.images import missing_images
from tests.engines import empty_engine
from tests.ports import free_port
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive]


@pytest.fixture
def empty_host() -> Iterator[str]:
    """The engine of a host that holds nothing."""
    with empty_engine() as host:
        yield host


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Start a builder by the command that adding it showed; the folder of its logs."""
    running: list[subprocess.Popen[bytes]] = []

    def start(command: str, docker_host: str) -> Path:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
        environment["DOCKER_HOST"] = docker_host
        data = tmp_path / "second"
        words = [str(BUILDFARM), *command.split()[1:], "--slots", "2", "--data", str(data)]
        with (tmp_path / "second.log").open("wb") as out:
            running.append(subprocess.Popen(words, env=environment, stdout=out, stderr=out))
        return data / "logs"

    yield start
    for process in running:
        process.terminate()
        process.wait(60)


@pytest.mark.timeout(900)  # some 600 MB are packed, sent and unpacked
def test_a_host_without_images_joins_by_one_command_and_builds(
    make_farm: Callable[..., Farm], empty_host: str, join: Callable[..., Path]
) -> None:
    farm = make_farm(options=("--queue-port", str(free_port())))
    farm.start()
    source = farm.connect()
    farm.api("PUT", "builders/local/drain", json={})
    waits = source.build()
    made = farm.api("POST", "builders", json={"name": "second", "tiers": ["dev"]})
    logs = join(made["command"], empty_host)

    def second() -> dict:
        return next(one for one in farm.get("builders")["items"] if one["name"] == "second")

    def fetches() -> bool:
        # Between two of its reports a small one may have come already; loading takes longer.
        doing = ("fetching image", "loading image")
        return any(word in one["value"] for one in second()["failed"] for word in doing)

    wait_for(fetches, "what it does to be told", 300)
    wait_for(lambda: second()["state"] == "takes work", "the second host to have the images", 300)
    waits.published_once(attempt=1)
    assert _builders(farm, waits) == ["second"]
    known = farm.get("images")["items"]
    images = [one for one in known if not one["platform"].endswith("aarch64")]  # what that host can run
    ids = {one["image_id"] for one in images}
    assert {one["archive"] for one in images} == {"kept"}
    assert missing_images(empty_host, sorted(ids)) == []
    # Two builders run there: each image came once.
    said = "".join(path.read_text() for path in logs.glob("*.log"))
    assert said.count('"image.fetched"') == len(ids)
    assert list((logs.parent / "builder" / "images").glob("[0-9a-f]*")) == []

    old = {one["image_id"] for one in images if one["suite"] == "trixie"}
    fields = ("image_id", "platform", "role", "suite", "interpreters")
    stays = [{name: one[name] for name in fields} for one in known if one["image_id"] not in old]
    farm.api("PUT", "images", json={"images": stays})

    def are_gone() -> bool:
        with contextlib.suppress(ExternalFailure):  # removing keeps the engine busy
            return set(missing_images(empty_host, sorted(ids))) == old
        return False

    wait_for(are_gone, "the old images to go", 240)
    assert missing_images(os.environ["DOCKER_HOST"], sorted(ids)) == []

    # An administrator sends what the farm let go of, from where the images were made.
    environment = os.environ | {"BUILDFARM_URL": farm.url, "BUILDFARM_TOKEN": farm.token}
    added = subprocess.run(
        [str(BUILDFARM), "image", "add", "--json"], env=environment, capture_output=True, text=True
    )
    assert added.returncode == 0, added.stderr
    assert added.stderr.count("Sending image") == len(old)
    source.build().published_once(attempt=1, seconds=300)  # in one of them: it waits for the image
    assert missing_images(empty_host, sorted(ids)) == []

    # What somebody removes there, while the host believes to have it, costs a build time and no attempt.
    gone = sorted(one["image_id"] for one in images if one["suite"] == "bookworm")
    _remove(empty_host, gone)
    other = farm.connect("fastone")
    other.repository.commit(compiled("1.0"), tag="1.0")
    started = farm.api("POST", "builds", json={"source": "fastone", "ref": "refs/tags/1.0"})
    build = Build(other, "1.0", started["id"])
    assert build.reaches("published", 300)["jobs"][0]["attempt"] == 1
    assert missing_images(empty_host, gone) == []


def _remove(host: str, image_ids: list[str]) -> None:
    client = docker.APIClient(base_url=host)
    for image_id in image_ids:
        client.remove_image(image_id, force=True)
    client.close()


def _builders(farm: Farm, build) -> list[str]:
    (job,) = build.show()["jobs"]
    return [attempt["builder"] for attempt in farm.get(f"jobs/{job['id']}")["attempts"]]
