"""Looking whether a repository that a connection told of holds a recipe; the fetcher alone speaks to it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import FarmError
from buildfarm.farm import claims
from buildfarm.farm.model import Task
from buildfarm.farm.rules import State
from buildfarm.recipes.load import load_recipes
from buildfarm.scm.offered.model import OfferedRepository
from buildfarm.sources.contract import FetchLimits, FetchRequest, Snapshot
from buildfarm.sources.credentials import take_credential
from buildfarm.sources.fetcher import fetch_snapshot

#: Nobody has asked for this repository yet, so it may cost less than a source's.
_LIMITS = FetchLimits(seconds=120, bytes=512 << 20)


@dataclass(frozen=True)
class Looker:
    """Looks at repositories under the claim `task` = (id, attempt)."""

    database: Database
    settings: Settings
    task: tuple[str, int]
    fetch: Callable[[FetchRequest, Path], Snapshot] = fetch_snapshot

    def look(self, offer_id: str) -> None:
        """Fetch what was pushed last, and note what is in it.

        Raises:
            StaleAttempt: the claim is no longer held; another worker looks.
        """
        with self.database.begin() as session:
            claims.heartbeat(session, Task, *self.task)
            offer = session.get(OfferedRepository, offer_id)
            if offer is None:  # its connection was removed
                claims.finish(session, Task, *self.task, State.SUCCEEDED)
                return
            folder = self.settings.mirrors_dir / offer.id
            request = FetchRequest(
                url=offer.url,
                ref=offer.ref,
                mirror_dir=folder,
                allow_file=self.settings.sources_allow_file,
                private_hosts=self.settings.sources_private_hosts,
                credential=take_credential(session, offer.connection_id),
                limits=_LIMITS,
            )
        recipes, problem = [], None
        try:
            recipes = self._written(request)
        except FarmError as err:
            problem = f"{err.message} {err.hint}".strip()
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        with self.database.begin() as session:
            claims.finish(session, Task, *self.task, State.SUCCEEDED)
            offer = session.get(OfferedRepository, offer_id)
            if offer is None:
                return
            offer.looked_at, offer.recipes, offer.problem = clock.now(), recipes, problem
            if offer.state == "waiting":  # nobody has decided meanwhile
                offer.state = "unreadable" if problem else "offered" if recipes else "plain"

    def _written(self, request: FetchRequest) -> list[str]:
        """The names of the recipes that somebody wrote; the default of any project is none."""
        into = request.mirror_dir / "offered.tar"
        into.unlink(missing_ok=True)  # of a look that was killed
        snapshot = self.fetch(request, into)
        return [recipe.name for recipe in load_recipes(snapshot.files) if recipe.origins]
