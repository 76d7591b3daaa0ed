"""The one place that joins ports to adapters: settings in, a farm out.

An adapter is imported when it is first asked for, so that a process pays at its start for what it uses:
the page follower knows no RQ, and `up` neither RQ nor the mirror.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from buildfarm import tables  # noqa: F401 - every table must be known before the first query
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.index.visible import Visibility
from buildfarm.journal.bell import Bell
from buildfarm.journal.record import append_recorded
from buildfarm.scm.answers.note import noting
from buildfarm.storage.blobs import Blobs

if TYPE_CHECKING:
    from buildfarm.farm.queue import Queues
    from buildfarm.index.admission import Admission
    from buildfarm.index.builddoor import BuildDoor
    from buildfarm.index.buildview import BuildView
    from buildfarm.index.exporting import Exporter
    from buildfarm.index.guarded import Guard
    from buildfarm.index.importing import Importer
    from buildfarm.index.mirrored import Mirrored
    from buildfarm.index.pinnedview import PinnedView
    from buildfarm.index.reception import Reception
    from buildfarm.index.recheck import Recheck
    from buildfarm.index.sessions import Sessions
    from buildfarm.index.statements import Statements
    from buildfarm.index.supplements import Supplementer
    from buildfarm.index.upload import Uploader
    from buildfarm.index.wheel_rules import WheelRules
    from buildfarm.mirror.crates import Crates
    from buildfarm.mirror.gomodules import GoModules
    from buildfarm.mirror.upstream import Upstream
    from buildfarm.trust.client import SignerClient


@dataclass(frozen=True)
class Farm:
    """What use cases are handed: settings and the outside world behind them."""

    settings: Settings
    database: Database
    blobs: Blobs

    @cached_property
    def bell(self) -> Bell:
        """Rung for this host's page follower."""
        return Bell(self.settings.bell)

    @cached_property
    def visibility(self) -> Visibility:
        """For writers that wait until their change is on the pages."""
        return Visibility(self.database, self.bell, self.settings.timing.visible_s)

    @cached_property
    def queues(self) -> Queues:
        """The control queues; connects at first use."""
        from buildfarm.farm.queue import Queues

        return Queues(self.settings.redis)

    @cached_property
    def signer(self) -> SignerClient:
        """The signer's socket: for the worker that publishes, and for a rotation of keys."""
        from buildfarm.trust.client import SignerClient

        return SignerClient(Path(self.settings.signer_socket))

    @cached_property
    def admission(self) -> Admission:
        """Promotes what verifies."""
        from buildfarm.index.admission import Admission
        from buildfarm.trust import root

        path = self.settings.trust_dir / root.TRUSTED_ROOT
        return Admission(self.blobs, path, self.settings.public_url)

    @cached_property
    def build_view(self) -> BuildView:
        """The index as builds see it."""
        from buildfarm.index.buildview import BuildView

        return BuildView(self.database, self.blobs, self.upstream, self.settings.public_url)

    @cached_property
    def build_door(self) -> BuildDoor:
        """What builds would be shown now."""
        from buildfarm.index.builddoor import BuildDoor

        return BuildDoor(self.database, self.build_view, self.crates, self.go_modules)

    def view_of(self, job_id: str, attempt: int) -> PinnedView:
        """The index as it was for one attempt."""
        from buildfarm.index.pinnedview import PinnedView

        return PinnedView(self.database, self.blobs, self.upstream, job_id=job_id, attempt=attempt)

    @cached_property
    def uploader(self) -> Uploader:
        """Takes files that were made elsewhere."""
        from buildfarm.index.upload import Uploader

        return Uploader(self.reception)

    @cached_property
    def statements(self) -> Statements:
        """Whose attestations are believed."""
        from buildfarm.index.statements import Statements
        from buildfarm.trust import public, root

        index = self.settings.index
        believed = tuple(
            public.Believed(one.issuer, one.identity, one.projects) for one in index.attestation_identities
        )
        own = self.settings.trust_dir / root.TRUSTED_ROOT
        return Statements(
            own, index.attestation_roots, self.settings.public_url, index.sigstore_root, believed
        )

    @cached_property
    def reception(self) -> Reception:
        """What every way of uploading does with files."""
        from buildfarm.index.reception import Reception

        return Reception(self.database, self.blobs, self.upstream, self.statements, self.settings)

    @cached_property
    def recheck(self) -> Recheck:
        """Looks at stored files again when the rules have changed."""
        from buildfarm.index.recheck import Recheck

        return Recheck(self.database, self.blobs, self.settings)

    @cached_property
    def sessions(self) -> Sessions:
        """Upload sessions."""
        from buildfarm.index.sessions import Sessions
        from buildfarm.storage.staging import Staging

        return Sessions(self.reception, Staging(self.settings.staged_dir))

    @cached_property
    def guard(self) -> Guard:
        """What of upstream's pages the mirror channels show."""
        from buildfarm.index.guarded import Guard
        from buildfarm.mirror.licences import Licences

        licences = Licences(self.database, self.upstream.metadata)
        return Guard(self.database, licences, self.upstream.pages.every)

    @cached_property
    def mirrored(self) -> Mirrored:
        """Mirror and union channels, made when somebody asks."""
        from buildfarm.index.mirrored import Mirrored

        return Mirrored(self.database, self.blobs, self.upstream, self.guard, self.settings)

    @cached_property
    def exporter(self) -> Exporter:
        """Composes bundles for isolated sites."""
        from buildfarm.index.exporting import Exporter

        return Exporter(self.database, self.blobs, self.upstream, self.guard)

    @cached_property
    def importer(self) -> Importer:
        """Takes such bundles in."""
        from buildfarm.index.importing import Importer

        return Importer(self.database, self.blobs, self.upstream, self.mirrored)

    @cached_property
    def supplementer(self) -> Supplementer:
        """Starts builds of what upstream has only as source."""
        from buildfarm.index.supplements import Supplementer

        return Supplementer(self.database, self.upstream, self.guard)

    @cached_property
    def wheel_rules(self) -> WheelRules:
        """Starts such builds by rule."""
        from buildfarm.index.wheel_rules import WheelRules

        return WheelRules(self.database, self.upstream, self.guard, self.settings)

    @cached_property
    def upstream(self) -> Upstream:
        """The upstream indexes that builds read through the farm."""
        from buildfarm.mirror.upstream import Upstream

        return Upstream(self.database, self.blobs, self.settings)

    @cached_property
    def crates(self) -> Crates:
        """The crates that builds read through the farm."""
        from buildfarm.mirror.crates import Crates

        return Crates(self.database, self.blobs, self.upstream.tally, self.settings)

    @cached_property
    def go_modules(self) -> GoModules:
        """The Go modules that builds read through the farm."""
        from buildfarm.mirror.gomodules import GoModules

        return GoModules(self.database, self.blobs, self.upstream.tally, self.settings)


def farm(settings: Settings) -> Farm:
    """A farm over these settings; opens the database and the blob folder."""
    bell = Bell(settings.bell)
    note_answers = noting(settings.public_url.rstrip("/"))

    def before_commit(session: Session) -> None:
        note_answers(session)
        # The journal's lock is the shortest, so it is taken last.
        append_recorded(session)

    database = Database(settings.database_url, before_commit=before_commit, after_commit=bell.ring_for)
    return Farm(settings, database, Blobs(settings.blobs_dir))
