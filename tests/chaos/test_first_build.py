"""A signed push of C code becomes wheels that install where no compiler is (users.md, stories 1 and 2)."""

import platform
from concurrent.futures import ThreadPoolExecutor

import pytest
from chaos_compiled import compiled
from chaos_forge import running_forge
from chaos_harness import Farm, index_files

import docker
from buildfarm.sandbox.images import newest_images
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.timeout(300)]

INTERPRETERS = ["cp311", "cp313"]
ROWS = """
SELECT build.id, job.target FROM source
JOIN build ON build.source_id = source.id LEFT JOIN job ON job.build_id = build.id
WHERE source.name = ? ORDER BY job.target
"""
#: What somebody does who has nothing but the URL of our index.
INSTALL = """
for tool in gcc cc g++ clang tcc as ld; do
    if command -v $tool; then echo "there is a compiler"; exit 1; fi
done
{python} -m venv /tmp/venv
/tmp/venv/bin/pip install --quiet --no-cache-dir --disable-pip-version-check --index-url {index} fastone
/tmp/venv/bin/python -c "import fastone; print(fastone.one())"
"""


def installed(farm: Farm, engine: str, interpreter: str) -> str:
    """What the extension answered where pip installed it, in a container that can compile nothing."""
    wanted = ("test", [interpreter], platform.machine())
    (image,) = (one for one in newest_images(engine) if (one.role, one.interpreters, one.machine) == wanted)
    python = f"/opt/python/{interpreter}-{interpreter}/bin/python"
    index = f"{farm.url}/dev/simple/".replace("://", f"://__token__:{farm.token}@")
    client = docker.DockerClient(base_url=engine)
    try:
        said = client.containers.run(
            image.image_id, ["sh", "-euc", INSTALL.format(python=python, index=index)],
            network_mode="host", remove=True,
        )  # fmt: skip
    finally:
        client.close()
    return said.decode()


def test_a_signed_push_is_installed_for_each_target_and_sent_again_builds_nothing_more(
    farm: Farm, engine: str, healed, tmp_path
) -> None:
    files = compiled("1.0", interpreters=INTERPRETERS)
    with running_forge(tmp_path, "fastone") as forge:
        source = forge.connect(farm)
        commit = forge.repository.commit(files, tag="1.0")
        first = source.tell("1.0", commit)
        healed("push: answered", first.elapsed.total_seconds())
        build = source.started("1.0", first)
        with ThreadPoolExecutor(20) as pool:
            again = list(pool.map(lambda _: source.tell("1.0", commit), range(20)))
        assert {(one.status_code, one.json()["state"]) for one in again} == {(200, "duplicate")}
        shown = build.reaches("published")

    rows = farm.sql(ROWS, "fastone")
    assert {build_id for build_id, _ in rows} == {build.id}
    assert [target.partition("-")[0] for _, target in rows] == INTERPRETERS
    wheels = sorted(one["filename"] for one in shown["files"] if one["filename"].endswith(".whl"))
    assert [name.split("-")[2] for name in wheels] == INTERPRETERS
    wait_for(lambda: set(wheels) <= index_files(farm, "fastone"), "the wheels on the page")
    for interpreter in INTERPRETERS:
        assert installed(farm, engine, interpreter).split() == ["1"]
