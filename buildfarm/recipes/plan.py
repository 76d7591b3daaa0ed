"""From a recipe and the images there are to targets. Pure: no clock, no database, no engine.

An image of the oldest C library that holds the interpreter is taken, because what is linked on it runs
on everything newer. An explicitly named target for which there is no image is an error, for a release
that quietly lacks a platform is worse than none; the default matrix takes what exists.

Source: PEP 425 (tags), PEP 600 (manylinux_X_Y), PEP 656 (musllinux_X_Y).
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from buildfarm.errors import InvalidInput
from buildfarm.recipes.catalog import Catalog
from buildfarm.recipes.model import Recipe

_PLATFORM = re.compile(r"((?:many|musl)linux)_([0-9]+)_([0-9]+)_([a-z0-9_]+)")
_INTERPRETER = re.compile(r"cp3([0-9]+)(t?)")


@dataclass(frozen=True)
class ImageRow:
    """An image the farm has: `image_id` is the engine's (`sha256:...`), never a tag.

    `platform` is what it builds for, `machine` what it runs on where that is another; `toolchain` names the
    compiler that a recipe must ask for.
    """

    platform: str
    interpreters: tuple[str, ...]
    role: Literal["builder", "test"]
    image_id: str
    toolchain: str | None = None
    machine: str | None = None

    @property
    def is_cross(self) -> bool:
        """Whether it builds for another machine than it runs on."""
        return self.machine is not None and not self.platform.endswith(f"_{self.machine}")


@dataclass(frozen=True)
class Target:
    """One interpreter on one platform, with the images for it.

    `is_primary` marks the one target that also makes the source distribution. `skip_reason` is set
    where nothing is to be built; the images may then be empty. `is_cross` is set where the build image is
    of another machine than the platform.
    """

    name: str
    interpreter: str
    platform: str
    build_image: str
    test_image: str | None
    is_required: bool = True
    is_primary: bool = False
    skip_reason: str | None = None
    is_cross: bool = False


def plan_targets(
    recipe: Recipe,
    images: Sequence[ImageRow],
    requires_python: str | None,
    *,
    catalog: Catalog | None = None,
    machines: Collection[str] | None = None,
) -> list[Target]:
    """The targets of a build: in the recipe's order, or newest interpreter first.

    A recipe without wheel has one target. Several targets of a pure project give the same file name; the
    publisher takes identical bytes once.

    Args:
        recipe: what is wanted.
        images: what there is.
        requires_python: the project's own statement, if known before the build (PEP 621).
        machines: those whose platforms the default matrix takes; None for all. Others are built for where the
            recipe names them.
        catalog: helps an error to say where a missing interpreter comes from.

    Raises:
        InvalidInput: `target.unavailable`, nothing can be built or a named target has no image;
            `metadata.invalid`, Requires-Python cannot be read.
    """
    shelf = _Shelf(images, recipe)
    targets = [
        _marked(target, recipe, requires_python) for target in _wanted(recipe, shelf, catalog, machines)
    ]
    if recipe.program is not None:
        targets = _one_for_each_platform(targets)
    buildable = [target for target in targets if target.skip_reason is None]
    if not buildable:
        raise _nothing(targets, shelf, catalog)
    primary = next((target for target in buildable if target.is_required), buildable[0])
    if not recipe.build.wheel:
        return [replace(primary, is_primary=True, is_required=True)]
    return [replace(target, is_primary=target is primary) for target in targets]


def _one_for_each_platform(targets: Sequence[Target]) -> list[Target]:
    """A program has nothing of the interpreter: the target on the oldest C library makes it."""
    taken: dict[str, Target] = {}
    for target in sorted(targets, key=lambda one: _age(one.platform)):
        if target.skip_reason is None:
            taken.setdefault(_generic(target.platform), target)
    reason = "A program needs no more than one target for each platform."
    return [
        target if target.skip_reason or target in taken.values() else replace(target, skip_reason=reason)
        for target in targets
    ]


def python_excludes(requires_python: str | None, interpreter: str) -> bool:
    """Whether Requires-Python leaves the interpreter out.

    Only the minor version is known, so the newest thinkable patch stands for it: `>=3.11.4` takes cp311.

    Raises:
        InvalidInput: `metadata.invalid`, not a PEP 440 specifier.
    """
    if not requires_python:
        return False
    try:
        specifier = SpecifierSet(requires_python)
    except InvalidSpecifier as error:
        raise InvalidInput(
            f'The project\'s Requires-Python "{requires_python[:100]}" cannot be read.',
            code="metadata.invalid",
            hint='Write it like ">=3.11".',
        ) from error
    minor, _ = _version(interpreter)
    return not specifier.contains(f"3.{minor}.99")


class _Shelf:
    """The images, by what they are good for in the eyes of one recipe."""

    def __init__(self, images: Iterable[ImageRow], recipe: Recipe) -> None:
        rows = [image for image in images if _PLATFORM.fullmatch(image.platform)]
        self.builders = sorted(
            (row for row in rows if row.role == "builder"), key=lambda row: _age(row.platform)
        )
        self.tests = sorted((row for row in rows if row.role == "test"), key=lambda row: _age(row.platform))
        self.recipe = recipe
        self.platforms = sorted({_generic(row.platform) for row in self.builders if not row.is_cross})
        found = {tag for row in self.builders for tag in row.interpreters if _INTERPRETER.fullmatch(tag)}
        self.interpreters = sorted(found, key=_newest_first)

    def find(self, interpreter: str, platform: str) -> Target | None:
        """The target on the oldest image that has the interpreter, and a test image where one is needed."""
        for row in self.builders:
            name = f"{interpreter}-{row.platform}"
            fits = interpreter in row.interpreters and platform in (row.platform, _generic(row.platform))
            if fits and self._compiles(row, name):
                test_image = self._test_image(interpreter, row.platform)
                if test_image or not self._needs_test(name):
                    return Target(
                        name, interpreter, row.platform, row.image_id, test_image, is_cross=row.is_cross
                    )
        return None

    def _compiles(self, row: ImageRow, target: str) -> bool:
        """Whether the image has the compiler that the recipe asks for, for the C library it asks for."""
        build = self.recipe.for_target(target).build
        is_chosen = build.glibc in (None, ".".join(map(str, _age(row.platform))))
        return row.toolchain == build.toolchain and (is_chosen or build.toolchain is None)

    def _needs_test(self, target: str) -> bool:
        return self.recipe.build.wheel and self.recipe.for_target(target).test is not False

    def kinds(self, said: str, machines: Collection[str] | None) -> list[str]:
        """Kinds of platforms that there are images of: the usual ones for `all`, else what fits a glob."""
        if said != "all":
            return fnmatch.filter(self.platforms, said)
        found = [(kind, kind.partition("-")[2]) for kind in self.platforms]
        return [
            kind for kind, machine in found if machine != "i686" and (machines is None or machine in machines)
        ]

    def _test_image(self, interpreter: str, platform: str) -> str | None:
        """The compiler-free image as old as the builder, or the next newer: an older one may not run it."""
        for row in self.tests:
            fits = _generic(row.platform) == _generic(platform) and _age(row.platform) >= _age(platform)
            if fits and interpreter in row.interpreters:
                return row.image_id
        return None

    def inventory(self) -> str:
        """What there is, for a person."""
        if not self.builders:
            return "there are no builder images"
        builders = ", ".join(
            f"{row.platform} ({' '.join(row.interpreters)}{f' by {row.toolchain}' if row.toolchain else ''})"
            for row in self.builders
        )
        tests = ", ".join(f"{row.platform} ({' '.join(row.interpreters)})" for row in self.tests) or "none"
        return f"builder images: {builders}; test images: {tests}"


def _wanted(
    recipe: Recipe, shelf: _Shelf, catalog: Catalog | None, machines: Collection[str] | None
) -> list[Target]:
    interpreters, platforms = recipe.targets.interpreters, recipe.targets.platforms
    tags: Iterable[str] = (
        [tag for tag in shelf.interpreters if not _on_request(tag)] if interpreters == "all" else interpreters
    )
    named = [] if platforms == "all" else [one for one in platforms if not one.startswith("*")]
    places = []
    for one in ("all",) if platforms == "all" else platforms:
        places += [one] if one in named else shelf.kinds(one, machines)
    targets = {}
    for tag in dict.fromkeys(tags):
        found = [(place, shelf.find(tag, place)) for place in places]
        is_there = any(target for _, target in found)
        for place, target in found or [("any platform", None)]:
            is_named = interpreters != "all" and (place in named or not is_there)
            if target is not None:
                targets[target.name] = target
            elif is_named and _is_chosen(f"{tag}-{place}", recipe):
                missing = _missing(recipe, shelf, catalog, tag, place)
                targets[missing.name] = missing
    for place in named:
        if not any(place in (target.platform, _generic(target.platform)) for target in targets.values()):
            raise _unavailable("no interpreter", shelf, catalog, "", place)
    return [target for target in targets.values() if _is_chosen(target.name, recipe)]


def _missing(recipe: Recipe, shelf: _Shelf, catalog: Catalog | None, tag: str, place: str) -> Target:
    """A named target without image: skipped if optional.

    Raises:
        InvalidInput: `target.unavailable`, it is required.
    """
    name = f"{tag}-{place}"
    if not _is_one_of(name, recipe.targets.optional):
        raise _unavailable(f"no image for {tag}", shelf, catalog, tag, place)
    return Target(name, tag, place, "", None, skip_reason=f"The farm has no image for {tag} on {place}.")


def _marked(target: Target, recipe: Recipe, requires_python: str | None) -> Target:
    target = replace(target, is_required=not _is_one_of(target.name, recipe.targets.optional))
    if target.skip_reason is None and python_excludes(requires_python, target.interpreter):
        reason = f"The project's Requires-Python is {requires_python}, which leaves {target.interpreter} out."
        return replace(target, skip_reason=reason)
    return target


def _is_chosen(name: str, recipe: Recipe) -> bool:
    return _is_one_of(name, recipe.targets.only) and not _is_one_of(name, recipe.targets.skip)


def _is_one_of(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def _unavailable(what: str, shelf: _Shelf, catalog: Catalog | None, tag: str, place: str) -> InvalidInput:
    build = shelf.recipe.for_target(f"{tag}-{place}").build
    compiler = f" whose compiler is {build.toolchain}" if build.toolchain else ""
    floor = f", for glibc {build.glibc}" if build.glibc else ""
    made_by = _made_by(catalog, tag, build.toolchain, _generic(place)) if tag or build.toolchain else ""
    add = f"Make one with `{made_by}`" if made_by else "Import a builder and a test image that have it"
    return InvalidInput(
        f"The recipe asks for a target that the farm cannot build: {what} on {place}{compiler}{floor}.",
        code="target.unavailable",
        hint=f"Now {shelf.inventory()}. {add}, or take it out of [targets].",
    )


def _nothing(targets: Sequence[Target], shelf: _Shelf, catalog: Catalog | None) -> InvalidInput:
    reasons = " ".join(dict.fromkeys(target.skip_reason for target in targets if target.skip_reason))
    toolchain = shelf.recipe.build.toolchain
    made_by = _made_by(catalog, "", toolchain) if toolchain else ""
    more = f" `{made_by}` makes images whose compiler is {toolchain}." if made_by else ""
    return InvalidInput(
        f"There is nothing to build. {reasons}".strip(),
        code="target.unavailable",
        hint=f"Now {shelf.inventory()}.{more}",
    )


def _made_by(catalog: Catalog | None, tag: str, toolchain: str | None, place: str = "") -> str:
    commands = catalog.commands(tag, toolchain, place) if catalog else []
    return next((command for command in commands if command), "")


def _generic(platform: str) -> str:
    """`manylinux_2_28_x86_64` as recipes usually say it: `manylinux-x86_64`."""
    match = _PLATFORM.fullmatch(platform)
    return f"{match[1]}-{match[4]}" if match else platform


def _age(platform: str) -> tuple[int, int]:
    """The version of the C library, so that sorting puts the oldest first."""
    match = _PLATFORM.fullmatch(platform)
    return (int(match[2]), int(match[3])) if match else (0, 0)


def _version(interpreter: str) -> tuple[int, bool]:
    match = _INTERPRETER.fullmatch(interpreter)
    return (int(match[1]), bool(match[2])) if match else (0, False)


def _newest_first(interpreter: str) -> tuple[int, bool]:
    minor, is_free_threaded = _version(interpreter)
    return -minor, is_free_threaded


def _on_request(interpreter: str) -> bool:
    # Packages have left the experimental free-threaded 3.13 behind; its default builds only fail.
    return interpreter == "cp313t"
