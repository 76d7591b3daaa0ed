"""`/builds`: what was built, what came out, what went in, and why it failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from flask import Blueprint, Response, redirect
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as Redirect

from buildfarm.farm import builds, comparisons
from buildfarm.farm.model import Build
from buildfarm.farm.rules import FINAL, State, fold
from buildfarm.farm.show import BuildDetail, DependencyRow, JobRow, build_detail, list_builds
from buildfarm.farm.waiting import waits_of
from buildfarm.index import rebuilds
from buildfarm.index.showfiles import files_of_build
from buildfarm.scm.answers.show import answers_of_build
from buildfarm.sources import show as sources
from webapp.api.effects import hand_over, withdraw
from webapp.context import check_form, farm, require
from webapp.pages.query import text
from webapp.pages.shell import page

blueprint = Blueprint("builds", __name__)
STATES = ("queued", "running", "published", "compared", "failed", "cancelled")
#: Failed jobs of a build whose telling line is looked up.
_QUOTED = 6


@dataclass(frozen=True)
class Matrix:
    """Jobs by interpreter (rows) and platform (columns)."""

    interpreters: tuple[str, ...]
    platforms: tuple[str, ...]
    cells: dict[tuple[str, str], JobRow]


@dataclass(frozen=True)
class Served:
    """What the index served to some jobs alike."""

    files: tuple[DependencyRow, ...]
    targets: tuple[str, ...]


@blueprint.get("/builds")
def list_all() -> Response:
    """Builds, the newest first."""
    require("view")
    source, state = text("source"), text("state")
    with farm().database.read() as session:
        rows, following = list_builds(session, source=source, state=state, before=text("before"))
        names = [row.name for row in sources.list_sources(session)]
    return page(
        "builds/list.html", rows=rows, following=following, names=names, states=STATES,
        chosen={"source": source, "state": state},
    )  # fmt: skip


@blueprint.get("/builds/<build_id>")
def show_one(build_id: str) -> Response:
    """One build."""
    require("view")
    with farm().database.read() as session:
        build = build_detail(session, build_id)
        return page(
            "builds/show.html", build=build, is_over=build.state in FINAL, matrix=matrix(build.jobs),
            quotes=_quotes(build), own_end=_ended_by_itself(build), files=files_of_build(session, build_id),
            served=served(build.jobs), waits=waits_of(session, build_id, farm().settings),
            answers=answers_of_build(session, build_id),
        )  # fmt: skip


@blueprint.post("/builds/<build_id>/cancel")
def cancel(build_id: str) -> Redirect:
    """Ask for the end of a build."""
    check_form()
    who = require("build")
    with farm().database.begin() as session:
        builds.cancel(session, build_id, actor=who.name)
    withdraw(build_id)
    return redirect(f"/builds/{build_id}", 303)


@blueprint.post("/builds/<build_id>/again")
def again(build_id: str) -> Redirect:
    """Build the same commit again, as a new build: all of what was well, of the rest what is not there."""
    check_form()
    who = require("build")
    with farm().database.begin() as session:
        new = _once_more(session, build_id, actor=who.name)
    hand_over()
    return redirect(f"/builds/{new.id}", 303)


@blueprint.post("/builds/<build_id>/rebuild")
def rebuild(build_id: str) -> Redirect:
    """Make the wheels of a published release again, under the next wheel build number."""
    check_form()
    who = require("build")
    with farm().database.begin() as session:
        new = rebuilds.rebuild(
            session, build_id=build_id, channel=builds.FIRST_CHANNEL, wave_id=None, actor=who.name
        )
    hand_over()
    return redirect(f"/builds/{new.id}", 303)


@blueprint.post("/builds/<build_id>/compare")
def compare(build_id: str) -> Redirect:
    """Build the same a second time, to compare the files."""
    check_form()
    who = require("build")
    with farm().database.begin() as session:
        new = comparisons.start(session, build_id, actor=who.name)
    hand_over()
    return redirect(f"/builds/{new.id}", 303)


def _once_more(session: Session, build_id: str, *, actor: str) -> Build:
    old = build_detail(session, build_id)
    return builds.start(
        session,
        sources.get(session, old.source),
        pull_request=builds.get(session, build_id).pull_request,
        ref=old.ref,
        commit=old.commit,
        trigger="manual",
        actor=actor,
        title=old.title,
        fresh=old.state in {"built", "published"},
    )


def matrix(jobs: Sequence[JobRow]) -> Matrix | None:
    """The jobs as a table; None where a list says it better: one side is single, or most cells are empty."""
    cells = {(interpreter, platform): job for job in jobs for interpreter, platform in [_sides(job.target)]}
    rows = tuple(dict.fromkeys(interpreter for interpreter, _ in cells))
    columns = tuple(dict.fromkeys(platform for _, platform in cells))
    is_full = 2 * len(cells) > len(rows) * len(columns)
    return Matrix(rows, columns, cells) if len(rows) > 1 and len(columns) > 1 and is_full else None


def served(jobs: Sequence[JobRow]) -> list[Served]:
    """The build dependencies, told once for jobs that read the same files."""
    targets: dict[tuple[DependencyRow, ...], list[str]] = {}
    for job in jobs:
        if job.dependencies:
            targets.setdefault(job.dependencies, []).append(job.target)
    return [Served(files, tuple(names)) for files, names in targets.items()]


def _sides(target: str) -> tuple[str, str]:
    """Interpreter and platform of a target such as `cp313-manylinux_2_28_x86_64`."""
    interpreter, _, platform = target.partition("-")
    return interpreter, platform or "any"


def _ended_by_itself(build: BuildDetail) -> bool:
    """Whether it failed before it had jobs or after they went well, so that no job tells why."""
    by_jobs = fold((State(job.state), job.required) for job in build.jobs) if build.jobs else None
    return build.state == State.FAILED and by_jobs is not State.FAILED


def _quotes(build: BuildDetail) -> list[JobRow]:
    """The jobs whose end is told on the build's page, the required ones first."""
    failed = [job for job in build.jobs if job.first_error and job.state in {"failed", "timed_out"}]
    return sorted(failed, key=lambda job: not job.required)[:_QUOTED]
