"""What the door of a build would show now: the pages of the index, the documents of the registries."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence

from sqlalchemy import or_, select

from buildfarm.db.engine import Database
from buildfarm.errors import NotFound
from buildfarm.index.buildview import BuildView
from buildfarm.index.model import File
from buildfarm.mirror.crates import Crates
from buildfarm.mirror.gomodules import GoModules
from buildfarm.mirror.model import RegistryFile, UpstreamFile
from buildfarm.sandbox.inside import door

#: Where crates are downloaded, as a build sees it.
CRATE_FILES = f"{door.URL}/crates/files"


class BuildDoor:
    """Answers of the index for comparison; what a build reads comes the same way."""

    def __init__(self, database: Database, view: BuildView, crates: Crates, go_modules: GoModules) -> None:
        self._database, self._view, self._crates, self._go_modules = database, view, crates, go_modules

    def digest(self, ecosystem: str, asked: str, granted: Sequence[str]) -> str:
        """The SHA-256 of what a build would be shown; empty when there is nothing of that name.

        Raises:
            FarmError: upstream is away, or the farm has no such registry.
        """
        try:
            shown = self._shown(ecosystem, asked, granted)
        except NotFound:
            return ""
        return digest_of(shown)

    def takes_back(self, filenames: Iterable[str]) -> bool:
        """Whether one of these files, which builds were served, was refused or withdrawn since."""
        names = list(filenames)
        upstream = select(UpstreamFile.filename).where(
            UpstreamFile.filename.in_(names), UpstreamFile.refused.is_not(None)
        )
        own = select(File.filename).where(
            File.filename.in_(names), or_(File.refused.is_not(None), File.withdrawn_at.is_not(None))
        )
        with self._database.read() as session:
            return any(session.execute(query.limit(1)).first() for query in (upstream, own))

    def _shown(self, ecosystem: str, asked: str, granted: Sequence[str]) -> str | bytes | RegistryFile:
        if ecosystem == "cargo":
            return self._crates.index(asked, CRATE_FILES)
        return self._go_modules.get(asked) if ecosystem == "golang" else self._view.page(asked, granted)


def digest_of(shown: str | bytes | RegistryFile) -> str:
    """The SHA-256 by which an answer is known; a file's is its own."""
    if isinstance(shown, RegistryFile):
        return shown.sha256
    return hashlib.sha256(shown.encode() if isinstance(shown, str) else shown).hexdigest()
