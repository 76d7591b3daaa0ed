"""Builds: start one, follow the fold of its jobs, cancel, the work that comes next."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session, aliased

from buildfarm import clock
from buildfarm.db import direct
from buildfarm.errors import Conflict, FarmError, NotFound
from buildfarm.farm import failures
from buildfarm.farm.claims import queued_values
from buildfarm.farm.model import Artifact, Build, Job, Task
from buildfarm.farm.rules import BUILD, FINAL, Cause, State, advance, fold
from buildfarm.ids import new_id
from buildfarm.sources.model import PullRequest, Source
from buildfarm.sources.pulls import stage_name

#: Builds of tags and branches land here; promotion carries them on.
FIRST_CHANNEL = "dev"
#: How the triggers of builds begin that nobody asked for but by pushing.
BY_PUSH = ("webhook:", "sweep")
#: Kinds of tasks that speak to SCMs: to tell a host of builds, to do what was ordered about a hook, to look
#: whether one is well, to ask who may give a command. Beside them and `OFFER`, all are for a build.
NOTIFY, HOOK, WATCH, COMMAND = "notify", "hook", "watch", "command"
_TO_SCMS = frozenset({NOTIFY, HOOK, WATCH, COMMAND})
#: The kind that looks whether a repository, which is no source so far, holds a recipe.
OFFER = "offer"
# Made once, because each push runs them.
_LAST_NUMBER = select(func.coalesce(func.max(Build.number), 0)).where(Build.source_id == bindparam("source"))
#: What is so of the builds of a branch or pull request before one of them.
_BEFORE = (
    Build.source_id == bindparam("source"),
    Build.ref == bindparam("ref"),
    Build.pull_request_id.is_not_distinct_from(bindparam("pull_request")),
    Build.number < bindparam("number"),
)
_OLDER_ALIVE = (
    select(Build.id)
    .where(*_BEFORE, Build.compares_id.is_(None), Build.rebuilds_id.is_(None))
    .where(Build.state.in_([State.QUEUED, State.RUNNING]), Build.cancel_requested_at.is_(None))
    .order_by(Build.id)
)


def start(
    session: Session,
    source: Source,
    *,
    ref: str,
    commit: str | None,
    trigger: str,
    actor: str | None,
    title: str | None = None,
    delivery_id: str | None = None,
    pull_request: PullRequest | None = None,
    fresh: bool = False,
) -> Build:
    """A new build, its recipe still unknown, and the task that fetches its source.

    What it makes goes to the first channel, of a `pull_request` to its stage. A `fresh` one has every job
    run, where else equal input is answered without a build.
    """
    hold_source(session, source.id)
    build = Build(
        id=new_id("bld"),
        number=next_number(session, source.id),
        source_id=source.id,
        delivery_id=delivery_id,
        trigger=trigger,
        fresh=fresh,
        ref=ref,
        commit=commit,
        title=title,
        actor=actor,
        pull_request=pull_request,
        # The insert takes columns alone.
        pull_request_id=pull_request.id if pull_request else None,
        channel=stage_name(source.name, pull_request.number) if pull_request else FIRST_CHANNEL,
        state=State.QUEUED,
        created_at=clock.now(),
    )
    direct.insert(session, build)
    add_task(session, "fetch", build.id)
    touch(session, build.id)
    return build


def hold_source(session: Session, source_id: str) -> None:
    """Let no other transaction start a build of the source until this one ends (SQLite: always so)."""
    if session.get_bind().dialect.name != "sqlite":
        session.execute(select(Source.id).where(Source.id == source_id).with_for_update())


def hold(session: Session, build_id: str) -> Build:
    """The build as it is now, locked until this transaction ends.

    Whatever changes a job takes this lock first: of two jobs that end at once, the later one must see
    the other's end, or neither would find the build complete.

    Raises:
        NotFound: `build.unknown`.
    """
    build = session.get(Build, build_id, with_for_update=True, populate_existing=True)
    if build is None:
        raise NotFound(f"There is no build {build_id}.", code="build.unknown")
    touch(session, build_id)
    return build


def touch(session: Session, build_id: str) -> None:
    """Have the build looked at when this transaction commits: it, or a job of it, may change."""
    session.info.setdefault("builds", set()).add(build_id)


def take_touched(session: Session) -> set[str]:
    """The builds that this transaction may have changed, for what runs before it commits."""
    touched: set[str] = session.info.pop("builds", set())
    return touched


def next_number(session: Session, source_id: str) -> int:
    """The number of a source's next build, from 1."""
    last: int = direct.ask(session, _LAST_NUMBER, {"source": source_id}).scalar_one()
    return last + 1


def add_task(session: Session, kind: str, subject: str) -> None:
    """Queue control work for one subject; once for each (kind, subject)."""
    # What has something signed is done by the workers beside the signer.
    queue = NOTIFY if kind in _TO_SCMS else {"compare": "publish", OFFER: "fetch"}.get(kind, kind)
    task = Task(id=new_id("tsk"), kind=kind, subject=subject, **queued_values(queue, clock.now()))
    session.add(task)
    session.info.setdefault("tasks", []).append(task)


def take_queued(session: Session) -> list[Task]:
    """The tasks that this transaction queued so far, for who hands them over."""
    queued: list[Task] = session.info.pop("tasks", [])
    return queued


def artifacts(session: Session, build_id: str) -> dict[str, Artifact]:
    """The files of the build's successful jobs by name; where two targets give one, the first one's."""
    ran = aliased(Job)
    rows = session.scalars(
        select(Artifact)
        .join(ran, (ran.id == Artifact.job_id) & (ran.attempt == Artifact.attempt))
        .join(Job, ran.id == func.coalesce(Job.answered_by_id, Job.id))
        .where(Job.build_id == build_id, Job.state == State.SUCCEEDED)
        .order_by(Job.required.desc(), Job.target, Artifact.filename)
    )
    chosen: dict[str, Artifact] = {}
    for row in rows:
        chosen.setdefault(row.filename, row)
    return chosen


def get(session: Session, build_id: str) -> Build:
    """One build.

    Raises:
        NotFound: `build.unknown`.
    """
    build = session.get(Build, build_id)
    if build is None:
        raise NotFound(f"There is no build {build_id}.", code="build.unknown")
    return build


def settle(session: Session, build_id: str) -> State:
    """Store the fold of the jobs on the build, in the transaction that changed a job.

    A build whose jobs are through gets its publish task here, or that which compares.
    """
    session.flush()
    build = hold(session, build_id)
    jobs = session.execute(select(Job.state, Job.required).where(Job.build_id == build_id)).all()
    new = fold((State(state), required) for state, required in jobs)
    old = State(build.state)
    if new == old or old in FINAL or new is State.QUEUED:
        return old
    build.state = advance(BUILD, old, new)
    now = clock.now()
    build.started_at = build.started_at or now
    if new is State.BUILT:
        add_task(session, "compare" if build.compares_id else "publish", build.id)
    elif new in FINAL:
        build.finished_at = now
        worst = _telling_job(session, build_id)
        if worst is not None:
            build.cause, build.failure_class = worst.cause, worst.failure_class
        if worst is not None and build.superseded_by is None:
            build.first_error = f"{worst.target}: {worst.first_error}" if worst.first_error else None
    return new


def fail(session: Session, build_id: str, error: FarmError) -> None:
    """End a build that has no running jobs: it could not be planned, or not be published."""
    build = _end(session, build_id, State.FAILED, str(error))
    build.failure_class = failures.class_of(error)
    build.cause = failures.cause_of(build.failure_class)


def fail_for(session: Session, task: Task, error: FarmError) -> None:
    """End what a task was for: its build. What is to be said to an SCM has no build to end."""
    if task.kind not in _TO_SCMS | {OFFER}:
        fail(session, task.subject, error)


def leave(session: Session, build_id: str, sentence: str) -> None:
    """End a build that has no running jobs: by the source's rules there is nothing to build."""
    _end(session, build_id, State.CANCELLED, sentence).cause = Cause.POLICY


def _end(session: Session, build_id: str, state: State, sentence: str) -> Build:
    session.flush()
    build = hold(session, build_id)
    build.state = advance(BUILD, State(build.state), state)
    build.first_error, build.finished_at = sentence, clock.now()
    return build


def cancel(session: Session, build_id: str, *, actor: str) -> Build:
    """Ask for the end of a build: what waits ends now, what runs is told at its next heartbeat.

    Raises:
        Conflict: `build.over`, it has ended or is being published.
    """
    build = hold(session, build_id)
    if not call_off(session, build, f"Cancelled by {actor}."):
        raise Conflict(f"Build {build_id} is {build.state} already.", code="build.over")
    return build


def last_commit_built(session: Session, build: Build) -> str | None:
    """The commit of the last build of the same branch that was not called off, before this one.

    Not what a payload says that the branch held: of pushes that were missed, superseded or left, the changes
    still count.
    """
    return session.scalars(
        select(Build.commit)
        .where(Build.source_id == build.source_id, Build.ref == build.ref, Build.number < build.number)
        .where(Build.commit.is_not(None), Build.state != State.CANCELLED, Build.pull_request_id.is_(None))
        .order_by(Build.number.desc())
        .limit(1)
    ).first()


def supersede(session: Session, build: Build, held_before: Mapping[str, str]) -> list[str]:
    """Cancel the older builds of the branch or pull request that `build` is of, unless they are through.

    Their ids. For a newer push: nobody waits for what was before. Tags stay tags, each is built. A push that
    arrives after one that followed it is the older one, and its build ends. `held_before` says of commits
    of the branch what it held before them; where that says nothing, the later to arrive is the newer.
    """
    if not (build.pull_request or build.ref.startswith("refs/heads/")):
        return []
    # Only a push that says it found this commit can have followed it.
    followed = build.commit in held_before.values()
    if followed and (newer := _newer(session, build, held_before)):
        _give_way(session, build, newer)
        return []
    older = direct.ask(session, _OLDER_ALIVE, _place(build)).scalars().all()
    ended = []
    for build_id in older:
        one = hold(session, build_id)
        if State(one.state) in {State.QUEUED, State.RUNNING}:
            _give_way(session, one, build)
            ended.append(build_id)
    return ended


def _place(build: Build) -> dict[str, Any]:
    """The values of `_BEFORE` for a build."""
    return {
        "source": build.source_id,
        "ref": build.ref,
        "pull_request": build.pull_request_id,
        "number": build.number,
    }


def _give_way(session: Session, build: Build, newer: Build) -> None:
    build.superseded_by = newer.id
    where = "pull request" if build.pull_request else "branch"
    what = "a newer push to" if newer.trigger.startswith(BY_PUSH) else "which was asked for later, of"
    build.first_error = f"Superseded by build {newer.number}, {what} this {where}."
    _call_off(session, build, build.first_error)
    session.flush()  # another push in this transaction asks past the session


def _newer(session: Session, build: Build, held_before: Mapping[str, str]) -> Build | None:
    """The newest build of a push that followed that of `build`, though it arrived earlier."""
    before = _commits_before(build.commit, held_before)
    others = session.scalars(
        select(Build)
        .where(*_BEFORE)
        .where(Build.commit.in_(held_before), Build.commit != build.commit, Build.compares_id.is_(None))
        .order_by(Build.number.desc()),
        _place(build),
    )
    for other in others:
        # Where each followed the other the branch was set back, and what arrives is what it holds.
        if build.commit in _commits_before(other.commit, held_before) and other.commit not in before:
            return other
    return None


def _commits_before(commit: str | None, held_before: Mapping[str, str]) -> set[str]:
    found: set[str] = set()
    while (commit := held_before.get(commit or "")) and commit not in found:
        found.add(commit)
    return found


def call_off(session: Session, build: Build, sentence: str) -> bool:
    """End a held build for the reason that the sentence says; False when it is through."""
    if State(build.state) in FINAL | {State.BUILT}:
        return False
    _call_off(session, build, sentence)
    return True


def _call_off(session: Session, build: Build, sentence: str) -> None:
    """End what of a held build waits, and have what runs told."""
    build_id, now = build.id, clock.now()
    build.cancel_requested_at = now
    ended: dict[str, Any] = {"state": State.CANCELLED, "finished_at": now, "cause": None}
    session.execute(
        update(Job)
        .where(Job.build_id == build_id, Job.state.in_([State.WAITING, State.QUEUED]))
        .values(**ended, first_error=sentence)
    )
    session.execute(
        update(Task)
        .where(Task.subject == build_id, Task.state.in_([State.QUEUED, State.RUNNING]))
        .values(state=State.CANCELLED, finished_at=now)
    )
    if session.execute(select(Job.id).where(Job.build_id == build_id)).first():
        settle(session, build_id)
    else:
        _end(session, build_id, State.CANCELLED, sentence)


def overdue(session: Session, now: datetime) -> list[Job]:
    """Running jobs past their deadline, whatever their builder says."""
    return list(session.scalars(select(Job).where(Job.state == State.RUNNING, Job.deadline_at < now)))


def _telling_job(session: Session, build_id: str) -> Job | None:
    """The job whose end explains the build's: the first failed required one."""
    return session.scalars(
        select(Job)
        .where(Job.build_id == build_id, Job.state.in_([State.FAILED, State.TIMED_OUT, State.CANCELLED]))
        .order_by(Job.required.desc(), Job.finished_at)
    ).first()
