"""System packages of a recipe: an image that has them, made once, outside the build."""

import time
import zipfile
from io import BytesIO

import pytest

import docker
from buildfarm.sandbox.derived import derived_image
from buildfarm.sandbox.images import list_images
from tests.sandbox.conftest import C_PROJECT

pytestmark = pytest.mark.engine

#: A project that links to a library which no image of the farm has.
LZ4 = {
    **C_PROJECT,
    "pyproject.toml": C_PROJECT["pyproject.toml"] + 'libraries = ["lz4"]\n',
    "add.c": "#include <lz4.h>\n" + C_PROJECT["add.c"].replace("a + b", "a + b + 0 * LZ4_versionNumber()"),
}
TEST = {"command": ["python", "-c", "from fastadd import add; assert add(2, 3) == 5"]}


@pytest.fixture
def derived(engine, images):
    """The images with system packages that a test leaves are its own to remove, those of its bases alone."""
    client = docker.APIClient(base_url=engine)

    def known() -> set[str]:
        labels = [f"org.buildfarm.base={base}" for base in images.values()]
        return {one["Id"] for label in labels for one in client.images(filters={"label": label})}

    before = known()
    yield known
    for image in known() - before:
        client.remove_image(image)
    client.close()


def test_a_build_finds_its_system_packages_and_the_image_is_made_once(attempt, engine, images, derived):
    outcome, farm = attempt(LZ4, system_packages=["liblz4-dev"], expect_native=True, test=TEST)
    assert outcome.state == "succeeded", farm.log
    (wheel,) = farm.artifacts.values()
    assert any("fastadd.libs/liblz4" in name for name in zipfile.ZipFile(BytesIO(wheel)).namelist())
    assert [report.phase for report in outcome.phases][:2] == ["image", "source"]
    built_in = {report.phase: report.image_id for report in outcome.phases}
    assert built_in["build"] in derived()
    assert built_in["build"] != images["builder"]
    assert built_in["test"] == images["test"]
    assert built_in["build"] in farm.lines_of("image")

    known = derived()
    again, _farm = attempt(LZ4, system_packages=["liblz4-dev"], expect_native=True, test=TEST)
    assert {report.phase: report.image_id for report in again.phases} == built_in
    assert derived() == known
    assert built_in["build"] not in {image.image_id for image in list_images(engine)}


def test_a_package_that_the_distribution_lacks_is_the_recipes_fault(attempt, derived):
    outcome, farm = attempt(C_PROJECT, system_packages=["libnosuch-dev"])
    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "user_code", "image")
    assert outcome.failure_class == "system-package"
    assert "Unable to locate package libnosuch-dev" in outcome.first_error
    assert farm.artifacts == {}


def test_what_its_script_waits_for_keeps_no_cancelled_attempt(engine, images, tmp_path, monkeypatch):
    script = tmp_path / "waits.sh"
    script.write_text(
        "#!/bin/bash\ntrap 'touch \"$BUILDFARM_IMAGE_CACHE/left\"' EXIT\n"
        'touch "$BUILDFARM_IMAGE_CACHE/begun"\nsleep 240\n'
    )
    script.chmod(0o755)
    monkeypatch.setattr("buildfarm.sandbox.derived._SCRIPT", script)
    begun = time.monotonic()
    image = derived_image(
        images["builder"], ["liblz4-dev"], docker_host=engine, cache=tmp_path, say=print,
        should_stop=lambda: "cancelled" if (tmp_path / "begun").exists() else None,
    )  # fmt: skip
    assert image is None
    assert (tmp_path / "left").exists()
    assert time.monotonic() - begun < 60
