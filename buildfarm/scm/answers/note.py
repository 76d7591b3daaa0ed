"""Writing the outbox: in the transaction that changed a build, what its SCM is to be told of it.

Whatever changes a build or one of its jobs holds the build (`farm.builds.hold`), and whatever is held is
looked at when its transaction commits: no change can forget the SCM, and none that was rolled back is told.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.db import direct
from buildfarm.farm import builds
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.rules import Cause, State
from buildfarm.scm.answers import rules
from buildfarm.scm.answers.model import Answer
from buildfarm.scm.answers.rules import BuildFacts, JobFacts, Wanted
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.forges.port import Outcome
from buildfarm.sources.model import PullRequest, Source

#: The builds that an SCM is told of: those of a commit, and not those that repeat another one.
_TOLD = (
    select(
        Build.id, Build.number, Build.source_id, Source.name, Build.recipe_name, Build.ref, Build.commit,
        Build.state, Build.cause, Build.channel, Build.project, Build.version, Build.first_error,
        ForgeAccess.host, PullRequest.number.label("pull_request"), PullRequest.is_fork,
    )
    .join(ForgeAccess, ForgeAccess.source_id == Build.source_id)
    .join(Source, Source.id == Build.source_id)
    .outerjoin(PullRequest, PullRequest.id == Build.pull_request_id)
    .where(Build.id.in_(bindparam("builds", expanding=True)), Build.commit.is_not(None))
    .where(Build.compares_id.is_(None), Build.rebuilds_id.is_(None))
    .order_by(Build.number)
)  # fmt: skip


@dataclass(frozen=True)
class _Told:
    """A build that an SCM is told of."""

    build: BuildFacts
    source_id: str
    commit: str
    host: str


@dataclass(frozen=True)
class _Last:
    """The last status of a context: how it was, and the number of the build that it was of."""

    outcome: Outcome
    number: int


def noting(public_url: str) -> Callable[[Session], None]:
    """What a unit of work runs before it commits."""

    def note(session: Session) -> None:
        if touched := builds.take_touched(session):
            for told in _told(session, touched):
                _note(session, told, public_url)

    return note


def rehearse(session: Session) -> None:
    """Ask all that is asked of a build that is to be told of, of one that there is not.

    For `Database.rehearse`'s reason: the process that plans or publishes a build finds these queries made.
    """
    nothing = BuildFacts("", 0, "", None, "", State.QUEUED, "", None, None, None)
    _told(session, {nothing.id})
    _context(session, nothing)
    _last(session, _Told(nothing, "", "", ""))
    _jobs(session, nothing.id)


def note_waiting(session: Session, source: Source, commit: str, ref: str, sentence: str) -> None:
    """Have a commit marked as pending that waits for a person, and of which there is no build yet."""
    host = session.scalar(select(ForgeAccess.host).where(ForgeAccess.source_id == source.id))
    context = rules.roll_up(source.name, rules.OF_REQUEST)
    known = select(Answer.id).where(
        Answer.source_id == source.id, Answer.commit == commit, Answer.context == context, Answer.ref == ref
    )
    if host and session.execute(known).first() is None:
        one = Wanted(context, Outcome.PENDING, sentence, f"/sources/{source.name}#pull-requests")
        session.add(_answer("status", one, source_id=source.id, host=host, commit=commit, ref=ref))


def note_reply(session: Session, source: Source, request: int, text: str) -> None:
    """Have something said below a pull request, or an issue, where the farm has a token for the source's SCM.

    `text` is Markdown.
    """
    host = session.scalar(select(ForgeAccess.host).where(ForgeAccess.source_id == source.id))
    if host:
        said = f"**{rules.roll_up(source.name)}**: {text}\n"
        one = Wanted(rules.roll_up(source.name), Outcome.SUCCESS, "", "", said)
        answer = _answer("reply", one, source_id=source.id, host=host, commit="", ref="")
        answer.request = request
        session.add(answer)


def _told(session: Session, build_ids: set[str]) -> list[_Told]:
    rows = direct.ask(session, _TOLD, {"builds": list(build_ids)})
    return [
        _Told(
            BuildFacts(
                row.id, row.number, row.name, row.recipe_name, row.ref, State(row.state), row.channel,
                row.project, row.version, row.first_error, row.pull_request, bool(row.is_fork),
                is_left=row.state == State.CANCELLED and row.cause == Cause.POLICY,
            ),
            row.source_id, row.commit or "", row.host,
        )
        for row in rows
    ]  # fmt: skip


def _note(session: Session, told: _Told, public_url: str) -> None:
    build = told.build
    context = _context(session, build)
    last = _last(session, told)
    for one in rules.wanted(build, _jobs(session, build.id), context, public_url):
        if _is_news(last.get(one.context), build, one):
            _add(session, told, "status", one)
            if one.context == context and (note := rules.comment(build, context, public_url)):
                _add(session, told, "comment", note)


def _is_news(last: _Last | None, build: BuildFacts, one: Wanted) -> bool:
    """An older build of a commit is silent as soon as a newer one of the same ref speaks."""
    if last is None or last.number < build.number:
        return True
    return last.number == build.number and rules.is_step(last.outcome, one.outcome)


def _context(session: Session, build: BuildFacts) -> str:
    """The roll-up's name, the same for all of a build's life.

    A push with several recipes makes several builds: the one that fetched has its recipe's name only later,
    the others, which the plan made, from their first moment.
    """
    known = session.execute(
        select(Answer.context)
        .where(Answer.build_id == build.id, Answer.path == f"/builds/{build.id}")
        .order_by(Answer.id)
        .limit(1)
    ).scalar_one_or_none()
    if known:
        return known
    fetched = select(Task.id).where(Task.kind == "fetch", Task.subject == build.id)
    return rules.context_of(build, is_first=session.execute(fetched).first() is not None)


def _last(session: Session, told: _Told) -> dict[str, _Last]:
    """What was said last of the commit as this ref's: GitLab keeps statuses of each ref apart."""
    newest = (
        select(func.max(Answer.id))
        .where(Answer.source_id == told.source_id, Answer.commit == told.commit, Answer.kind == "status")
        .where(Answer.ref == told.build.ref)
        .group_by(Answer.context)
    )
    rows = session.execute(
        select(Answer.context, Answer.outcome, func.coalesce(Build.number, 0).label("number"))
        .outerjoin(Build, Build.id == Answer.build_id)
        .where(Answer.id.in_(newest))
    )
    return {row.context: _Last(Outcome(row.outcome), row.number) for row in rows}


def _jobs(session: Session, build_id: str) -> list[JobFacts]:
    rows = session.execute(
        select(
            Job.id, Job.target, Job.required, Job.state, Job.first_error, Job.error_line, Job.answered_by_id
        )
        .where(Job.build_id == build_id)
        .order_by(Job.target)
    )
    return [
        JobFacts(
            row.id, row.target, row.required, State(row.state), row.first_error, row.error_line,
            row.answered_by_id is not None,
        )
        for row in rows
    ]  # fmt: skip


def _add(session: Session, told: _Told, kind: str, one: Wanted) -> None:
    build = told.build
    where = {"source_id": told.source_id, "host": told.host, "commit": told.commit, "ref": build.ref}
    session.add(_answer(kind, one, build_id=build.id, **where))
    # A statement for each: ids must grow in this order.
    session.flush()


def _answer(kind: str, one: Wanted, **of: str) -> Answer:
    return Answer(
        kind=kind,
        context=one.context,
        outcome=one.outcome,
        description=one.description,
        path=one.path,
        text=one.text,
        state="waiting",
        noted_at=clock.now(),
        **of,
    )
