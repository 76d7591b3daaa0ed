"""`/jobs`: the log of an attempt, by sections, and as plain text."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response
from sqlalchemy.orm import Session

from buildfarm.farm import logbook, logs
from buildfarm.farm.rules import FINAL
from buildfarm.farm.show import JobDetail, job_detail
from buildfarm.farm.waiting import waits_of
from webapp.context import farm, require
from webapp.pages import loglines, logtext
from webapp.pages.query import number
from webapp.pages.shell import page

blueprint = Blueprint("jobs", __name__)
#: Lines of one fragment that a page asks for.
FRAGMENT = 1000


@blueprint.get("/jobs/<job_id>")
@blueprint.get("/jobs/<job_id>/attempts/<int:attempt>")
def show_one(job_id: str, attempt: int | None = None) -> Response:
    """One job with the log of its newest attempt, or of the one named."""
    require("view")
    with farm().database.read() as session:
        detail = job_detail(session, job_id)
        wait = waits_of(session, detail.job.build_id, farm().settings).get(job_id)
        facts = _log(session, detail, attempt) if detail.attempts or attempt else {"log": None}
    return page(
        "jobs/show.html", detail=detail, job=detail.job, is_over=detail.job.state in FINAL, wait=wait, **facts
    )


@blueprint.get("/jobs/<job_id>/log.txt")
def download(job_id: str) -> Response:
    """The log as plain text, without any control sequence."""
    require("view")
    with farm().database.read() as session:
        job_detail(session, job_id)
        attempt = logs.attempt_of(session, job_id, number("attempt"))
    return logtext.answer(farm().database, attempt)


@blueprint.get("/jobs/<job_id>/lines")
def lines(job_id: str) -> Response:
    """A run of lines as list items, for a page that holds a long log in windows."""
    require("view")
    first, last = number("first") or 1, number("last") or 0
    with farm().database.read() as session:
        attempt = logs.attempt_of(session, job_id, number("attempt")).number
        found = logbook.window(session, job_id, attempt, first, min(last, first + FRAGMENT - 1))
    body = "".join(f'<ol class="chunk">{chunk}</ol>' for chunk in loglines.chunks(found, whole=False))
    return Response(body, content_type="text/html; charset=utf-8")


def _log(session: Session, detail: JobDetail, number_: int | None) -> dict[str, Any]:
    """What the page shows of one attempt."""
    attempt = logs.attempt_of(session, detail.job.id, number_)
    row = next(one for one in detail.attempts if one.number == attempt.number)
    sections = logbook.outline(session, detail.job.id, row.number)
    hit = row.error_line
    parts = loglines.parts(session, detail.job.id, row.number, sections, number("line"), hit=hit)
    return {"log": row, "parts": parts, "hit": hit, "offset": sections[-1].end if sections else 0}
