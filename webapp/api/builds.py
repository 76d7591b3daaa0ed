"""`/api/v1/builds`: start, follow, cancel, compare, rebuild."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response
from sqlalchemy.orm import Session

from buildfarm.farm import builds, comparisons
from buildfarm.farm.show import BuildDetail, BuildRow, build_detail, list_builds
from buildfarm.farm.showcompared import ComparisonRow, comparisons_of_build
from buildfarm.farm.waiting import Wait, waits_of
from buildfarm.index import rebuilds
from buildfarm.index.showfiles import FileRow, files_of_build
from buildfarm.scm.answers.show import AnswerRow, answers_of_build
from buildfarm.sources import show as sources
from buildfarm.sources.names import full_ref
from buildfarm.sources.rules import checked_commit
from webapp.api.answer import answer, page
from webapp.api.effects import hand_over, withdraw
from webapp.api.spec import Body, Page, PageQuery, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("builds", __name__)
_TAGS = ["builds"]


@dataclass(frozen=True)
class BuildAnswer(BuildDetail):
    """A build with its jobs, the files it published, and what building them twice has shown.

    `waits` says of each queued job why it is, by its id; `answers` are what the SCM was told of it, in order.
    """

    files: tuple[FileRow, ...]
    comparisons: tuple[ComparisonRow, ...]
    waits: dict[str, Wait]
    answers: tuple[AnswerRow, ...]


class BuildQuery(PageQuery):
    """Which builds."""

    source: str | None = None
    state: str | None = None


class NewBuild(Body):
    """What to build: a full ref, a short name, or a commit id; `commit` says what the ref must hold.

    `fresh` runs every job, also where the same input was built before.
    """

    source: str
    ref: str
    commit: str | None = None
    fresh: bool = False


class Rebuild(Body):
    """Where the files of a rebuild go: a durable channel; any but the first one needs `promote` of it too."""

    channel: str = builds.FIRST_CHANNEL


@blueprint.get("/builds")
@spec.validate(resp=answers(Page[BuildRow]), tags=_TAGS)
def list_all(query: BuildQuery) -> Response:
    """Builds, the newest first."""
    require("view")
    with farm().database.read() as session:
        rows, following = list_builds(
            session, source=query.source, state=query.state, before=query.before, limit=query.limit
        )
    return page(rows, following)


@blueprint.post("/builds")
@spec.validate(resp=answers(BuildAnswer, 201), tags=_TAGS)
def start(json: NewBuild) -> Response:
    """Start a build by hand; no webhook is needed."""
    who = require("build")
    ref, commit = full_ref(json.ref)
    if json.commit:
        commit = checked_commit(json.commit)
    with farm().database.begin() as session:
        source = sources.get(session, json.source)
        build = builds.start(
            session, source, ref=ref, commit=commit, trigger="manual", actor=who.name, fresh=json.fresh
        )
    hand_over()
    with farm().database.read() as session:
        return answer(_whole(session, build.id), 201)


@blueprint.get("/builds/<build_id>")
@spec.validate(resp=answers(BuildAnswer), tags=_TAGS)
def show_one(build_id: str) -> Response:
    """One build."""
    require("view")
    with farm().database.read() as session:
        return answer(_whole(session, build_id))


@blueprint.post("/builds/<build_id>/cancel")
@spec.validate(resp=answers(BuildAnswer), tags=_TAGS)
def cancel(build_id: str) -> Response:
    """Ask for the end of a build: what waits ends now, what runs at its builder's next sign of life."""
    who = require("build")
    with farm().database.begin() as session:
        builds.cancel(session, build_id, actor=who.name)
    withdraw(build_id)
    with farm().database.read() as session:
        return answer(_whole(session, build_id))


@blueprint.post("/builds/<build_id>/compare")
@spec.validate(resp=answers(BuildAnswer, 201), tags=_TAGS)
def compare(build_id: str) -> Response:
    """Build the same once more, from the same inputs, and compare the files; publishes nothing."""
    who = require("build")
    with farm().database.begin() as session:
        build = comparisons.start(session, build_id, actor=who.name)
    hand_over()
    with farm().database.read() as session:
        return answer(_whole(session, build.id), 201)


@blueprint.post("/builds/<build_id>/rebuild")
@spec.validate(resp=answers(BuildAnswer, 201), tags=_TAGS)
def rebuild(build_id: str, json: Rebuild) -> Response:
    """Make the wheels of a release again with the images of today, under the next wheel build number."""
    who = require("build")
    if json.channel != builds.FIRST_CHANNEL:
        require("promote", json.channel)
    with farm().database.begin() as session:
        build = rebuilds.rebuild(
            session, build_id=build_id, channel=json.channel, wave_id=None, actor=who.name
        )
    hand_over()
    with farm().database.read() as session:
        return answer(_whole(session, build.id), 201)


def _whole(session: Session, build_id: str) -> BuildAnswer:
    return BuildAnswer(
        **vars(build_detail(session, build_id)),
        files=tuple(files_of_build(session, build_id)),
        comparisons=tuple(comparisons_of_build(session, build_id)),
        waits=waits_of(session, build_id, farm().settings),
        answers=tuple(answers_of_build(session, build_id)),
    )
