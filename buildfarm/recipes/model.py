"""The recipe: one typed model of what to build and how, whatever file a value came from."""

from __future__ import annotations

import fnmatch
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import rfc8785
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    SerializationInfo,
    Tag,
    model_serializer,
    model_validator,
)

from buildfarm.recipes import checks
from buildfarm.recipes.units import GIB, MIB


@dataclass(frozen=True)
class Origin:
    """Where a value was written."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file} line {self.line}"


@dataclass(frozen=True)
class LeftOut:
    """Something that another tool's configuration asks for and the farm does not do, and why."""

    key: str
    origin: Origin
    why: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.key} is not followed: {self.why}"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Targets(_Part):
    """For which interpreters and platforms to build."""

    interpreters: checks.Interpreters = "all"
    """Wheel tags of CPython, such as `["cp311", "cp313"]`, or `"all"` that the farm has images for."""
    platforms: checks.Platforms = "all"
    """`"manylinux-x86_64"` (oldest fitting image), one image's tag such as `"manylinux_2_28_x86_64"`,
    `"*-i686"` for every kind of a machine that the farm has images for, or `"all"` but i686."""
    native: checks.Flag | None = None
    """What the wheel must be: `true` has compiled code, `false` has none, left out: not checked."""
    only: tuple[checks.Glob, ...] = ("*",)
    """Targets, by glob over their names, that are built."""
    skip: tuple[checks.Glob, ...] = ()
    """Of these, targets, by glob over their names, that are not built."""
    optional: tuple[checks.Glob, ...] = ()
    """Targets, by glob over their names, whose failure does not fail the build."""


class Build(_Part):
    """How to make the files."""

    wheel: checks.Flag = True
    """Make a wheel for each target."""
    sdist: checks.Flag = True
    """Make a source distribution, once."""
    system_packages: checks.SystemPackages = ()
    """Packages of the image's distribution that the build needs, such as `["libpq-dev"]`: an image that
    has them is made once, outside the build."""
    compile_cache: checks.Flag = False
    """Let the compilers of C and C++ find what builds of the same source made before; never for a tag."""
    toolchain: Literal["zig"] | None = None
    """Compile C and C++ by zig, for an older C library than the image's: targets are those of images that
    have it."""
    glibc: checks.Glibc | None = None
    """The C library that zig compiles for, such as `"2.17"`. Left out: the oldest there is an image for."""
    before: checks.Command = ()
    """What runs in the project before the files are made: a list of arguments, or one text for the
    shell. It has a `pip` of its own, whose programs the build finds and whose modules it does not."""
    repair: checks.FlagOrCommand = True
    """Give native wheels their platform tag and the libraries they need; or the command that does,
    with `{wheel}` for the file and `{dest_dir}` for the folder that shall hold the one it leaves."""
    config_settings: dict[str, checks.TextOrList] = Field(default_factory=dict, max_length=100)
    """What the build backend is given (PEP 517)."""
    environment: checks.Environment = Field(default_factory=dict, max_length=100)
    """Variables for the build. Not a place for secrets: recipes are readable by others."""

    @model_validator(mode="after")
    def _makes_something(self) -> Build:
        if not (self.wheel or self.sdist):
            raise ValueError("wheel and sdist are both false, so there is nothing to build")
        return self

    @model_validator(mode="after")
    def _only_zig_chooses(self) -> Build:
        if self.glibc and not self.toolchain:
            raise ValueError('glibc can be chosen with toolchain = "zig" alone: write it beside it')
        return self


class Test(_Part):
    """What to try with the built wheel, in an image without compilers."""

    __test__ = False  # pytest: not a class of tests

    system_packages: checks.SystemPackages = ()
    """Packages of the test image's distribution that the test needs."""
    requires: checks.Requirements = ()
    """Further distributions to install, from the channels the source may read."""
    requirements: tuple[checks.Folder, ...] = ()
    """Files of the source with further requirements, such as `tests/requirements.txt`."""
    extras: checks.Names = ()
    """Extras of the wheel to install."""
    groups: checks.Names = ()
    """Groups of the project's `[dependency-groups]` to install (PEP 735)."""
    sources: tuple[checks.Folder, ...] = ()
    """Files and folders of the source that the test finds in the folder it runs in."""
    environment: checks.Environment = Field(default_factory=dict, max_length=100)
    """Variables for the test, beside those of the build."""
    before: checks.Command = ()
    """What runs before the wheel is installed, with a `pip`; like `command`."""
    command: checks.Command = ()
    """A list of arguments, or one text for the shell. Left out: install the wheel and import it."""


class Limits(_Part):
    """What one attempt may use. Each value has an upper bound that no recipe can lift."""

    memory: Annotated[int, *checks.size(64 * MIB, 32 * GIB)] = 2 * GIB
    """Memory of all processes together; what lies in scratch counts."""
    cpus: Annotated[float, Field(strict=True, ge=0.5, le=32, allow_inf_nan=False)] = 2.0
    """Processors' worth of time; fractions such as 1.5 are allowed."""
    pids: Annotated[int, Field(strict=True, ge=16, le=8192)] = 512
    """Processes and threads at one time."""
    time: Annotated[int, *checks.duration(10, 12 * 3600)] = 1800
    """Wall time of the whole attempt."""
    idle: Annotated[int, *checks.duration(10, 12 * 3600)] = 600
    """Wall time without a byte of log."""
    scratch: Annotated[int, *checks.size(16 * MIB, 32 * GIB)] = 1 * GIB
    """Temporary files, held in memory."""
    log: Annotated[int, *checks.size(64 * 1024, 256 * MIB)] = 16 * MIB
    """Log; the build ends when it writes more."""
    output: Annotated[int, *checks.size(1 * MIB, 4 * GIB)] = 256 * MIB
    """Artifacts together."""
    artifacts: Annotated[int, Field(strict=True, ge=1, le=200)] = 20
    """Number of artifacts."""


class Program(_Part):
    """A program that is no Python project, shipped as a wheel whose command it becomes."""

    build: Annotated[checks.Command, Field(min_length=1)]
    """What makes it, in the project's folder; like `build.before`."""
    commands: Annotated[dict[checks.CommandName, checks.Folder], Field(min_length=1, max_length=100)]
    """The commands that it installs: name, and the file in the project's folder that `build` makes."""
    summary: Annotated[checks.Text, Field(max_length=500, pattern=r"^[^\r\n]*$")] = ""
    """One line for the index."""


def _off_or_table(value: object) -> str:
    return "<off>" if isinstance(value, bool) else "<table>"


_TestOrNot = Annotated[
    Annotated[Literal[False], Tag("<off>")] | Annotated[Test, Tag("<table>")],
    Discriminator(_off_or_table),
]


class Override(_Part):
    """Other values for some targets; what is not written here stays as it is for all."""

    select: Annotated[tuple[checks.Glob, ...], Field(min_length=1)]
    """Targets, by glob over their names."""
    build: Build = Field(default_factory=Build)
    test: _TestOrNot = Field(default_factory=Test)
    limits: Limits = Field(default_factory=Limits)

    @model_validator(mode="after")
    def _leaves_the_kinds_alone(self) -> Override:
        if whole := {"wheel", "sdist"} & self.build.model_fields_set:
            raise ValueError(f'"{min(whole)}" is for all targets alike: write it in [build]')
        return self

    @model_serializer
    def _as_written(self, info: SerializationInfo) -> dict[str, Any]:
        # All that was written and nothing else: a value may be back at its default for these targets.
        written = {
            name: getattr(self, name) for name in type(self).model_fields if name in self.model_fields_set
        }
        return {
            name: value.model_dump(mode=info.mode, exclude_unset=True)
            if isinstance(value, BaseModel)
            else value
            for name, value in written.items()
        }


class Recipe(_Part):
    """What to build from a commit of a source, and how."""

    name: checks.RecipeName = "default"
    """Tells the recipes of one source apart."""
    path: checks.Folder = ""
    """Folder in the repository that holds the project; empty: the root."""
    project: checks.Project | None = None
    """The project it must yield, in any spelling. Left out: read from the built metadata."""
    tags: checks.Glob = "*"
    """Glob over names of tags that start a build; `*` matches `/` too, an empty text matches nothing."""
    branches: tuple[checks.Glob, ...] = ("*",)
    """Globs over names of branches whose pushes start a build; an empty list: none."""
    submodules: checks.Flag = False
    """Fill in the repository's submodules; those at the source's own host can be."""
    lfs: checks.Flag = False
    """Replace pointers of Git LFS by the files they name."""
    targets: Targets = Field(default_factory=Targets)
    build: Build = Field(default_factory=Build)
    test: _TestOrNot = Field(default_factory=Test)
    """`false` gives up the check of the built wheel in a clean image."""
    limits: Limits = Field(default_factory=Limits)
    program: Program | None = None
    """The source is no Python project: what to build of it, and which commands it has."""
    overrides: Annotated[tuple[Override, ...], Field(max_length=100)] = ()
    """Other values for some targets, each on top of those before it."""

    @model_validator(mode="after")
    def _a_program_has_a_name(self) -> Recipe:
        if self.program and (self.project is None or not self.build.wheel):
            raise ValueError("a program needs a project to be published as, and is shipped as a wheel")
        return self

    _origins: Mapping[str, Origin] = PrivateAttr(default_factory=dict)
    _left_out: Sequence[LeftOut] = PrivateAttr(default_factory=tuple)

    @property
    def origins(self) -> Mapping[str, Origin]:
        """Where each value was written, by key with dots; a key that is missing has its default."""
        return self._origins

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What the project asks another tool for and does not get here."""
        return self._left_out

    def for_target(self, target: str) -> Recipe:
        """The recipe of one target, by its name: what the overrides say of it is in place, none is left.

        A variable or a setting of the build backend joins those of the recipe; any other value takes the
        place of the recipe's.
        """
        parts: dict[str, Any] = {"build": self.build, "test": self.test, "limits": self.limits}
        origins = {key: origin for key, origin in self._origins.items() if not key.startswith("overrides")}
        for number, override in enumerate(self.overrides):
            if not any(fnmatch.fnmatchcase(target, glob) for glob in override.select):
                continue
            for name in override.model_fields_set - {"select"}:
                parts[name] = _changed(parts[name], getattr(override, name))
            place = f"overrides.{number}."
            origins |= {
                key.removeprefix(place): origin
                for key, origin in self._origins.items()
                if key.startswith(place)
            }
        return self.model_copy(update={**parts, "overrides": ()}).with_origins(origins, self._left_out)

    def with_origins(self, origins: Mapping[str, Origin], left_out: Sequence[LeftOut] = ()) -> Recipe:
        """The same recipe that knows where its values were written, and what was left out."""
        copy = self.model_copy()
        copy._origins, copy._left_out = dict(origins), tuple(left_out)
        return copy


def _changed(part: BaseModel | bool, change: BaseModel | bool) -> BaseModel | bool:
    if not isinstance(change, BaseModel):
        return change
    base = part if isinstance(part, BaseModel) else type(change)()
    values = {name: getattr(change, name) for name in change.model_fields_set}
    joined = {
        name: {**getattr(base, name), **value} for name, value in values.items() if isinstance(value, dict)
    }
    return base.model_copy(update=values | joined)


def recipe_digest(recipe: Recipe) -> str:
    """SHA-256, in hexadecimal, of the recipe as canonical JSON: what provenance names.

    Values count, not the way they were written: `"1 GiB"` and `"1024 MiB"` have one digest, and
    `Recipe.model_validate(recipe.model_dump(mode="json"))` keeps it. Those at their defaults are left out,
    so that a farm which knows one key more gives old recipes the digest they had. Source: RFC 8785.
    """
    said = recipe.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(rfc8785.dumps(said)).hexdigest()


def recipe_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of a recipe file, for editors: `recipes/schema.json` holds it."""
    schema = Recipe.model_json_schema()
    for key, default in Limits().model_dump(mode="json").items():
        schema["$defs"]["Limits"]["properties"][key]["default"] = default
    one = {key: schema[key] for key in ("type", "additionalProperties")}
    one["properties"] = {key: value for key, value in schema["properties"].items() if key != "name"}
    schema["properties"]["recipes"] = {
        "type": "object",
        "additionalProperties": one,
        "description": "Several recipes in one file, by name; the keys outside are their common ground.",
    }
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "buildfarm recipe"}
