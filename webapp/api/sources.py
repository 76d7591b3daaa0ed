"""`/api/v1/sources`: what the farm listens to."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Blueprint, Response
from pydantic import Field, SecretStr
from sqlalchemy.orm import Session

from buildfarm.errors import Conflict
from buildfarm.farm import handover
from buildfarm.farm.show import BuildRow, latest_builds
from buildfarm.index import buildview, names
from buildfarm.scm import connect
from buildfarm.scm.answers import outbox
from buildfarm.scm.answers.show import AnsweringRow, answering
from buildfarm.scm.forges import access
from buildfarm.scm.generic_settings import GenericSettings
from buildfarm.scm.hook import CONFIG_NAME, hook_config, post_receive
from buildfarm.scm.hooking import watch
from buildfarm.scm.instep import Step, steps_of
from buildfarm.scm.show import DeliveryRow, latest_deliveries
from buildfarm.scm.why import Why, why
from buildfarm.sources import credentials, show
from buildfarm.sources.pulls import Policy
from buildfarm.sources.show import SourceRow
from webapp.api.answer import answer, page
from webapp.api.given import (
    NewCredential,
    NewHooked,
    NewScmToken,
    SourceSecrets,
    added,
    hook_url,
    row_now,
    to_credential,
    to_given,
    with_secrets,
)
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("sources", __name__)
_TAGS = ["sources"]


@dataclass(frozen=True)
class SourceAnswer(SourceRow):
    """A source with its hook's URL, its last builds (the newest first), its last delivery, step and answers.

    `step` says when it was last in step with its SCM; `answering` what that is told, null where the farm has
    no token for its API.
    """

    hook_url: str
    builds: tuple[BuildRow, ...]
    last_delivery: DeliveryRow | None
    step: Step
    answering: AnsweringRow | None


@dataclass(frozen=True)
class HookFiles:
    """What is installed on a plain git server: the script, and the settings beside it (mode 0600)."""

    script: str
    config_name: str
    config: str


class NewSecret(Body):
    """The secret of a hook that the SCM made itself; no answer shows it."""

    secret: SecretStr


class NewSource(NewHooked):
    """A repository to listen to; without `scm` its URL decides, without `branches` only tags start builds.

    `branches`, `tags` and `paths` are globs; with `paths`, pushes to branches that change no such file start
    nothing. `pull_requests` are built of `none`, of its `own` branches, or of forks too once `approved`.
    `scm_settings` are for the kind `generic` alone.
    """

    projects: list[str] = []
    paths: list[str] = []
    pull_requests: Policy = Policy.OWN
    scm_settings: GenericSettings | None = None


class Grant(Body):
    """Projects that a source may publish; their names are local from then on."""

    projects: list[str] = Field(min_length=1)


class Reading(Body):
    """Channels of the farm's own whose projects builds of a source may read, in order."""

    channels: list[str]


class Follows(Body):
    """What is built from now on, branches, tags and paths as globs; what is left out stays as it is."""

    branches: list[str] | None = None
    tags: list[str] | None = None
    paths: list[str] | None = None
    pull_requests: Policy | None = None


class Move(Body):
    """Where the repository is now."""

    url: str


class WhyQuery(Body):
    """What is asked about: a full ref, a short name, or a commit of at least 7 digits."""

    of: str = Field(min_length=1, max_length=1000)


class JobLimit(Body):
    """How many jobs of a source may be with builders at a time; null for any number."""

    jobs_max: int | None = Field(ge=1)


@blueprint.get("/sources")
@spec.validate(resp=answers(Page[SourceAnswer]), tags=_TAGS)
def list_all() -> Response:
    """Every source, by name."""
    require("view")
    with farm().database.read() as session:
        return page(_with_activity(session, show.list_sources(session)))


@blueprint.post("/sources")
@spec.validate(resp=answers(SourceSecrets, 201), tags=_TAGS)
def add(json: NewSource) -> Response:
    """Listen to a repository; the answer holds the secrets of its hook."""
    who = require("admin")
    with farm().database.begin() as session:
        source, secrets = connect.add_source(
            session, json.name, json.url, scm=json.scm, branches=json.branches, tags=json.tags,
            paths=json.paths, pull_requests=json.pull_requests, settings=json.scm_settings, tier=json.tier,
            allow_file=farm().settings.sources_allow_file, actor=who.name,
        )  # fmt: skip
        names.make_local(session, json.projects, source, actor=who.name)
        return added(session, source, json, secrets, actor=who.name)


@blueprint.get("/sources/<name>")
@spec.validate(resp=answers(SourceAnswer), tags=_TAGS)
def show_one(name: str) -> Response:
    """One source."""
    require("view")
    with farm().database.read() as session:
        return answer(_with_activity(session, [show.source_detail(session, name)])[0])


@blueprint.get("/sources/<name>/why")
@spec.validate(resp=answers(Why), tags=_TAGS)
def explain(name: str, query: WhyQuery) -> Response:
    """What became of a ref or commit, and the next step."""
    require("view")
    with farm().database.read() as session:
        return answer(why(session, farm().settings, name, query.of))


@blueprint.delete("/sources/<name>")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def remove(name: str) -> Response:
    """Stop listening to a repository; builds and releases that came of it stay."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get(session, name)
        before = show.source_row(source)
        connect.remove_source(session, source, actor=who.name)
    return answer(before)


@blueprint.post("/sources/<name>/projects")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def grant(name: str, json: Grant) -> Response:
    """Let a source publish projects."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get(session, name)
        names.make_local(session, json.projects, source, actor=who.name)
        return answer(show.source_row(source))


@blueprint.put("/sources/<name>/reads")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def grant_reading(name: str, json: Reading) -> Response:
    """Let builds of a source read these channels of the farm's own, and no others."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get(session, name)
        buildview.grant_reading(session, source, json.channels, actor=who.name)
        return answer(show.source_row(source))


@blueprint.put("/sources/<name>/follows")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def follow(name: str, json: Follows) -> Response:
    """Say which branches, tags, paths and pull requests of a repository are built."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get(session, name)
        connect.follow(
            session, source, branches=json.branches, tags=json.tags, paths=json.paths,
            pull_requests=json.pull_requests, actor=who.name,
        )  # fmt: skip
        return answer(show.source_row(source))


@blueprint.put("/sources/<name>/url")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def move(name: str, json: Move) -> Response:
    """Say where a repository is now; its credential is forgotten if that is another host."""
    who = require("admin")
    allow_file = farm().settings.sources_allow_file
    with farm().database.begin() as session:
        source = show.get(session, name)
        connect.move_source(session, source, json.url, allow_file=allow_file, actor=who.name)
        return answer(row_now(session, source))


@blueprint.put("/sources/<name>/limit")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def limit(name: str, json: JobLimit) -> Response:
    """Limit how many jobs of a source are with builders at a time; the others wait in the queue."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get(session, name)
        connect.limit_jobs(session, source, json.jobs_max, actor=who.name)
        row = show.source_row(source)
    handover.try_hand_over(farm().database, farm().queues)
    return answer(row)


@blueprint.post("/sources/<name>/secrets")
@spec.validate(resp=answers(SourceSecrets, 201), tags=_TAGS)
def rotate(name: str) -> Response:
    """Make new secrets; the newest old ones stay good until this is done again."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get_any(session, name)
        secrets = connect.rotate_secrets(session, source, actor=who.name)
        return answer(with_secrets(row_now(session, source), secrets), 201)


@blueprint.put("/sources/<name>/secrets")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def take_secret(name: str, json: NewSecret) -> Response:
    """Take the secret that the SCM made; the newest old one stays good until this is done again."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get(session, name)
        connect.take_secret(session, source, json.secret.get_secret_value(), actor=who.name)
        return answer(row_now(session, source))


@blueprint.put("/sources/<name>/credential")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def set_credential(name: str, json: NewCredential) -> Response:
    """Keep the credential of a private repository, in place of the one before."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get_any(session, name)
        credentials.set_credential(session, source, to_credential(json), actor=who.name)
        return answer(row_now(session, source))


@blueprint.delete("/sources/<name>/credential")
@spec.validate(resp=answers(SourceRow), tags=_TAGS)
def remove_credential(name: str) -> Response:
    """Forget the credential of a repository."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get_any(session, name)
        credentials.remove_credential(session, source, actor=who.name)
        return answer(row_now(session, source))


@blueprint.put("/sources/<name>/scm-token")
@spec.validate(resp=answers(SourceAnswer), tags=_TAGS)
def set_scm_token(name: str, json: NewScmToken) -> Response:
    """Keep the token for the SCM's API, in place of the one before: from now on the SCM is told of builds."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get_any(session, name)
        row = access.set_access(session, source, to_given(json), actor=who.name)
        outbox.address_again(session, source.id, row.host)
        watch.look_soon(session, source.id)
        session.flush()
        return answer(_with_activity(session, [show.source_row(source)])[0])


@blueprint.delete("/sources/<name>/scm-token")
@spec.validate(resp=answers(SourceAnswer), tags=_TAGS)
def remove_scm_token(name: str) -> Response:
    """Forget the token; what waits to be told is dropped."""
    who = require("admin")
    with farm().database.begin() as session:
        source = show.get_any(session, name)
        access.remove_access(session, source, actor=who.name)
        outbox.drop(session, source.id)
        session.flush()
        return answer(_with_activity(session, [show.source_row(source)])[0])


@blueprint.get("/sources/<name>/hook")
@spec.validate(resp=answers(HookFiles), tags=_TAGS)
def hook(name: str) -> Response:
    """The post-receive script for a plain git server, and its settings, which hold the signing token."""
    require("admin")
    with farm().database.read() as session:
        source = show.get(session, name)
        signing = [secret.value for secret in source.secrets if secret.kind == "signing"]
    if not signing:
        raise Conflict(
            f"The source {name} has no signing token: {source.scm} signs in its own way.",
            code="source.no_signing_token",
            hint="Enter the hook URL and the secret in the SCM's settings.",
        )
    return answer(HookFiles(post_receive(), CONFIG_NAME, hook_config(hook_url(name), signing[-1])))


def _with_activity(session: Session, rows: list[SourceRow]) -> list[SourceAnswer]:
    ids = [row.id for row in rows]
    builds, deliveries = latest_builds(session, ids), latest_deliveries(session, ids)
    steps, told = steps_of(session, ids), answering(session, ids)
    return [
        SourceAnswer(
            **vars(row),
            hook_url=hook_url(row.name),
            builds=tuple(builds[row.id]),
            last_delivery=deliveries.get(row.id),
            step=steps[row.id],
            answering=told.get(row.id),
        )
        for row in rows
    ]
