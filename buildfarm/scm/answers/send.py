"""Telling one SCM host what waits for it, in order; one worker at a time, by its task's claim.

Each answer is sent and then noted as sent. A worker that dies between the two leaves it waiting, and it is
sent once more: a status that the SCM has already changes nothing there, a comment is found by its text.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

from sqlalchemy import select, update

from buildfarm import clock, log
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, ExternalFailure, FarmError, NotFound
from buildfarm.farm import claims
from buildfarm.farm.model import Build, Task
from buildfarm.farm.rules import State
from buildfarm.scm.answers.model import Answer, AnswerComment
from buildfarm.scm.answers.pause import end_pauses, is_spent, pause, paused
from buildfarm.scm.forges.access import opened, opening
from buildfarm.scm.forges.faults import away
from buildfarm.scm.forges.port import Forge, Outcome, Status
from buildfarm.sources.model import PullRequest, Source

_log = log.get(__name__)
#: What the SCM says of the source's token, not of one answer: all others would end the same.
_OF_SOURCE = frozenset({"forge.token_refused", "forge.not_allowed", "forge.moved", "forge.no_token"})
#: Answers of one task; the next one goes on.
_BATCH = 200


@dataclass
class Sender:
    """Empties the outbox of one host under the claim `task` = (id, attempt)."""

    database: Database
    public_url: str
    host: str
    task: tuple[str, int]
    _forges: dict[str, Forge] = field(default_factory=dict)
    _open: ExitStack = field(default_factory=ExitStack)

    def run(self) -> None:
        """Send until nothing waits, or the host is to be left alone.

        Raises:
            StaleAttempt: the claim is no longer held; what was sent is noted, or will be sent once more.
        """
        with self._open:
            for _ in range(_BATCH):
                if (answer := self._next()) is None or not self._settle(answer):
                    break
        with self.database.begin() as session:
            claims.finish(session, Task, *self.task, State.SUCCEEDED)

    def _next(self) -> Answer | None:
        with self.database.begin() as session:
            claims.heartbeat(session, Task, *self.task)
            left_alone = paused(session)
            if self.host in left_alone or is_spent(session, self.host):
                return None
            return session.scalars(
                select(Answer)
                .where(Answer.host == self.host, Answer.state == "waiting")
                .where(Answer.source_id.not_in(left_alone))
                .order_by(Answer.id)
                .limit(1)
            ).first()

    def _settle(self, answer: Answer) -> bool:
        """Send one, and note what came of it; whether the host may be told more."""
        try:
            remote_id = self._send(answer)
        except ExternalFailure as err:
            if not err.code.startswith("forge."):
                raise  # the farm's own database
            self._leave_alone(self.host, err)
            return False
        except (Conflict, NotFound) as err:
            if err.code in _OF_SOURCE and answer.kind == "status":
                self._leave_alone(answer.source_id, err)
            else:
                self._note(answer, "refused", error=str(err))
            return True
        except Exception:  # noqa: BLE001 - what nobody foresaw must not be met anew every two seconds
            _log.exception("answer.not_read", answer=answer.id)
            self._leave_alone(self.host, away("What it answered cannot be read"))
            return False
        self._note(answer, "sent", remote_id=remote_id)
        return True

    def _send(self, answer: Answer) -> str | None:
        forge = self._forge(answer.source_id)
        if answer.kind == "reply":
            return forge.comment(str(answer.request), answer.text, None)
        if answer.kind == "comment":
            for request in self._requests(forge, answer):
                self._comment(forge, answer, request)
            return None
        status = Status(
            answer.commit, answer.ref, answer.context, Outcome(answer.outcome), answer.description,
            self.public_url.rstrip("/") + answer.path, answer.text,
        )  # fmt: skip
        with self.database.read() as session:
            known = session.scalars(
                select(Answer.remote_id)
                .where(Answer.build_id == answer.build_id, Answer.context == answer.context)
                .where(Answer.commit == answer.commit, Answer.remote_id.is_not(None))
                .order_by(Answer.id.desc())
            ).first()
        return forge.set_status(status, known)

    def _requests(self, forge: Forge, answer: Answer) -> Sequence[str]:
        """The requests that the answer is meant for: the one that was built, or those of the commit."""
        of_build = select(PullRequest.number).join(Build, Build.pull_request_id == PullRequest.id)
        with self.database.read() as session:
            number = session.scalar(of_build.where(Build.id == answer.build_id))
        return [str(number)] if number else forge.requests_of(answer.commit)

    def _comment(self, forge: Forge, answer: Answer, request: str) -> None:
        key = (answer.source_id, answer.context, request)
        with self.database.read() as session:
            stands = session.get(AnswerComment, key)
        comment_id = forge.comment(request, answer.text, stands.comment_id if stands else None)
        with self.database.begin() as session:
            row = session.get(AnswerComment, key) or AnswerComment(
                source_id=answer.source_id, context=answer.context, request=request
            )
            row.comment_id = comment_id
            session.add(row)

    def _forge(self, source_id: str) -> Forge:
        if source_id not in self._forges:
            with self.database.begin() as session:
                what = opening(session, session.get_one(Source, source_id))
            self._forges[source_id] = self._open.enter_context(opened(what))
        return self._forges[source_id]

    def _leave_alone(self, key: str, err: FarmError) -> None:
        with self.database.begin() as session:
            claims.heartbeat(session, Task, *self.task)
            until = pause(session, key, err)
        _log.warning("answers.paused", key=key, code=err.code, until=clock.iso_seconds(until))

    def _note(
        self, answer: Answer, state: str, *, remote_id: str | None = None, error: str | None = None
    ) -> None:
        with self.database.begin() as session:
            claims.heartbeat(session, Task, *self.task)
            session.execute(
                update(Answer)
                .where(Answer.id == answer.id, Answer.state == "waiting")
                .values(state=state, settled_at=clock.now(), remote_id=remote_id, error=error)
            )
            # A refusal is an answer too: the host is there, and takes the source's token.
            end_pauses(session, answer.host, answer.source_id)
        _log.info(f"answer.{state}", answer=answer.id, build_id=answer.build_id, error=error)
