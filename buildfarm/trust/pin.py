"""The trusted root that a client pinned for a farm: trusted on first use, compared ever after."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from buildfarm.errors import EnvironmentProblem, IntegrityFailure, InvalidInput
from buildfarm.trust import root

_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Pinned:
    """A trusted root with where it lies."""

    root: root.TrustedRoot
    path: Path
    sha256: str
    #: True where it was fetched and pinned just now: a person should compare the digest.
    first_use: bool = False


def path_for(farm_url: str, config: Path) -> Path:
    """Where the root of a farm is pinned, by host and port."""
    parts = urlsplit(farm_url)
    port = parts.port or _PORTS.get(parts.scheme, 443)
    return config / "buildfarm" / f"{parts.hostname}_{port}" / root.TRUSTED_ROOT


def given(path: Path) -> Pinned:
    """A root that a person named.

    Raises:
        InvalidInput: it cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InvalidInput(
            f"The trusted root {path} cannot be read: {error.strerror}", code="root.malformed"
        ) from error
    return Pinned(root.load(data), path, hashlib.sha256(data).hexdigest())


def pinned(path: Path, fetch: Callable[[], bytes | None] | None) -> Pinned:
    """The root pinned at `path`, which must still be the farm's.

    Args:
        path: from `path_for`.
        fetch: gets the farm's present root, or None when the farm cannot be reached; None offline.

    Raises:
        IntegrityFailure: the farm's root is no longer the pinned one.
        EnvironmentProblem: nothing is pinned and nothing could be fetched, or it cannot be written.
        InvalidInput: a root cannot be read.
    """
    present = fetch() if fetch is not None else None
    if path.exists():
        known = given(path)
        if present is not None and hashlib.sha256(present).hexdigest() != known.sha256:
            raise IntegrityFailure(
                "The farm's trusted root is not the one that was pinned.",
                code="root.changed",
                hint="Ask the farm's administrator whether its keys were rotated and for the digest of the "
                f"new root; if it is the one got here, delete {path} and run this again.",
                expected=f"sha256 {known.sha256}",
                got=f"sha256 {hashlib.sha256(present).hexdigest()}",
            )
        return known
    if present is None:
        raise EnvironmentProblem(
            f"No trusted root is pinned at {path}.",
            code="root.none",
            hint="Run this once with the farm in reach, or give its trusted_root.json with --root.",
        )
    trusted = root.load(present)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.new")
        fresh.write_bytes(present)
        fresh.replace(path)
    except OSError as error:
        raise EnvironmentProblem(
            f"The trusted root cannot be pinned at {path}: {error.strerror}", code="root.pin"
        ) from error
    return Pinned(trusted, path, hashlib.sha256(present).hexdigest(), first_use=True)
