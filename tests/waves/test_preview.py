"""What concerns whom: images, interpreters, libraries, over the tables as publishing leaves them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.errors import FarmError
from buildfarm.farm import registry
from buildfarm.farm.model import Build, Job
from buildfarm.farm.rules import State
from buildfarm.index import channels
from buildfarm.index.model import File, Release
from buildfarm.journal.record import record
from buildfarm.recipes.model import Recipe, Targets
from buildfarm.sources.model import Source
from buildfarm.waves.offers import offers
from buildfarm.waves.preview import Preview, preview
from buildfarm.waves.triggers import Kind, Trigger
from tests.conftest import IMAGE

OLD, NEWER = IMAGE, "sha256:" + "2" * 64
PLATFORM = "manylinux_2_28_x86_64"


def there(
    house,
    project: str,
    tag: str,
    *,
    version: str = "1.0",
    ref: str = "refs/tags/v1.0",
    requires: str = "",
    took: int = 60,
    requires_python: str | None = None,
    **targets: object,
) -> None:
    """A release of one wheel, built in `took` seconds in the old image, by a recipe with these `targets`."""
    with house.database.read() as session:
        known = session.scalars(select(Source.id).where(Source.name == project)).first()
    target = f"cp313-{PLATFORM}"
    build_id, made = house.build(known or house.source(project, projects=(project,)), target, ref=ref)
    filename = f"{project}-{version}-{tag}.whl"
    lines = f"Metadata-Version: 2.1\nName: {project}\nVersion: {version}\n"
    lines += f"Requires-Dist: {requires}\n" if requires else ""
    with house.database.begin() as session:
        build = session.get_one(Build, build_id)
        build.state = State.PUBLISHED
        build.recipe = Recipe(name="default", targets=Targets(**targets)).model_dump(mode="json")
        job = session.get_one(Job, made[target])
        job.state, job.started_at = State.SUCCEEDED, clock.now() - timedelta(seconds=took)
        job.finished_at = job.started_at + timedelta(seconds=took)
        release = Release(
            id=f"rel_{project}_{version}", project=project, version=version, created_at=clock.now()
        )
        session.add(release)
        session.flush()
        sha256, metadata = "0" * 64, house.farm.blobs.put_bytes(lines.encode())
        session.add(
            File(
                filename=filename, release_id=release.id, sha256=sha256, size=1, uploaded_at=clock.now(),
                metadata_sha256=metadata, build_id=build_id, requires_python=requires_python,
            )
        )  # fmt: skip
        session.flush()
        enter = channels.entering(session, "dev", [filename])
        record(session, "publish", project=project, version=version, channel="dev", on_serial=enter)


def images(house, image_id: str, *interpreters: str) -> None:
    facts: dict[str, Any] = {
        "platform": PLATFORM,
        "suite": "trixie",
        "interpreters": ["cp313", *interpreters],
    }
    with house.database.begin() as session:
        registry.register_images(
            session,
            [
                {"image_id": image_id, "role": "builder", **facts},
                {"image_id": image_id[:-1] + "e", "role": "test", **facts},
            ],
            actor="test",
        )


def seen(house, kind: Kind, subject: str) -> Preview:
    with house.database.read() as session:
        return preview(session, house.farm.blobs, house.farm.settings, Trigger(kind, subject), channel="dev")


def offered(house) -> list[tuple[int, str]]:
    with house.database.read() as session:
        found = offers(session, house.farm.blobs, channel="dev")
        return [(one.projects, one.why) for one in found]


def members(found: Preview) -> list[tuple[int, str, str]]:
    return [(one.level, one.project, one.why) for one in found.members]


def left_out(found: Preview) -> dict[str, str]:
    return {one.project: one.why for one in found.left_out}


def test_an_image_concerns_wheels_of_its_platform_that_an_older_one_made(house) -> None:
    there(house, "fast", f"cp313-cp313-{PLATFORM}")
    there(house, "pure", "py3-none-any")
    images(house, OLD)
    images(house, NEWER)
    found = seen(house, Kind.IMAGE, "trixie")
    assert members(found) == [(1, "fast", "was built in an older image of trixie")]
    assert left_out(found) == {"pure": "has no wheels for a platform"}
    images(house, OLD)
    assert left_out(seen(house, Kind.IMAGE, "trixie"))["fast"] == "was built in an image in use"


def test_a_dev_build_hides_no_release(house) -> None:
    there(house, "fast", f"cp313-cp313-{PLATFORM}")
    there(house, "fast", f"cp313-cp313-{PLATFORM}", version="1.0+g0123", ref="refs/heads/main")
    images(house, OLD)
    images(house, NEWER)
    (member,) = seen(house, Kind.IMAGE, "trixie").members
    assert member.version == "1.0"


def test_an_interpreter_concerns_platform_wheels_that_lack_it(house) -> None:
    there(house, "fast", f"cp313-cp313-{PLATFORM}")
    there(house, "user", f"cp313-cp313-{PLATFORM}", requires="fast", took=30)
    there(house, "stable", f"cp39-abi3-{PLATFORM}")
    there(house, "pure", "py3-none-any", requires="fast")
    images(house, OLD, "cp314")
    found = seen(house, Kind.PYTHON, "cp314")
    assert members(found) == [(1, "fast", "has no wheels for cp314"), (2, "user", "has no wheels for cp314")]
    assert (found.seconds, found.expected_seconds, found.slots) == (90, 90, 0)
    assert left_out(found)["stable"] == "its abi3 wheels serve cp314"
    assert left_out(seen(house, Kind.PYTHON, "cp313"))["fast"] == "has wheels for cp313"


def test_an_interpreter_concerns_no_recipe_that_would_make_nothing_for_it(house) -> None:
    tag = f"cp313-cp313-{PLATFORM}"
    there(house, "every", tag, optional=["*cp314*"])
    there(house, "named", tag, interpreters=["cp313", "cp314"])
    there(house, "older", tag, interpreters=["cp312", "cp313"])
    there(house, "skips", tag, skip=["cp314*"])
    there(house, "bound", tag, requires_python="<3.14")
    there(house, "apart", tag, interpreters=["cp314", "cp399"])
    images(house, OLD, "cp314")
    found = seen(house, Kind.PYTHON, "cp314")
    assert [one.project for one in found.members] == ["every", "named"]
    why = left_out(found)
    assert why.pop("apart").startswith(
        "The recipe asks for a target that the farm cannot build: no image for"
    )
    assert why == {
        "older": "its recipe names cp312, cp313 alone",
        "skips": "its recipe leaves cp314 out",
        "bound": "its Requires-Python, <3.14, leaves cp314 out",
    }


def test_an_image_and_an_interpreter_are_offered_to_what_was_built_without_them(house) -> None:
    there(house, "fast", f"cp313-cp313-{PLATFORM}")
    there(house, "older", f"cp313-cp313-{PLATFORM}", interpreters=["cp313"])
    there(house, "pure", "py3-none-any")
    images(house, OLD)
    assert offered(house) == []
    images(house, NEWER, "cp314")
    assert offered(house) == [
        (2, "built in an older image of trixie"),
        (1, "without wheels for cp314"),
    ]


def test_projects_that_need_each_other_are_said_and_share_a_level(house) -> None:
    for project, requires in (("one", "two"), ("two", "three; python_version >= '3'"), ("three", "one")):
        there(house, project, "py3-none-any", requires=requires)
    there(house, "last", "py3-none-any", requires="one")
    there(house, "core", "py3-none-any")
    there(house, "other", "py3-none-any", requires="core; extra == 'x'")
    with house.database.begin() as session:
        release = session.get_one(Release, "rel_one_1.0")
        release.files[0].metadata_sha256 = house.farm.blobs.put_bytes(
            b"Metadata-Version: 2.1\nName: one\nVersion: 1.0\nRequires-Dist: two\nRequires-Dist: core>=1\n"
        )
    found = seen(house, Kind.PROJECT, "core")
    assert found.cycles == (("one", "three", "two"),)
    assert [(one.level, one.project) for one in found.members] == [
        (1, "one"), (1, "three"), (1, "two"), (2, "last")
    ]  # fmt: skip
    assert [one.project for one in found.members if one.is_first] == ["one"]


def test_development_versions_are_left_to_the_next_push(house) -> None:
    there(house, "core", "py3-none-any")
    there(house, "user", "py3-none-any", version="1.0.dev3", requires="core")
    found = seen(house, Kind.PROJECT, "core")
    assert (members(found), list(left_out(found))) == ([], ["user"])


@pytest.mark.parametrize(
    ("kind", "subject", "code"),
    [
        (Kind.IMAGE, "sarge", "image.unknown"),
        (Kind.PYTHON, "pypy", "wave.python"),
        (Kind.PYTHON, "cp399", "image.unknown"),
        (Kind.PROJECT, "a b", "wave.project"),
        (Kind.PROJECT, "a==one", "wave.project"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_a_sentence(house, kind: Kind, subject: str, code: str) -> None:
    with pytest.raises(FarmError) as caught:
        seen(house, kind, subject)
    assert caught.value.code == code
