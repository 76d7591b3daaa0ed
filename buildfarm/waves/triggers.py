"""What a wave is for, and whether that concerns a project itself.

An image or an interpreter concerns what has wheels for a platform; a library what was built with it or runs
with it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from packaging.utils import InvalidName, canonicalize_name, parse_wheel_filename
from packaging.version import InvalidVersion, Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import InvalidInput, NotFound
from buildfarm.farm import crew
from buildfarm.farm.model import Image
from buildfarm.farm.plan import image_rows
from buildfarm.recipes.model import Recipe
from buildfarm.recipes.plan import ImageRow, plan_targets, python_excludes
from buildfarm.waves.own import Own

#: Whether the trigger concerns a project itself, and the sentence that says why or why not.
Judge = Callable[[Own], tuple[bool, str]]
_PURE = "has no wheels for a platform"
_INTERPRETER = re.compile(r"cp3[0-9]{1,2}t?")


class Kind(StrEnum):
    """What is new: an image's suite, an interpreter, or a version of a library."""

    IMAGE = "image"
    PYTHON = "python"
    PROJECT = "project"


@dataclass(frozen=True)
class Trigger:
    """Why a wave is opened; `subject` is `trixie`, `cp314`, `acme-core` or `acme-core==2.0`."""

    kind: Kind
    subject: str


def judge_of(session: Session, projects: Mapping[str, Own], trigger: Trigger) -> Judge:
    """How to tell which of a channel's `projects` a trigger concerns itself.

    Raises:
        NotFound: `image.unknown`, no image in use is of that suite, or none has that interpreter.
        InvalidInput: `wave.python`, `wave.project`, the subject cannot be read.
    """
    if trigger.kind is Kind.PROJECT:
        return _by_library(projects, trigger.subject)
    if trigger.kind is Kind.PYTHON:
        return _by_python(session, trigger.subject)
    return _by_image(session, trigger.subject)


def obstacle(one: Own) -> str:
    """Why it cannot be built again, as far as anybody knows before trying."""
    if one.build_id is None:
        return "its files were not built here"
    return (
        "is a development version; the next push makes another" if Version(one.version).is_devrelease else ""
    )


def library_of(subject: str) -> tuple[str, str | None]:
    """The normal name and the version of `NAME` or `NAME==VERSION`.

    Raises:
        InvalidInput: `wave.project`.
    """
    name, separator, version = subject.partition("==")
    try:
        return canonicalize_name(name.strip(), validate=True), str(Version(version)) if separator else None
    except (InvalidName, InvalidVersion) as err:
        raise InvalidInput(
            f"{subject[:100]!r} is neither NAME nor NAME==VERSION.", code="wave.project"
        ) from err


def _by_library(projects: Mapping[str, Own], subject: str) -> Judge:
    name, version = library_of(subject)
    if version is None and name in projects:
        version = projects[name].version

    def judge(one: Own) -> tuple[bool, str]:
        read = one.read.get(name)
        if read is None:
            return name in one.requires, f"requires {name}" if name in one.requires else ""
        if version in read:
            return False, f"was built with {name} {version}"
        return True, f"was built with {name} {', '.join(sorted(read))}"

    return judge


def _by_python(session: Session, interpreter: str) -> Judge:
    """Of an interpreter: it concerns what lacks wheels for it that a recipe would make in the images in use.

    Raises:
        InvalidInput: `wave.python`.
        NotFound: `image.unknown`, none has it.
    """
    if not _INTERPRETER.fullmatch(interpreter):
        raise InvalidInput(
            f"{interpreter[:40]!r} is no interpreter.", code="wave.python", hint="Write it like cp313."
        )
    images = image_rows(session)
    if not any(interpreter in image.interpreters for image in images if image.role == "builder"):
        raise NotFound(
            f"No image in use has {interpreter}.",
            code="image.unknown",
            hint=f"`docker/build-images.sh --with {interpreter}` makes one, `buildfarm image add` takes it.",
        )
    machines = crew.native_machines(session)

    def judge(one: Own) -> tuple[bool, str]:
        names = [parse_wheel_filename(filename, validate_order=False) for filename in one.native]
        tags = [tag for _project, _version, _number, some in names for tag in some]
        if not tags:
            return False, _PURE
        if any(tag.interpreter == interpreter for tag in tags):
            return False, f"has wheels for {interpreter}"
        if any(tag.abi == "abi3" for tag in tags):
            return False, f"its abi3 wheels serve {interpreter}"
        if sentence := _declined(one, images, machines, interpreter):
            return False, sentence
        return True, f"has no wheels for {interpreter}"

    return judge


def _declined(
    one: Own, images: Sequence[ImageRow], machines: Collection[str] | None, interpreter: str
) -> str:
    """Why a build of the project would make nothing for the interpreter; empty where it would."""
    if one.recipe is None:
        return ""
    recipe = Recipe.model_validate(one.recipe)
    named = recipe.targets.interpreters
    if named != "all" and interpreter not in named:
        return f"its recipe names {', '.join(named)} alone"
    if python_excludes(one.requires_python, interpreter):
        return f"its Requires-Python, {one.requires_python}, leaves {interpreter} out"
    try:
        targets = plan_targets(recipe, images, None, machines=machines)
    except InvalidInput as err:
        return str(err)
    made = {target.interpreter for target in targets if target.skip_reason is None}
    return "" if interpreter in made else f"its recipe leaves {interpreter} out"


def _by_image(session: Session, suite: str) -> Judge:
    """Of a suite's images: they concern what was built in one of them that is out of use.

    Raises:
        NotFound: `image.unknown`, none of the suite is in use.
    """
    of_it = select(Image).where(Image.suite == suite, Image.role == "builder")
    in_use = {image.image_id: image.retired_at is None for image in session.scalars(of_it)}
    if not any(in_use.values()):
        raise NotFound(
            f"No image in use is of {suite[:40]}.",
            code="image.unknown",
            hint="`buildfarm image list` shows them all.",
        )

    def judge(one: Own) -> tuple[bool, str]:
        if not one.native:
            return False, _PURE
        here = [in_use[job.build_image] for job in one.jobs if job.build_image in in_use]
        if not here:
            return False, f"was built in no image of {suite}"
        if all(here):
            return False, "was built in an image in use"
        return True, f"was built in an older image of {suite}"

    return judge
