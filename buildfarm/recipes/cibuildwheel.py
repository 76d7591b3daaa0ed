"""`[tool.cibuildwheel]` as the weakest layer of a recipe, and what of it this farm does otherwise.

A project that builds with cibuildwheel builds here without a change; an option that the farm does not
follow is listed with the reason, never passed over.

Source: cibuildwheel's documentation of its options, version 4.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

from pydantic import BaseModel, ValidationError

from buildfarm.recipes.document import Document
from buildfarm.recipes.environment import refused_variable
from buildfarm.recipes.lines import KeyPath
from buildfarm.recipes.merge import Key, Layer, Leaf
from buildfarm.recipes.model import Build, LeftOut, Origin, Override, Targets, Test
from buildfarm.recipes.problems import nearest_of

TABLE = ("tool", "cibuildwheel")

_OTHER_SYSTEMS = ("macos", "windows", "pyodide", "android", "ios")
_ARCHITECTURES = ("x86_64", "i686", "aarch64", "ppc64le", "s390x", "armv7l", "riscv64")
_ANY_ARCHITECTURE = {"auto", "auto64", "native", "all"}
#: What the value of a variable may name; all else is empty in a build.
_SET = {"HOME": "/home/builder", "USER": "builder"}
_NAMED = re.compile(r"\$(?:\{(\w+)\}|(\w+))", re.ASCII)
_MOST_PATTERNS = 500

#: Options that the farm does not follow, and why.
_NOT_FOLLOWED = {
    "environment-pass": "a build knows nothing of the host",
    "container-engine": "the farm has its own",
    "dependency-versions": "the tools are those of the image",
    "audit-command": "each wheel is held against the stable ABI before it is published",
    "audit-requires": "each wheel is held against the stable ABI before it is published",
    "test-runtime": "tests run in a container of the farm",
    **dict.fromkeys(("xbuild-tools", "xbuild-files", "pyodide-version"), "it is for other systems"),
    **{
        f"{family}-{kind}{machine}-image": "the oldest image of the farm that has the interpreter is taken"
        for family in ("manylinux", "musllinux")
        for kind in ("", "pypy_")
        for machine in _ARCHITECTURES
    },
}
_NOT_ROOT = "nothing runs as root or with a network; name what it installs in build.system_packages"
#: What an override says of these joins what is said for all, whether it asks for that or not.
_JOINED = frozenset({"environment", "test-environment", "config-settings"})
_PARTS: Mapping[str, type[BaseModel]] = {
    "targets": Targets,
    "build": Build,
    "test": Test,
    "overrides": Override,
}
#: `test-skip` as a key: it becomes an override that gives the test up.
_UNTESTED: Key = ("overrides", "select")


class Translation(NamedTuple):
    """What the table says in a recipe's words, and what is left of it."""

    layer: Layer
    left_out: tuple[LeftOut, ...]


class _Said(NamedTuple):
    key: Key
    value: object
    path: KeyPath


def translate(document: Document) -> Translation | None:
    """Read the table of a `pyproject.toml`; None when it has none."""
    tool = document.data.get("tool")
    table = tool.get(TABLE[1]) if isinstance(tool, dict) else None
    return _Reader(document).read(table) if isinstance(table, dict) else None


class _Reader:
    def __init__(self, document: Document) -> None:
        self._document = document
        self._left_out: list[LeftOut] = []

    def read(self, table: Mapping[str, object]) -> Translation:
        options = {name: (value, (*TABLE, name)) for name, value in table.items()}
        linux = table.get("linux", {})
        if isinstance(linux, dict):
            options |= {name: (value, (*TABLE, "linux", name)) for name, value in linux.items()}
        else:
            self._leave_out((*TABLE, "linux"), "it is no table")
        overrides = self._overrides(table.get("overrides", []), options)
        untested: list[str] = []
        layer: dict[Key, Leaf] = {}
        for name, (value, path) in options.items():
            if name in {"linux", "overrides"}:
                continue
            for said in self._option(name, value, path):
                if said.key == _UNTESTED:
                    untested = _texts(said.value)
                else:
                    layer[said.key] = self._leaf(said, layer.get(said.key))
        if untested:
            overrides.append({"select": untested, "test": False})
        if overrides:
            layer["overrides",] = Leaf(overrides, self._document, (*TABLE, "overrides"))
        return Translation(layer, tuple(sorted(self._left_out, key=lambda one: one.origin.line)))

    def _leaf(self, said: _Said, before: Leaf | None) -> Leaf:
        value = said.value
        if before is not None:  # `skip` and `archs` both say what is skipped
            value = [*_texts(before.value), *_texts(value)]
        return Leaf(value, self._document, said.path)

    def _option(self, name: str, value: object, path: KeyPath) -> list[_Said]:
        """What an option says in a recipe's words: nothing when it is listed as left out."""
        try:
            said = list(self._said(name, value, path))
            for one in said:
                part, field, *within = one.key
                value = {within[0]: one.value} if within else one.value
                _PARTS[part].model_validate({field: value})
        except ValidationError as error:
            self._leave_out(path, error.errors()[0]["msg"].removeprefix("Value error, "))
        except ValueError as error:
            self._leave_out(path, str(error))
        else:
            return said
        return []

    def _said(self, name: str, value: object, path: KeyPath) -> Iterator[_Said]:
        if name in {"environment", "test-environment"}:
            part = "build" if name == "environment" else "test"
            for variable, text, place in self._variables(value, path):
                yield _Said((part, "environment", variable), text, place)
        elif name == "config-settings":
            for setting, given in _settings(value).items():
                yield _Said(("build", "config_settings", setting), given, path)
        elif name == "test-requires":
            named, files = _requirements(value)
            yield _Said(("test", "requires"), named, path)
            if files:
                yield _Said(("test", "requirements"), files, path)
        elif name == "before-all":
            yield _Said(("build", "system_packages"), _installed(value), path)
        elif name == "archs":
            if (machines := _machines(value)) is not None:
                others = [f"*_{one}" for one in _ARCHITECTURES if one not in machines]
                yield _Said(("targets", "skip"), others, path)
                if "i686" in machines:  # which is built where it is named alone
                    yield _Said(("targets", "platforms"), [f"*-{one}" for one in machines], path)
        elif name in _FOLLOWED:
            key, read = _FOLLOWED[name]
            if (said := read(value)) or key != _UNTESTED:
                yield _Said(key, said, path)
        elif name in _OTHER_SYSTEMS:
            raise ValueError("the farm builds for Linux")
        elif name in _NOT_FOLLOWED:
            raise ValueError(_NOT_FOLLOWED[name])
        elif name == "enable":
            if others := [one for one in _texts(value) if not one.startswith("cpython")]:
                raise ValueError(f"the farm builds for CPython, not for {', '.join(others)}")
        elif name == "build-frontend":
            if isinstance(value, dict) and value.get("args"):
                raise ValueError("the farm calls the build backend itself")
        elif name != "build-verbosity":
            nearest = nearest_of(
                name, [*_FOLLOWED, *_NOT_FOLLOWED, *_JOINED, "archs", "test-requires", "before-all"]
            )
            did = f"; did you mean {nearest}?" if nearest else ""
            raise ValueError(f"cibuildwheel has no such option{did}")

    def _variables(self, value: object, path: KeyPath) -> Iterator[tuple[str, str, KeyPath]]:
        """Variables with their values as a shell would see them, one after the other."""
        is_table = isinstance(value, dict)
        given = value.items() if isinstance(value, dict) else _assignments(value)
        known = dict(_SET)
        for name, text in given:
            place = (*path, name) if is_table else path
            if why := refused_variable(name):
                self._leave_out(place, why, name)
            elif not isinstance(text, str | int | float) or re.search(r"\$\(|`", str(text)):
                self._leave_out(place, "its value is no plain text", name)
            else:
                known[name] = _NAMED.sub(lambda match: known.get(match[1] or match[2], ""), str(text))
                yield name, known[name], place

    def _overrides(
        self, several: object, options: Mapping[str, tuple[object, KeyPath]]
    ) -> list[dict[str, object]]:
        overrides: list[dict[str, object]] = []
        seen: set[str] = set()
        if not isinstance(several, list):
            self._leave_out((*TABLE, "overrides"), "it is no list of tables")
            return overrides
        for number, given in enumerate(several):
            path = (*TABLE, "overrides", number)
            select = (
                self._option("test-skip", given.pop("select", ""), path) if isinstance(given, dict) else []
            )
            if not select or not select[0].value:
                self._leave_out(path, "it selects nothing")
                continue
            override: dict[str, object] = {"select": select[0].value}
            inherit = given.pop("inherit", {})
            for name, value in given.items():
                rule = inherit.get(name, "none") if isinstance(inherit, dict) else "none"
                if name in _JOINED:
                    rule = "none"
                elif rule != "none" and name in seen:
                    self._leave_out((*path, name), "it adds to what another override says")
                    continue
                seen.add(name)
                for said in self._option(name, _added(value, options.get(name), rule), (*path, name)):
                    _put(override, said)
            overrides.append(override)
        return overrides

    def _leave_out(self, path: KeyPath, why: str, item: str = "") -> None:
        names = [step for step in path if isinstance(step, str)]
        if item and names[-1] != item:
            names.append(item)
        origin = Origin(self._document.file, self._document.line(path))
        self._left_out.append(LeftOut(".".join(names), origin, why))


def _added(value: object, base: tuple[object, KeyPath] | None, rule: str) -> object:
    """The value of an override that adds to that for all."""
    if base is None or rule == "none":
        return value
    first, second = (base[0], value) if rule == "append" else (value, base[0])
    if isinstance(first, str) and isinstance(second, str):
        return [first, second]
    return [*_texts(first), *_texts(second)]


def _put(table: dict[str, object], said: _Said) -> None:
    inner: dict[str, object] = table
    for step in said.key[:-1]:
        child = inner.setdefault(step, {})
        assert isinstance(child, dict)  # noqa: S101 - keys of the model do not cross
        inner = child
    inner[said.key[-1]] = said.value


# Values ---------------------------------------------------------------------------------------------


def _texts(value: object) -> list[str]:
    """A list of texts, or one text with blanks between them."""
    if isinstance(value, str):
        return shlex.split(value)
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise ValueError("it is no text or list of texts")


def _command(value: object) -> str | list[str]:
    """Commands of a list run one after the other, until one fails."""
    text = value if isinstance(value, str) else " && ".join(_texts(value))
    return text if text.strip() else []


def _installed(value: object) -> list[str]:
    """The packages that Debian's package manager is asked for, by a command that does nothing else."""
    command = _command(value)
    packages: list[str] = []
    for part in re.split(r"&&|;|\n", command if isinstance(command, str) else ""):
        words = [word for word in shlex.split(part) if word != "sudo"]
        names = [word for word in words[1:] if not word.startswith("-")]
        if not words:
            continue
        if words[0] not in {"apt", "apt-get"} or names[:1] not in (["update"], ["install"]):
            raise ValueError(_NOT_ROOT)
        packages += names[1:]
    return packages


def _repair(value: object) -> str | bool:
    command = _command(value)
    return command if isinstance(command, str) else False


def _requirements(value: object) -> tuple[list[str], list[str]]:
    """Requirements, and files of requirements (`-r tests/requirements.txt`)."""
    named: list[str] = []
    files: list[str] = []
    words = iter(word for text in _texts(value) for word in _spread(text))
    for word in words:
        if word in {"-r", "--requirement"}:
            files.append(next(words, ""))
        else:
            named.append(word)
    return named, files


def _spread(text: str) -> list[str]:
    """`-r file` and `-rfile` of one text as two words."""
    match = re.fullmatch(r"\s*(-r|--requirement)[\s=]*(\S+)\s*", text)
    return [match[1], match[2]] if match else [text]


def _extras(value: object) -> list[str]:
    return [one for text in _texts(value) for one in re.split(r"[, ]+", text) if one]


def _assignments(value: object) -> Iterator[tuple[str, str]]:
    for text in _texts(value):
        name, _, said = text.partition("=")
        yield name, said


def _settings(value: object) -> dict[str, object]:
    if isinstance(value, dict):
        return {name: str(given) if isinstance(given, bool | int) else given for name, given in value.items()}
    settings: dict[str, object] = {}
    for name, given in _assignments(value):
        settings[name] = [*_texts(settings[name]), given] if name in settings else given
    return settings


def _selectors(value: object) -> list[str]:
    """Globs over identifiers such as `cp313-manylinux_x86_64` as globs over names of targets."""
    patterns = [one for text in _texts(value) for one in text.split()]
    spread = [one for pattern in patterns for one in _unbraced(pattern)]
    return [one.replace("linux_", "linux_*") for one in spread[:_MOST_PATTERNS]]


def _unbraced(pattern: str) -> list[str]:
    """`cp3{12,13}-*` as `cp312-*` and `cp313-*`."""
    match = re.search(r"\{([^{}]*)\}", pattern)
    if match is None or pattern.count("{") > 4:
        return [pattern]
    before, after = pattern[: match.start()], pattern[match.end() :]
    return [one for choice in match[1].split(",") for one in _unbraced(f"{before}{choice}{after}")]


def _machines(value: object) -> list[str] | None:
    """The machines of `archs`; None for whatever the farm runs. Who names i686 means x86_64 by `auto`."""
    same = {"AMD64": "x86_64", "auto32": "i686"}
    wanted = {same.get(one, one) for one in _texts(value)}
    if wanted & _ANY_ARCHITECTURE:
        if "i686" not in wanted:
            return None
        wanted.add("x86_64")
    return [machine for machine in _ARCHITECTURES if machine in wanted]


_FOLLOWED: Mapping[str, tuple[Key, Callable[[object], object]]] = {
    "build": (("targets", "only"), _selectors),
    "skip": (("targets", "skip"), _selectors),
    "test-skip": (_UNTESTED, _selectors),
    "before-build": (("build", "before"), _command),
    "repair-wheel-command": (("build", "repair"), _repair),
    "before-test": (("test", "before"), _command),
    "test-command": (("test", "command"), _command),
    "test-extras": (("test", "extras"), _extras),
    "test-groups": (("test", "groups"), _texts),
    "test-sources": (("test", "sources"), _texts),
}
