"""`/api/v1/releases`: what was published, and taking it back without breaking anybody (PEP 592)."""

from __future__ import annotations

from flask import Blueprint, Response
from sqlalchemy.orm import Session

from buildfarm.access.rules import Principal
from buildfarm.index import promote, show, withdraw
from buildfarm.index.show import ReleaseDetail
from webapp.api.answer import answer
from webapp.api.effects import wait_visible
from webapp.api.spec import Body, answers, spec
from webapp.context import farm, principal, require

blueprint = Blueprint("releases", __name__)
_TAGS = ["releases"]


class Yank(Body):
    """Why; clients show it."""

    reason: str = ""


class Withdrawal(Body):
    """Which files, all without a name; and why, for the journal."""

    files: list[str] = []
    reason: str


@blueprint.get("/releases/<project>/<version>")
@spec.validate(resp=answers(ReleaseDetail), tags=_TAGS)
def show_one(project: str, version: str) -> Response:
    """One release with its files, what each was built from, and the promotion that may follow."""
    require("view")
    with farm().database.read() as session:
        return answer(show.release_detail(session, project, version))


@blueprint.post("/releases/<project>/<version>/yank")
@spec.validate(resp=answers(ReleaseDetail), tags=_TAGS)
def yank(project: str, version: str, json: Yank) -> Response:
    """Mark a release as yanked: installed only where it is pinned."""
    with farm().database.begin() as session:
        who = _require_all(session, project, version)
        promote.yank(session, project=project, version=version, reason=json.reason, actor=who.name)
    return _shown(session, project, version)


@blueprint.post("/releases/<project>/<version>/unyank")
@spec.validate(resp=answers(ReleaseDetail), tags=_TAGS)
def unyank(project: str, version: str) -> Response:
    """Take the mark away."""
    with farm().database.begin() as session:
        who = _require_all(session, project, version)
        promote.unyank(session, project=project, version=version, actor=who.name)
    return _shown(session, project, version)


@blueprint.post("/releases/<project>/<version>/withdraw")
@spec.validate(resp=answers(ReleaseDetail), tags=_TAGS)
def take_out(project: str, version: str, json: Withdrawal) -> Response:
    """Take files out of every channel for good; their names never come back."""
    who = require("admin")
    with farm().database.begin() as session:
        withdraw.withdraw(
            session, project=project, version=version, filenames=json.files, reason=json.reason,
            actor=who.name,
        )  # fmt: skip
    return _shown(session, project, version)


def _require_all(session: Session, project: str, version: str) -> Principal:
    """The principal, when it may yank in every channel that lists the release."""
    if principal().is_anonymous:
        require("promote", "*")
    rungs = show.release_detail(session, project, version).channels
    for channel in [rung.channel for rung in rungs if rung.files] or ["*"]:
        require("promote", channel)
    return principal()


def _shown(written: Session, project: str, version: str) -> Response:
    wait_visible(written)
    with farm().database.read() as session:
        return answer(show.release_detail(session, project, version))
