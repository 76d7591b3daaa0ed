"""What every way of uploading does with files: check them, ask whose the name is, make them visible.

Name, version and metadata are read from the archive; a file name means one digest for ever; several
files become visible together or not at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access.rules import Principal
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict
from buildfarm.index import agreement, channels, names, shadows
from buildfarm.index.files import demand_free, release_of
from buildfarm.index.model import ChannelEntry, File
from buildfarm.index.statements import Proof, Statements
from buildfarm.journal.record import record
from buildfarm.mirror.upstream import Upstream
from buildfarm.storage.blobs import Blobs
from buildfarm.wheels.facts import Expectation, FileFacts
from buildfarm.wheels.validate import validate_in_sandbox


@dataclass(frozen=True)
class Arrival:
    """A checked file whose bytes are in the blob store."""

    facts: FileFacts
    proof: Proof | None = None


@dataclass(frozen=True)
class Reception:
    """Takes files in; may be shared by threads."""

    database: Database
    blobs: Blobs
    upstream: Upstream
    statements: Statements
    settings: Settings

    def check(
        self, path: Path, filename: str, *, project: str, version: str | None, digests: Mapping[str, str]
    ) -> FileFacts:
        """What the file is, once every rule holds and every digest that came along agrees.

        Raises:
            InvalidInput, LimitExceeded: `file.<rule>`.
            ExternalFailure: `file.v-01`, the check crashed or ran out of time.
        """
        expectation = Expectation(
            filename=filename,
            project=project,
            version=version,
            max_bytes=self.settings.limits.upload_bytes,
            origin="upload",
            waived=frozenset(self.settings.validation.waived),
            digests=dict(digests),
        )
        return validate_in_sandbox(path, expectation)

    def demand_name(self, principal: Principal, name: str) -> list[str]:
        """Refuse a name that is not the uploader's to publish; returns the names it looks like.

        Raises:
            Forbidden, Conflict: as `names.demand_publishable`; `project.upstream`, it is not ours;
                `project.looks_like`, where the settings refuse that.
            ExternalFailure: `mirror.unreachable`, nobody can say whose the name is.
        """
        with self.database.read() as session:
            is_settled = names.demand_publishable(session, principal, name)
            alike = names.similar(session, name)
            is_refused = bool(
                alike and self.settings.index.refuse_lookalikes and not names.is_local(session, name)
            )
        if not is_settled and self.upstream.rows(name) is not None:
            raise Conflict(
                f"The project {name} exists on the upstream index and is not ours.",
                code="project.upstream",
                hint="If it should be, an administrator uploads its first file; from then on it is.",
            )
        if is_refused:
            raise Conflict(
                f"The name {name} looks like {alike[0]}.",
                code="project.looks_like",
                hint=f"If both are meant to be: buildfarm project add {name}",
            )
        return alike

    def admit(
        self,
        channel: str,
        principal: Principal,
        arrivals: Sequence[Arrival],
        *,
        also: Callable[[Session], None] = lambda _session: None,
    ) -> int | None:
        """Make files of one release visible in a channel, all at once.

        `also` is done first in the same transaction. Returns the journal serial; None when every file
        was there already.

        Raises:
            Conflict: `file.exists`, `file.withdrawn`, `channel.not_durable`.
            Forbidden, Conflict: as `names.demand_publishable`.
        """
        sides = {arrival.facts.filename: self._sides(arrival) for arrival in arrivals}
        try:
            return self._admit(channel, principal, arrivals, sides, also)
        except IntegrityError:
            # The same name came twice at once: the other one decides what it means.
            return self._admit(channel, principal, arrivals, sides, also)

    def _sides(self, arrival: Arrival) -> dict[str, str]:
        sides = {"metadata_sha256": self.blobs.put_bytes(arrival.facts.metadata)}
        if arrival.proof:
            if arrival.proof.bundle:
                sides["bundle_sha256"] = self.blobs.put_bytes(arrival.proof.bundle)
            sides["provenance_sha256"] = self.blobs.put_bytes(arrival.proof.provenance)
        return sides

    def _admit(
        self,
        channel: str,
        principal: Principal,
        arrivals: Sequence[Arrival],
        sides: Mapping[str, Mapping[str, str]],
        also: Callable[[Session], None],
    ) -> int | None:
        with self.database.begin() as session:
            channels.hold_durable(session, channel)
            also(session)
            for project in {arrival.facts.project for arrival in arrivals}:
                names.demand_publishable(session, principal, project)
            fresh: list[FileFacts] = []
            rows: list[File] = []
            for facts in (arrival.facts for arrival in arrivals):
                known = session.get(File, facts.filename)
                demand_free(known, facts.sha256)
                if known and is_inside(session, channel, facts.filename):
                    continue
                names.add_local(session, facts.project, facts.display_name, actor=principal.id)
                if known is None:
                    row = _row(session, facts, sides[facts.filename])
                    session.add(row)
                    session.flush()
                    shadows.note(session, row, facts)
                    rows.append(row)
                fresh.append(facts)
            agreement.note(session, self.blobs, rows)
            if fresh:
                record(
                    session,
                    "upload",
                    project=fresh[0].project,
                    version=fresh[0].version,
                    channel=channel,
                    files=[{"filename": facts.filename, "sha256": facts.sha256} for facts in fresh],
                    actor=principal.id,
                    on_serial=channels.entering(session, channel, [facts.filename for facts in fresh]),
                )
        return int(session.info["serial"]) if fresh else None


def is_inside(session: Session, channel: str, filename: str) -> bool:
    """Whether the channel shows a file of this name now."""
    live = select(ChannelEntry.since).where(
        ChannelEntry.channel == channel, ChannelEntry.filename == filename, ChannelEntry.until.is_(None)
    )
    return session.execute(live).first() is not None


def _row(session: Session, facts: FileFacts, sides: Mapping[str, str]) -> File:
    file = File(
        filename=facts.filename,
        release_id=release_of(session, facts).id,
        sha256=facts.sha256,
        size=facts.size,
        requires_python=facts.requires_python,
        uploaded_at=clock.now(),
        **sides,
    )
    file.note_accepted(facts)
    return file
