"""Doing what comments ask: the SCM says who may, and is told what came of it, as the ledger is."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from buildfarm import log
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, FarmError, StaleAttempt
from buildfarm.farm import claims
from buildfarm.farm.model import Build, Task
from buildfarm.farm.rules import State
from buildfarm.scm import pulls
from buildfarm.scm.answers.note import note_reply
from buildfarm.scm.commands.rules import Command, Verb
from buildfarm.scm.forges.access import opened, opening
from buildfarm.scm.kinds import reader_of
from buildfarm.scm.model import Delivery
from buildfarm.scm.port import Comment, Event
from buildfarm.scm.reasons import REMEDY, SENTENCE, Reason
from buildfarm.sources.model import Source

_log = log.get(__name__)
_HELP = (
    "Whoever may push here can write one of these as the first line of a comment:\n\n"
    "    /buildfarm build            build the head of this request again\n"
    "    /buildfarm approve COMMIT   let that commit of a fork be built; the whole id\n"
    "    /buildfarm help             this list"
)


@dataclass(frozen=True)
class _End:
    """What came of a command: why nothing is built, or the build; what is said of it."""

    said: str
    reason: Reason | None = None
    build: Build | None = None


@dataclass(frozen=True)
class Commander:
    """Does one command under the claim `task` = (id, attempt)."""

    database: Database
    public_url: str
    task: tuple[str, int]

    def perform(self, delivery_id: str) -> None:
        """Ask whether it is permitted, do it, answer.

        Raises:
            StaleAttempt: the claim is no longer held; another worker does it.
        """
        with self.database.read() as session:
            delivery = session.get_one(Delivery, delivery_id)
            source = session.get_one(Source, delivery.source_id)
            (event,) = reader_of(delivery.scm, source).parse(delivery.headers, delivery.body or b"")
        assert event.comment is not None  # noqa: S101 - the task was made for one
        reason = self._why_not(source.id, event.comment)
        try:
            self._end(delivery_id, event, reason)
        except (StaleAttempt, ExternalFailure):
            raise
        except FarmError as err:
            self._end(delivery_id, event, Reason.COMMAND_NOT_DONE, f"{err}")

    def _why_not(self, source_id: str, comment: Comment) -> Reason | None:
        """Why its author may not ask for it there; None where the SCM says that they may push."""
        if comment.request is None:
            return Reason.COMMAND_NO_REQUEST
        try:
            with self.database.begin() as session:
                what = opening(session, session.get_one(Source, source_id))
            with opened(what) as forge:
                return None if forge.may_write(comment.author) else Reason.COMMAND_NOT_PERMITTED
        except FarmError as err:
            if not err.code.startswith("forge."):
                raise  # the farm's own database
            _log.warning("command.unchecked", source=source_id, code=err.code, reason=err.message)
        except Exception:  # noqa: BLE001 - whatever an SCM answers, it is no permission
            _log.exception("command.unchecked", source=source_id)
        return Reason.COMMAND_UNCHECKED

    def _end(self, delivery_id: str, event: Event, reason: Reason | None, said: str = "") -> None:
        """Do the command unless there is a reason against it; the ledger and the SCM are told with it."""
        comment = event.comment
        assert comment is not None  # noqa: S101
        with self.database.begin() as session:
            claims.finish(session, Task, *self.task, State.SUCCEEDED)
            delivery = session.get_one(Delivery, delivery_id, with_for_update=True)
            source = session.get_one(Source, delivery.source_id)
            if reason:
                end = _End(said or f"{SENTENCE[reason]} {REMEDY[reason]}", reason)
            else:
                end = self._do(session, source, comment, actor=event.actor or comment.author)
            if end.build:
                end.build.delivery_id = delivery_id
            delivery.events[0].reason = delivery.reason = end.reason
            delivery.state = "ignored" if end.reason else "accepted"
            # A reply that says what another one says would be taken for it, and not be written.
            asked = f"[Record of this command]({self.public_url}/deliveries/{delivery_id})"
            note_reply(session, source, comment.place or 0, f"{end.said}\n\n{asked}")
        _log.info("command.done", delivery_id=delivery_id, verb=comment.command.verb, reason=end.reason)

    def _do(self, session: Session, source: Source, comment: Comment, *, actor: str) -> _End:
        number = comment.request or 0
        match comment.command:
            case Command(Verb.BUILD):
                build = pulls.build_again(session, source, number, actor=actor)
            case Command(Verb.APPROVE, commit):
                build = pulls.approve(session, source, number, commit, actor=actor)
            case Command(Verb.HELP):
                return _End(_HELP, Reason.COMMAND_ANSWERED)
            case _:
                return _End(f"There is no such command. {_HELP}", Reason.COMMAND_UNKNOWN)
        return _End(f"[Build {build.number}]({self.public_url}/builds/{build.id}) begins.", build=build)
