"""What the farm knows of interpreters and suites: `recipes/targets.toml`, shipped data.

The planner takes what images exist; the catalog says how to come by one that does not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from buildfarm.recipes.document import read, refusal
from buildfarm.recipes.merge import flatten, tree
from buildfarm.recipes.problems import problems_of

_Tag = Annotated[str, StringConstraints(pattern=r"^cp3[0-9]{1,2}t?$")]
_Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
_Version = Annotated[str, StringConstraints(pattern=r"^[0-9]+\.[0-9]+$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Interpreter(_Part):
    """A CPython by its wheel tag."""

    python: _Version
    """Its language version."""
    free_threaded: bool = False
    """Built without the global lock (PEP 703)."""


class Platform(_Part):
    """A family of images for one architecture, as recipes name it."""

    libc: _Name
    architecture: _Name


class Suite(_Part):
    """A distribution that images are made from."""

    platform: _Name
    """The platform tag that an image of it can give at most (PEP 600)."""
    interpreters: tuple[_Tag, ...]
    """Those that its images hold."""
    made_by: str
    """The command that makes the images, empty where the operator imports them."""
    toolchain: _Name | None = None
    """The compiler in its builder images that a recipe must ask for."""


class Catalog(_Part):
    """Interpreters, platforms and suites by name."""

    interpreters: Annotated[Mapping[_Tag, Interpreter], Field(min_length=1)]
    platforms: Annotated[Mapping[_Name, Platform], Field(min_length=1)]
    suites: Mapping[_Name, Suite]

    def commands(self, interpreter: str, toolchain: str | None, place: str = "") -> list[str]:
        """What makes images with the interpreter, or with any if it is empty, and the compiler.

        `place` is one of the names of platforms that recipes use, or any other text for all of them.
        """
        libc, _, machine = place.partition("-") if place in self.platforms else ("", "", "")
        return [
            suite.made_by
            for suite in self.suites.values()
            if suite.toolchain == toolchain
            and (interpreter in suite.interpreters or not interpreter)
            and (suite.platform.startswith(libc) and suite.platform.endswith(machine))
        ]


def load_catalog(file: str, text: str) -> Catalog:
    """The catalog of a file.

    Raises:
        InvalidInput: `recipe.invalid`, with file and line.
    """
    document = read(file, text)
    layer = flatten(document, document.data, ())
    try:
        return Catalog.model_validate(tree(layer))
    except ValidationError as error:
        raise refusal(problems_of(error, layer, Catalog, extra=())) from error
