"""`/`: how the farm does, what runs, every source with its last builds; on a new farm, the first steps."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response, make_response, redirect, request
from sqlalchemy.orm import Session

from buildfarm.errors import InvalidInput
from buildfarm.farm.fleet import QueueHealth, queue_health
from buildfarm.farm.show import BuildRow, latest_builds, list_builds
from buildfarm.index.show import list_projects
from buildfarm.index.showfiles import doubts
from buildfarm.scm.instep import Step, steps_of
from buildfarm.scm.show import DeliveryRow, latest_deliveries, list_deliveries
from buildfarm.sources.show import SourceRow, list_sources
from webapp.context import farm, require
from webapp.pages import look
from webapp.pages.shell import THEME_COOKIE, THEMES, own_path, page

blueprint = Blueprint("home", __name__)
_RECENT, _STRIP = 12, 10
_ACTIVE = ("running", "built", "queued")
_YEAR_S = 31_536_000


@dataclass(frozen=True)
class Line:
    """A source with its last builds, the newest first, its last delivery, and how it stands with its SCM."""

    source: SourceRow
    builds: tuple[BuildRow, ...]
    delivery: DeliveryRow | None
    step: Step


@dataclass(frozen=True)
class FirstSteps:
    """How far a new farm is."""

    source: bool
    delivery: bool
    build: bool
    release: bool

    @property
    def done(self) -> bool:
        """Whether somebody could install something."""
        return self.source and self.build and self.release


@blueprint.get("/")
def home() -> Response:
    """The farm at a glance."""
    require("view")
    with farm().database.read() as session:
        health = queue_health(session, farm().settings)
        return page(
            "home.html",
            health=health,
            sentence=sentence(health),
            active=[row for state in _ACTIVE for row in list_builds(session, state=state, limit=20)[0]],
            recent=list_builds(session, limit=_RECENT)[0],
            lines=lines(session, list_sources(session)),
            steps=_steps(session),
            doubts=doubts(session),
        )


@blueprint.post("/theme")
def theme() -> Response:
    """Remember light or dark; anything else follows the system again."""
    response = make_response(redirect(own_path(request.form.get("back"))))
    wanted = request.form.get("theme", "")
    if wanted not in (*THEMES, "system"):
        raise InvalidInput(f"There is no theme {wanted[:20]!r}.", code="theme.unknown")
    secure = farm().settings.public_url.startswith("https:")
    response.set_cookie(THEME_COOKIE, wanted, max_age=_YEAR_S, samesite="Lax", secure=secure)
    return response


def lines(session: Session, rows: list[SourceRow]) -> list[Line]:
    """The sources with what happened lately."""
    ids = [row.id for row in rows]
    builds, deliveries = latest_builds(session, ids, each=_STRIP), latest_deliveries(session, ids)
    steps = steps_of(session, ids)
    return [Line(row, tuple(builds[row.id]), deliveries.get(row.id), steps[row.id]) for row in rows]


def sentence(health: QueueHealth) -> str:
    """How the queue does, as one sentence."""
    if health.paused:
        why = f", {health.paused.reason}" if health.paused.reason else ""
        return f"Paused by {health.paused.actor}{why}; {health.running} running, {health.queued} queued."
    builders = len(health.builders)
    if not builders:
        return "No builder has joined yet, so builds wait."
    who = "One builder is" if builders == 1 else f"{builders} builders are"
    if not health.queued + health.waiting + health.running:
        return f"{who} here, and nothing waits."
    jobs = "1 job runs" if health.running == 1 else f"{health.running} jobs run"
    if not health.queued:
        return f"{who} here; {jobs}, none waits."
    wait = look.duration(health.oldest_wait_s)
    return f"{who} here; {jobs}, {health.queued} queued, the oldest for {wait}."


def _steps(session: Session) -> FirstSteps:
    return FirstSteps(
        source=bool(list_sources(session)),
        delivery=bool(list_deliveries(session, limit=1)[0]),
        build=bool(list_builds(session, limit=1)[0]),
        release=any(row.releases for row in list_projects(session, limit=200)[0]),
    )
