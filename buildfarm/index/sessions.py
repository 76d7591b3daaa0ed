"""Upload sessions (PEP 694): the files of a release are staged, tried out, and published at once.

Who may upload to the project is asked anew at every request. A session belongs to its project, not to the
credential that made it; only a project that is new here is its creator's until it is published.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access.rules import Principal
from buildfarm.errors import Conflict, NotFound
from buildfarm.ids import new_id
from buildfarm.index import channels, names
from buildfarm.index.reception import Arrival, Reception
from buildfarm.index.session_model import UploadFile, UploadSession
from buildfarm.index.spelling import normal_name, version_key
from buildfarm.index.statements import Proof
from buildfarm.storage.staging import Staging
from buildfarm.wheels.facts import FileFacts

#: How long a session may live in all, however often it is extended.
_LONGEST = timedelta(days=30)
#: How long the end of a session can still be asked for.
_KEPT = timedelta(days=7)


class LiveElsewhere(Conflict):
    """The release is being put together already; `token` leads there."""

    def __init__(self, session: UploadSession) -> None:
        super().__init__(
            f"An upload session for {session.project} {session.version} is open already.",
            code="session.exists",
            hint="Its address is in the Location header: use it, or cancel it.",
        )
        self.token = session.token


@dataclass(frozen=True)
class Sessions:
    """The use cases; may be shared by threads."""

    reception: Reception
    staging: Staging

    def create(self, channel: str, principal: Principal, name: str, version: str) -> UploadSession:
        """Open a session for a release.

        Raises:
            InvalidInput: `project.name`, `version.invalid`.
            LiveElsewhere: `session.exists`.
            Forbidden, Conflict, ExternalFailure: as `Reception.demand_name`; `channel.not_durable`.
        """
        project, key, spelt = normal_name(name), version_key(version), str(Version(version))
        alike = self.reception.demand_name(principal, project)
        now = clock.now()
        made = UploadSession(
            id=new_id("ups"),
            token=secrets.token_urlsafe(24),
            channel=channel,
            project=project,
            version=spelt,
            key=key,
            creator=principal.id,
            status="open",
            notices=[f"The name {project} looks like {', '.join(alike)}."] if alike else [],
            created_at=now,
            expires_at=now + timedelta(seconds=self.reception.settings.index.session_s),
        )
        try:
            with self.reception.database.begin() as session:
                channels.hold_durable(session, channel)
                names.demand_publishable(session, principal, project)
                session.add(made)
        except IntegrityError as err:
            with self.reception.database.read() as session:
                live = select(UploadSession).where(
                    UploadSession.channel == channel,
                    UploadSession.project == project,
                    UploadSession.key == key,
                    UploadSession.status == "open",
                )
                if found := session.scalars(live).first():
                    raise LiveElsewhere(found) from err
            raise
        return self.get(channel, principal, made.token)

    def get(self, channel: str, principal: Principal, token: str) -> UploadSession:
        """One session, for somebody who may upload to its project.

        Raises:
            NotFound: `session.unknown`.
            Forbidden, Conflict: as `names.demand_publishable`.
        """
        with self.reception.database.read() as session:
            found = _by_token(session, channel, token)
            names.demand_publishable(session, principal, found.project)
            return found

    def extend(self, channel: str, principal: Principal, token: str, seconds: float) -> UploadSession:
        """Let a session live longer, up to a bound; asking for more than that is no error."""
        with self.reception.database.begin() as session:
            held = hold(session, channel, principal, token)
            wanted = held.expires_at + timedelta(seconds=max(0.0, min(seconds, _LONGEST.total_seconds())))
            held.expires_at = max(held.expires_at, min(wanted, held.created_at + _LONGEST))
        return self.get(channel, principal, token)

    def cancel(self, channel: str, principal: Principal, token: str) -> None:
        """End a session without publishing; what was staged is gone."""
        with self.reception.database.begin() as session:
            held = hold(session, channel, principal, token)
            _end(held, "canceled")
            staged = [file.id for file in held.files]
        self._drop(staged)

    def publish(self, channel: str, principal: Principal, token: str) -> int | None:
        """Make every file of a session visible at once; the journal serial.

        Raises:
            Conflict: `session.unfinished`, a file is not completed; `session.empty`; `session.ended`;
                `session.changed`, files came or went meanwhile; `file.exists`, a name was taken meanwhile.
        """
        desk = self.reception
        found = self.get(channel, principal, token)
        _demand_open(found)
        files = [file for file in found.files if file.status != "canceled"]
        if unfinished := [file for file in files if file.status != "completed"]:
            raise Conflict(
                f"{unfinished[0].filename} is {unfinished[0].status}, not completed.",
                code="session.unfinished",
                hint="Complete or delete it first.",
                errors=[{"source": file.filename, "message": file.status} for file in unfinished],
            )
        if not files:
            raise Conflict("The session has no file to publish.", code="session.empty")
        desk.demand_name(principal, found.project)
        arrivals = [self._arrival(file) for file in files]

        def also(session: Session) -> None:
            held = hold(session, channel, principal, token)
            now = {(file.id, file.status) for file in held.files if file.status != "canceled"}
            if now != {(file.id, "completed") for file in files}:
                raise _changed()
            _end(held, "published")

        serial = desk.admit(channel, principal, arrivals, also=also)
        self._drop(file.id for file in files)
        return serial

    def expire(self) -> int:
        """Cancel sessions that are over, forget long ended ones, let go of their bytes; how many ended."""
        now = clock.now()
        with self.reception.database.begin() as session:
            late = session.scalars(
                select(UploadSession).where(UploadSession.status == "open", UploadSession.expires_at < now)
            ).all()
            for one in late:
                _end(one, "canceled")
            old = session.scalars(select(UploadSession).where(UploadSession.ended_at < now - _KEPT)).all()
            for one in old:
                for file in one.files:
                    session.delete(file)
                session.flush()
                session.delete(one)
        # Listed before rows are read: a file's row is committed before its bytes come.
        staged = self.staging.names()
        with self.reception.database.read() as session:
            live = select(UploadFile.id).join(UploadSession, UploadSession.id == UploadFile.session_id)
            wanted = live.where(UploadSession.status == "open", UploadFile.status != "canceled")
            self._drop(staged - set(session.scalars(wanted)))
        return len(late)

    def _arrival(self, file: UploadFile) -> Arrival:
        facts = FileFacts.from_json(file.facts or "")
        proof: Proof | None = None
        if file.attestations:
            # Again: a root that was believed when the file came may be believed no more.
            proof = self.reception.statements.prove(file.attestations, file.filename, facts.sha256)
        path = self.staging.path(file.id)
        if not path.is_file():
            raise _changed()
        self.reception.blobs.take(path, facts.sha256)
        return Arrival(facts, proof)

    def _drop(self, names: Iterable[str]) -> None:
        for name in names:
            self.staging.drop(name)


def hold(session: Session, channel: str, principal: Principal, token: str) -> UploadSession:
    """A session that nobody else changes until the transaction ends; it is open.

    Raises:
        NotFound: `session.unknown`.
        Conflict: `session.ended`.
        Forbidden, Conflict: as `names.demand_publishable`.
    """
    found = _by_token(session, channel, token)
    held = session.get_one(UploadSession, found.id, with_for_update=True, populate_existing=True)
    names.demand_publishable(session, principal, held.project)
    _demand_open(held)
    return held


def previewed(session: Session, channel: str, token: str) -> UploadSession:
    """The open session that a preview's address names; to know it is the right to look.

    Raises:
        NotFound: `session.unknown`.
    """
    found = _by_token(session, channel, token)
    if found.status != "open" or found.expires_at < clock.now():
        raise _unknown()
    return found


def _by_token(session: Session, channel: str, token: str) -> UploadSession:
    known = select(UploadSession).where(UploadSession.token == token, UploadSession.channel == channel)
    found = session.scalars(known).first()
    if found is None:
        raise _unknown()
    return found


def _demand_open(found: UploadSession) -> None:
    if found.status != "open" or found.expires_at < clock.now():
        state = found.status if found.status != "open" else "over"
        raise Conflict(f"The upload session is {state}.", code="session.ended", hint="Open a new one.")


def _end(found: UploadSession, status: str, at: datetime | None = None) -> None:
    found.status, found.ended_at = status, at or clock.now()


def _changed() -> Conflict:
    return Conflict("The files of the session changed meanwhile.", code="session.changed")


def _unknown() -> NotFound:
    return NotFound("There is no such upload session.", code="session.unknown")
