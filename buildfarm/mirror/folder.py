"""A bundle as it is carried: a folder with a manifest, the evidence for it, the farm's root, and the files.

Everything in it is what the evidence says, or `demand_whole` refuses it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path

from buildfarm.errors import EnvironmentProblem, IntegrityFailure
from buildfarm.mirror import evidence, manifest
from buildfarm.mirror.manifest import Carried
from buildfarm.mirror.page import MirrorFile
from buildfarm.trust import root
from buildfarm.trust.pin import Pinned
from buildfarm.trust.root import TrustedRoot


@dataclass(frozen=True)
class BundleFolder:
    """The folder at `path`."""

    path: Path

    @property
    def manifest(self) -> Path:
        """What is in the bundle (`buildfarm.mirror.manifest`)."""
        return self.path / "manifest.jsonl"

    @property
    def evidence(self) -> Path:
        """The proof of who wrote the manifest (`buildfarm.mirror.evidence`)."""
        return self.path / "evidence.json"

    @property
    def trusted_root(self) -> Path:
        """The root of the farm that wrote it; believed only where a person pinned the same."""
        return self.path / root.TRUSTED_ROOT

    def file(self, file: MirrorFile) -> Path:
        """Where the bytes of a file are."""
        return self.path / "files" / file.filename

    def make(self) -> None:
        """Make the folder.

        Raises:
            EnvironmentProblem: `bundle.not_writable`.
        """
        try:
            (self.path / "files").mkdir(parents=True, exist_ok=True)
        except OSError as err:
            raise EnvironmentProblem(
                f"The folder {self.path} cannot be written: {err.strerror}.", code="bundle.not_writable"
            ) from err

    def projects(self) -> Iterator[Carried]:
        """The projects of the manifest, one in memory at a time.

        Raises:
            IntegrityFailure: `bundle.manifest`, `bundle.incomplete`.
        """
        with _opened(self.manifest) as lines:
            for line in manifest.read(lines):
                if isinstance(line, Carried):
                    yield line

    def has(self, file: MirrorFile) -> bool:
        """Whether the bytes of a file are here as the manifest says."""
        path = self.file(file)
        if not path.is_file() or path.stat().st_size != file.size:
            return False
        with _opened(path) as source:
            return hashlib.file_digest(source, "sha256").hexdigest() == file.sha256

    def demand_whole(self, trusted: TrustedRoot) -> None:
        """Check the signature, the manifest and every file; reads all of it, a piece at a time.

        Raises:
            IntegrityFailure: `bundle.evidence`, `bundle.manifest`, `bundle.file`, `bundle.incomplete`.
        """
        with _opened(self.manifest) as source:
            sha256 = hashlib.file_digest(source, "sha256").hexdigest()
        evidence.check(_text(self.evidence), trusted, sha256)
        for carried in self.projects():
            for file in carried.files:
                if not self.has(file):
                    raise IntegrityFailure(
                        f"{file.filename} is not in the bundle as its manifest says.",
                        code="bundle.file",
                        hint="The bundle was changed, or did not arrive whole: copy it again.",
                    )

    def demand_root(self, pinned: Pinned) -> None:
        """Refuse a bundle that brings another root than the pinned one.

        Raises:
            IntegrityFailure: `root.changed`, `bundle.incomplete`.
        """
        if hashlib.sha256(_text(self.trusted_root).encode()).hexdigest() != pinned.sha256:
            raise IntegrityFailure(
                "The trusted root in the bundle is not the one that you gave.",
                code="root.changed",
                hint="Ask who made the bundle whether that farm's keys were rotated, and for the digest of "
                "the new root.",
            )

    def lines(self, pinned: Pinned) -> Iterator[bytes]:
        """What the importing farm is sent: whom to believe and the evidence, then the manifest."""
        first = {"trusted_root": pinned.path.read_text(), "evidence": _text(self.evidence)}
        yield json.dumps(first).encode() + b"\n"
        with _opened(self.manifest) as lines:
            yield from lines


def _text(path: Path) -> str:
    with _opened(path) as source:
        return source.read().decode(errors="replace")


def _opened(path: Path) -> BufferedReader:
    try:
        return path.open("rb")
    except OSError as err:
        raise IntegrityFailure(
            f"{path.name} of the bundle cannot be read: {err.strerror}.",
            code="bundle.incomplete",
            hint="The bundle did not arrive whole: copy it again.",
        ) from err
