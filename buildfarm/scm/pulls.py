"""Pull requests as deliveries tell of them: noted, built when they may be, approved by people, over."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import Conflict
from buildfarm.farm import builds
from buildfarm.farm import pulls as farm_pulls
from buildfarm.farm.model import Build
from buildfarm.ids import new_id
from buildfarm.journal.record import record
from buildfarm.scm.answers.note import note_waiting
from buildfarm.scm.port import Event
from buildfarm.scm.reasons import Reason
from buildfarm.sources import pulls
from buildfarm.sources.model import Approval, PullRequest, Source
from buildfarm.sources.pulls import Policy
from buildfarm.sources.rules import checked_commit

#: The trigger of builds that a person let begin.
TRIGGER = "approval"
#: The trigger of builds that a comment asked for.
BY_COMMENT = "comment"
_OVER = "The pull request is over."
#: The source builds no such requests today, and may tomorrow.
_BY_POLICY = frozenset({Reason.PULL_REQUEST_NOT_BUILT, Reason.PULL_REQUEST_OF_FORK})
_WAITS = "A maintainer must approve this commit before it is built."


@dataclass(frozen=True)
class Taken:
    """What became of an event of a pull request: its row, why nothing is built, the builds that ended."""

    row: PullRequest | None = None
    reason: Reason | None = None
    ended: list[str] = field(default_factory=list)


def take(session: Session, source: Source, event: Event, reason: Reason | None, now: datetime) -> Taken:
    """Note what an event tells of a pull request; `reason` is why the source builds nothing, if so."""
    asked = event.pull_request
    if asked is None or reason is Reason.OTHER_REPOSITORY:
        return Taken(reason=reason)
    row = pulls.find(session, source.id, asked.number)
    if asked.action == "closed":
        return Taken(row, reason, close(session, row, now) if row else [])
    if reason and reason not in _BY_POLICY:
        return Taken(row, reason)
    if row and row.closed_at and asked.action == "updated":
        # It was told late: what is over begins again when it is opened again.
        return Taken(row, reason or Reason.PULL_REQUEST_CLOSED)
    row = _noted(session, source, event, row, now)
    if reason:
        return Taken(row, reason)
    reason = why_not(row, event)
    if reason and event.commit:
        note_waiting(session, source, event.commit, row.ref, _WAITS)
    return Taken(row, reason)


def of_event(session: Session, source: Source, event: Event) -> PullRequest | None:
    """The pull request that an event is of, as far as one is known."""
    asked = event.pull_request
    return pulls.find(session, source.id, asked.number) if asked else None


def why_not(row: PullRequest | None, event: Event) -> Reason | None:
    """Why a commit of a pull request may not be built now; None when it may, or the event is of none."""
    if event.pull_request is None:
        return None
    if row is None or row.closed_at:
        return Reason.PULL_REQUEST_CLOSED
    needs_approval = row.is_fork and not pulls.is_approved(row, event.commit)
    return Reason.PULL_REQUEST_NEEDS_APPROVAL if needs_approval else None


def close(session: Session, row: PullRequest, now: datetime) -> list[str]:
    """End a pull request: its builds now, their ids; its stage at the keeper's next round."""
    # A build that is being published sees the end, or is seen.
    session.refresh(row, with_for_update=True)
    row.closed_at = row.closed_at or now
    row.stage_until = now if row.stage else None
    return farm_pulls.call_off(session, row.id, _OVER)


def approve(session: Session, source: Source, number: int, commit: str, *, actor: str) -> Build:
    """Let one commit of a fork be built, and begin.

    Raises:
        NotFound: `pull_request.unknown`.
        InvalidInput: `source.commit_refused`, it is no full commit id: others begin with the same digits.
        Conflict: `pull_request.closed`, `pull_request.own`, `pull_request.approved`; `pull_request.moved`,
            its head is another commit; `pull_request.not_built`, the source does not build those of forks.
    """
    checked_commit(commit)
    builds.hold_source(session, source.id)
    row = pulls.get(session, source.id, number)
    _demand_approvable(source, row, commit)
    row.approvals.append(Approval(commit=commit, actor=actor, approved_at=clock.now()))
    record(
        session, "pull_request.approve", source=source.id, number=number, commit=commit,
        head_repository=row.head_repository, actor=actor,
    )  # fmt: skip
    build = builds.start(
        session, source, ref=row.ref, commit=commit, trigger=TRIGGER, actor=actor, title=row.title,
        pull_request=row,
    )  # fmt: skip
    builds.supersede(session, build, {})
    return build


def build_again(session: Session, source: Source, number: int, *, actor: str) -> Build:
    """Build what a pull request holds now, or of a fork the last commit that it is known to hold.

    Raises:
        NotFound: `pull_request.unknown`.
        Conflict: `pull_request.closed`; `pull_request.not_built`, by the source's policy;
            `pull_request.needs_approval`.
    """
    builds.hold_source(session, source.id)
    row = pulls.get(session, source.id, number)
    if row.closed_at:
        raise Conflict(f"Pull request {number} is over.", code="pull_request.closed")
    _demand_built(source, row)
    if row.is_fork and not pulls.is_approved(row, row.head):
        raise Conflict(
            f"Nobody has approved {row.head} of pull request {number}, which comes from a fork.",
            code="pull_request.needs_approval",
            hint=f"Look at the change, then write `/buildfarm approve {row.head}`.",
        )
    build = builds.start(
        session, source, ref=row.ref, commit=row.head if row.is_fork else None, trigger=BY_COMMENT,
        actor=actor, title=row.title, pull_request=row, fresh=True,
    )  # fmt: skip
    builds.supersede(session, build, {})
    return build


def _demand_built(source: Source, row: PullRequest) -> None:
    wanted = Policy.APPROVED if row.is_fork else Policy.OWN
    if source.pull_requests not in {wanted, Policy.APPROVED}:
        raise Conflict(
            f"The source {source.name} builds no pull requests{' of forks' if row.is_fork else ''}.",
            code="pull_request.not_built",
            hint=f"buildfarm source follow {source.name} --pull-requests {wanted}",
        )


def _demand_approvable(source: Source, row: PullRequest, commit: str) -> None:
    what = f"Pull request {row.number}"
    if row.closed_at:
        raise Conflict(f"{what} is over.", code="pull_request.closed")
    if not row.is_fork:
        raise Conflict(
            f"{what} comes from a branch of the repository itself and needs no approval.",
            code="pull_request.own",
        )
    _demand_built(source, row)
    if pulls.is_approved(row, commit):
        raise Conflict(f"{commit} was approved already.", code="pull_request.approved")
    if row.head != commit:
        raise Conflict(
            f"The head of pull request {row.number} is {row.head}, not {commit}.",
            code="pull_request.moved",
            hint="Somebody pushed meanwhile. Look at what is there now, and approve that.",
        )


def _noted(
    session: Session, source: Source, event: Event, row: PullRequest | None, now: datetime
) -> PullRequest:
    asked = event.pull_request
    assert asked is not None  # noqa: S101 - of this kind alone
    if row is None:
        row = PullRequest(id=new_id("pul"), source_id=source.id, number=asked.number, is_fork=False)
        row.opened_at, row.closed_at, row.approvals = now, None, []
        session.add(row)
    if row.closed_at:
        row.opened_at, row.closed_at = now, None
    row.ref, row.base, row.head = event.ref, asked.base, event.commit
    # Once strangers could write there it stays theirs, whatever a later delivery says.
    row.is_fork = row.is_fork or asked.from_fork
    row.head_repository = asked.head_repository
    row.title, row.author = asked.title[:500] or None, event.actor
    session.flush()
    return row
