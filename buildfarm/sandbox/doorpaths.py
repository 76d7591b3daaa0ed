"""The grammar of a container's door: what may be asked for there, and which names files may have."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)

from buildfarm.registrypaths import go_path, is_crate, is_crate_index_path, is_version

_PROJECT = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,198}[A-Za-z0-9])?")
_FILENAME = re.compile(r"[^./\\\x00-\x20][^/\\\x00-\x1f]{0,249}")
_DISTRIBUTION = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+!-]*")


def index_path(asked: str) -> str | None:
    """A page or file of an index or registry as the farm shall be asked for it; None for anything else.

    It is spelled anew from its decoded parts: the farm's HTTP client, and a proxy before the farm, would
    make a way out of the index of `%2e%2e` and its like.
    """
    match [unquote(part) for part in asked.split("/")]:
        case ["", "simple", project] | ["", "simple", project, ""] if _PROJECT.fullmatch(project):
            return f"/simple/{project}/"
        case ["", "files", project, name] if _PROJECT.fullmatch(project) and _FILENAME.fullmatch(name):
            return f"/files/{project}/{quote(name)}"
        case ["", "crates", "index", *rest] if rest == ["config.json"] or is_crate_index_path("/".join(rest)):
            return f"/crates/index/{'/'.join(rest)}"
        case ["", "crates", "files", crate, version, "download"] if is_crate(crate) and is_version(version):
            return f"/crates/files/{crate}/{version}/download"
        case ["", "go", *rest] if wanted := go_path("/".join(rest)):
            return f"/go/{wanted}"
    return None


def asked_name(path: str) -> str:
    """What a path of `index_path` asks for, with the version where upstream is shown that as well."""
    match path.split("/"):
        case ["", "crates", "files", crate, version, _]:
            return f"{crate}@{version}"
        case ["", "crates", "index", *_, crate]:
            return crate
        case ["", "go", *rest]:
            module, _, version = "/".join(rest).partition("/@v/")
            exact, _, _kind = version.rpartition(".")
            return f"{module}@{exact}" if exact else module.removesuffix("/@latest")
        case [_, _, project, *_]:
            return str(canonicalize_name(project))
    return path


def is_wheel(path: str) -> bool:
    """Whether a path of `index_path` is that of a wheel."""
    return path.startswith("/files/") and path.endswith(".whl")


def is_distribution(filename: str) -> bool:
    """Whether this is the name of a wheel or of a gzipped source archive."""
    # The parsers take whatever stands in the place of a platform; the farm's client makes a URL of it.
    if len(filename) > 250 or not _DISTRIBUTION.fullmatch(filename):
        return False
    try:
        if filename.endswith(".whl"):
            parse_wheel_filename(filename)
        elif filename.endswith(".tar.gz"):
            parse_sdist_filename(filename)
        else:
            return False
    except (InvalidWheelFilename, InvalidSdistFilename):
        return False
    return True
