"""Names and paths of crates and Go modules, as the protocols of their registries spell them.

Whatever a build asks for is one of these or nothing: only what they made becomes part of an upstream URL.
Sources: the Cargo book, "Registry Index" and "Registries"; the Go modules reference, "GOPROXY protocol",
"Module paths" and "Versions"; Semantic Versioning 2.0.0.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

_SEMVER = re.compile(
    r"(?:0|[1-9][0-9]{0,19})\.(?:0|[1-9][0-9]{0,19})\.(?:0|[1-9][0-9]{0,19})"
    r"(?:-(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
    r"(?:\.(?:0|[1-9][0-9]*|[0-9]*[A-Za-z-][0-9A-Za-z-]*))*)?"
    r"(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?"
)
_CRATE = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_GO_HOST = re.compile(r"[a-z0-9][a-z0-9-]*(?:\.[a-z0-9-]+)+")
_GO_ELEMENT = re.compile(r"[A-Za-z0-9_~-](?:[A-Za-z0-9._~-]*[A-Za-z0-9_~-])?")
_ESCAPED = re.compile(r"(?:[^A-Z!]|![a-z])+")
_VERSION_CHARACTERS = 100
#: Module and version become one file name, for which a statement has room of 256 characters.
_MODULE_CHARACTERS = 150

GoKind = Literal["list", "latest", "info", "mod", "zip"]


def is_crate(name: str) -> bool:
    """Whether this is the name of a crate."""
    return _CRATE.fullmatch(name) is not None


def is_version(text: str) -> bool:
    """Whether this is a semantic version."""
    return len(text) <= _VERSION_CHARACTERS and _SEMVER.fullmatch(text) is not None


def crate_prefix(name: str) -> str:
    """The folder of a crate in an index: `1`, `2`, `3/a` or `ab/cd`, in the case of the name."""
    return {1: "1", 2: "2", 3: f"3/{name[:1]}"}.get(len(name), f"{name[:2]}/{name[2:4]}")


def crate_index_path(name: str) -> str:
    """The path of a crate's file in an index."""
    return f"{crate_prefix(name)}/{name}".lower()


def is_crate_index_path(path: str) -> bool:
    """Whether this is the path of some crate's file in an index."""
    name = path.rpartition("/")[2]
    return is_crate(name) and crate_index_path(name) == path


@dataclass(frozen=True)
class GoPath:
    """What the Go command asks a module proxy for; `version` is empty for `list` and `latest`."""

    module: str
    version: str
    kind: GoKind

    def __str__(self) -> str:
        """The path below the root of a proxy."""
        module = _escaped(self.module)
        if self.kind == "latest":
            return f"{module}/@latest"
        if self.kind == "list":
            return f"{module}/@v/list"
        return f"{module}/@v/{_escaped(self.version)}.{self.kind}"

    @property
    def filename(self) -> str:
        """The name of the file on the record of a build."""
        return f"{self.module}@{self.version}.{self.kind}"


def go_path(path: str) -> GoPath | None:
    """What a path below the root of a proxy asks for; None when it is none."""
    head, _, tail = path.partition("/@")
    module = _unescaped(head)
    if module is None or not _is_module(module):
        return None
    if tail in ("latest", "v/list"):
        return GoPath(module, "", "latest" if tail == "latest" else "list")
    version, _, kind = tail.removeprefix("v/").rpartition(".")
    plain = _unescaped(version)
    if not tail.startswith("v/") or plain is None or not _is_go_version(plain):
        return None
    match kind:
        case "info" | "mod" | "zip":
            return GoPath(module, plain, kind)
    return None


def _is_module(path: str) -> bool:
    host, *elements = path.split("/")
    return (
        len(path) <= _MODULE_CHARACTERS
        and _GO_HOST.fullmatch(host) is not None
        and all(_GO_ELEMENT.fullmatch(element) for element in elements)
    )


def _is_go_version(text: str) -> bool:
    build = text.partition("+")[2]
    return text.startswith("v") and is_version(text[1:]) and build in ("", "incompatible")


def _escaped(text: str) -> str:
    return re.sub("[A-Z]", lambda found: "!" + found[0].lower(), text)


def _unescaped(text: str) -> str | None:
    if not text.isascii() or not _ESCAPED.fullmatch(text):
        return None
    return re.sub("!([a-z])", lambda found: found[1].upper(), text)
