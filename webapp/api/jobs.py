"""`/api/v1/jobs`: one target of a build, and its log as text or in pieces to follow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import wraps
from typing import cast

from flask import Blueprint, Response, request
from pydantic import Field
from sqlalchemy.orm import Session

from buildfarm.db.engine import Database
from buildfarm.errors import NotFound
from buildfarm.farm import logs
from buildfarm.farm.model import Attempt
from buildfarm.farm.rules import FINAL, State
from buildfarm.farm.show import JobDetail, job_detail
from buildfarm.farm.waiting import Wait, waits_of
from webapp.api.answer import answer
from webapp.api.spec import Body, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("jobs", __name__)
_TAGS = ["jobs"]
#: Segments of one answer; one has at most 64 KiB.
_SEGMENTS = 16


@dataclass(frozen=True)
class Segment:
    """Whole lines of one phase: `start` in bytes, `line` of the first, `times` in epoch milliseconds."""

    start: int
    phase: str
    line: int
    text: str
    times: list[int]


@dataclass(frozen=True)
class LogPart:
    """A part of a log. Ask on with `next` as offset until `done`: nothing more will come.

    `attempt` is 0 while no builder has taken the job yet.
    """

    attempt: int
    segments: tuple[Segment, ...]
    next: int
    done: bool


@dataclass(frozen=True)
class JobAnswer(JobDetail):
    """A job with its attempts; `wait` says why it is queued, while it is."""

    wait: Wait | None


class LogQuery(Body):
    """Which log: of the newest attempt, as text; with `offset` (bytes) in pieces, as JSON."""

    attempt: int | None = Field(None, ge=1)
    offset: int | None = Field(None, ge=0)


@blueprint.get("/jobs/<job_id>")
@spec.validate(resp=answers(JobAnswer), tags=_TAGS)
def show_one(job_id: str) -> Response:
    """One job with its attempts, and why it waits."""
    require("view")
    with farm().database.read() as session:
        detail = job_detail(session, job_id)
        wait = waits_of(session, detail.job.build_id, farm().settings).get(job_id)
        return answer(JobAnswer(**vars(detail), wait=wait))


@spec.validate(resp=answers(LogPart), tags=_TAGS)
def part(job_id: str, query: LogQuery) -> Response:
    """The log of an attempt: with `offset` the pieces from there on, without it text/plain as a whole."""
    require("view")
    with farm().database.read() as session:
        attempt = _attempt(session, job_id, query.attempt)
        return answer(_part(session, job_id, attempt, query.offset or 0))


@blueprint.get("/jobs/<job_id>/log")
@wraps(part)
def log(job_id: str) -> Response:
    """As `part`, whose description it carries; the text goes past spectree, which would hold it whole."""
    if "offset" in request.args:
        return cast("Response", part(job_id))
    require("view")
    with farm().database.read() as session:
        attempt = _attempt(session, job_id, request.args.get("attempt", type=int))
    number = attempt.number if attempt else None
    response = Response(_text(farm().database, job_id, number), content_type="text/plain; charset=utf-8")
    response.headers["Cache-Control"] = "no-store"
    return response


def _attempt(session: Session, job_id: str, number: int | None) -> Attempt | None:
    """The attempt; None for a known job that no builder has taken yet, whose log is empty so far."""
    job_detail(session, job_id)
    try:
        return logs.attempt_of(session, job_id, number)
    except NotFound:
        if number is not None:
            raise
        return None


def _part(session: Session, job_id: str, attempt: Attempt | None, offset: int) -> LogPart:
    if attempt is None:
        done = job_detail(session, job_id).job.state in FINAL
        return LogPart(0, (), offset, done)
    found = logs.segments(session, job_id, attempt.number, offset, _SEGMENTS)
    following = found[-1].start + found[-1].size if found else offset
    return LogPart(
        attempt=attempt.number,
        segments=tuple(Segment(one.start, one.phase, one.line, one.text, one.times) for one in found),
        next=following,
        done=attempt.state != State.RUNNING and following >= attempt.log_bytes,
    )


def _text(database: Database, job_id: str, number: int | None) -> Iterator[str]:
    """The log piece by piece, with a short transaction for each: a slow reader holds up nobody."""
    start = 0
    while number is not None:
        with database.read() as session:
            found = logs.segments(session, job_id, number, start, _SEGMENTS)
        if not found:
            return
        for segment in found:
            yield segment.text
        start = found[-1].start + found[-1].size
