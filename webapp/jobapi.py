"""`/jobapi/v1`: the only thing a builder speaks to.

A builder claims with its own token and gets one that is good for a single attempt; everything below
`/attempt/` is authorised by that one and refused with 409 as soon as the attempt is not the current
one. See docs/job-api.md.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from buildfarm import clock, log
from buildfarm.access.verdicts import credential_of
from buildfarm.errors import InvalidInput, NotFound, Unauthenticated
from buildfarm.farm import archives, comparisons, crew, dispatch, handover, jobs, logs, registry
from buildfarm.farm.model import Attempt, Job
from buildfarm.index.builddoor import CRATE_FILES, digest_of
from buildfarm.index.buildview import BuildView, Served, readable
from buildfarm.index.pinnedview import PinnedView
from buildfarm.mirror.model import RegistryFile
from buildfarm.sandbox.spec import FailureClass, Phase
from webapp.context import farm, verdicts
from webapp.errors import told_plainly
from webapp.sending import send_blob, send_page, send_text

Shape = TypeVar("Shape", bound="_Body")
Answer = TypeVar("Answer", bound="str | bytes | RegistryFile")
blueprint = Blueprint("jobapi", __name__, url_prefix="/jobapi/v1")


#: A petabyte: no host has it, and the database's numbers hold it.
_MOST_BYTES = 1 << 50


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Claim(_Body):
    """What RQ carried to the builder."""

    job: str
    attempt: int = Field(ge=1)


class Checked(_Body):
    """One finding of a builder's self-test."""

    name: str = Field(max_length=100)
    good: bool
    value: str = Field(max_length=1000)
    hint: str = Field("", max_length=1000)


class Report(_Body):
    """What a builder says about itself: the build queues it looks into, attempts it runs at a time.

    `memory_bytes` is what its attempts may use together, null where it does not know. `findings` are those of
    its self-test, null until it has made one; `images` the ids that it looked for.
    `emulators` are the machines that its kernel has an emulator for, whether it was set up to use it or not.
    """

    queues: list[str] = Field(max_length=400)
    slots: int = Field(ge=1, le=1000)
    memory_bytes: int | None = Field(None, ge=1, le=_MOST_BYTES)
    findings: list[Checked] | None = Field(max_length=50)
    images: list[str] | None = Field(None, max_length=1000)
    emulators: list[str] = Field([], max_length=100)


class Beat(_Body):
    """A sign of life."""

    phase: Phase


class Segment(_Body):
    """Lines of the log."""

    offset: int = Field(ge=0)
    phase: Phase
    text: str
    times: list[int]


class PhaseSeen(BaseModel):
    """A phase as the builder saw it; what else it says is kept as it is."""

    model_config = ConfigDict(extra="allow")

    memory_bytes: int | None = Field(None, ge=0, le=_MOST_BYTES)


class Outcome(_Body):
    """How the attempt ended, as the builder saw it."""

    state: str = Field(pattern="^(succeeded|failed|timed_out|cancelled)$")
    cause: str | None = Field(None, pattern="^(user_code|checks|limit|infrastructure|policy)$")
    failure_class: FailureClass | None = None
    first_error: str | None = Field(None, max_length=2000)
    error_line: int | None = Field(None, ge=1)
    phase: str | None = None
    phases: list[PhaseSeen] = []
    engine: dict[str, str] = {}


@blueprint.post("/claim")
def claim() -> Response:
    """Take a job's attempt; answers its spec and token."""
    body = _parsed(Claim)
    principal = verdicts().principal(request.headers.get("Authorization"))
    with farm().database.begin() as session:
        builder = registry.builder_of(session, principal)
        refusal = dispatch.turn_away(session, builder, body.job, body.attempt, farm().settings)
        if refusal is None:
            claimed = jobs.claim(session, builder, principal, body.job, body.attempt)
    if refusal is not None:
        handover.try_hand_over(farm().database, farm().queues)
        raise refusal
    with log.bind(job_id=body.job, attempt=body.attempt):
        log.get(__name__).info("attempt.claimed", builder=builder.name)
    spec = {**claimed.spec, "heartbeat_seconds": farm().settings.timing.heartbeat_s}
    answer = jsonify(spec=spec, token=claimed.token)
    # The builder begins while the next job is handed over in its place.
    answer.call_on_close(partial(handover.try_hand_over, farm().database, farm().queues))
    return answer


@blueprint.post("/builder/lost")
def lost() -> Response:
    """Give back an attempt that this builder held and whose process is dead; the job's state afterwards."""
    body = _parsed(Claim)
    principal = verdicts().principal(request.headers.get("Authorization"))
    with farm().database.begin() as session:
        builder = registry.builder_of(session, principal)
        job = jobs.held_by(session, builder, body.job, body.attempt)
        state = jobs.lose(session, job, attempts_max=farm().settings.limits.attempts)
    with log.bind(job_id=body.job, attempt=body.attempt):
        log.get(__name__).warning("attempt.lost", builder=builder.name, job_state=state)
    handover.try_hand_over(farm().database, farm().queues)
    return jsonify(state=state)


@blueprint.post("/builder/seen")
def seen() -> Response:
    """Note that a builder is there; the answer says whether to look for work, and when to ask again."""
    body = _parsed(Report)
    principal = verdicts().principal(request.headers.get("Authorization"))
    with farm().database.begin() as session:
        builder = registry.builder_of(session, principal)
        builder.seen_at, builder.facts = clock.now(), body.model_dump()
        take = dispatch.may_take(session, builder)
        leave = crew.left_to_natives(session, builder, farm().settings)
        images = registry.images_for(session, body.queues)
    timing = farm().settings.timing
    again_s = timing.builder_seen_s if take else timing.heartbeat_s
    return jsonify(take=take, leave=leave, again_s=again_s, images=images, now=clock.now().timestamp())


@blueprint.get("/images/<image_id>")
def image(image_id: str) -> Response:
    """The archive of an image, or a range of it; its SHA-256 is in `X-Sha256`."""
    principal = verdicts().principal(request.headers.get("Authorization"))
    with farm().database.read() as session:
        registry.builder_of(session, principal)
        sha256 = archives.archive_of(session, image_id)
    answer = send_blob(farm().blobs.path(sha256))
    answer.headers["X-Sha256"] = sha256
    return answer


@blueprint.post("/attempt/heartbeat")
def heartbeat() -> Response:
    """Renew the claim; `go_on` false asks the builder to stop."""
    body = _parsed(Beat)
    with farm().database.begin() as session:
        go_on = jobs.heartbeat(session, jobs.attempt_of_token(session, _token())[0], body.phase)
    return jsonify(go_on=go_on)


@blueprint.post("/attempt/log")
def append_log() -> Response:
    """Store whole lines; answers how many bytes have been received."""
    body = _parsed(Segment)
    with farm().database.begin() as session:
        attempt, _ = jobs.attempt_of_token(session, _token())
        size = logs.append(
            session,
            attempt.job_id,
            attempt.number,
            offset=body.offset,
            phase=body.phase,
            text=body.text,
            times=body.times,
            max_bytes=farm().settings.limits.log_bytes,
        )
    return jsonify(size=size)


@blueprint.get("/attempt/source")
def source() -> Response:
    """The source snapshot, a tar."""
    _, job = _current()
    return send_blob(farm().blobs.path(str(job.spec["source_sha256"])))


@blueprint.put("/attempt/artifacts/<filename>")
def put_artifact(filename: str) -> tuple[Response, int]:
    """Store a file that the attempt made."""
    announced = request.headers.get("X-Sha256", "")
    with farm().database.read() as session:
        attempt, job = jobs.attempt_of_token(session, _token())
        if len(announced) != 64:
            raise InvalidInput("X-Sha256 must announce the digest of the file.", code="artifact.no_digest")
        room = jobs.artifact_room(session, attempt, job, filename, announced)
    farm().blobs.demand_room(request.content_length or 0)
    # The store counts. With None it would be the application's limit for any body.
    request.max_content_length = sys.maxsize
    chunks = iter(lambda: request.stream.read(1 << 20), b"")
    limit = min(room, farm().settings.limits.upload_bytes)
    sha256, size = farm().blobs.put(chunks, sha256=announced, max_bytes=limit)
    with farm().database.begin() as session:
        fresh, _ = jobs.attempt_of_token(session, _token())
        jobs.add_artifact(session, fresh, filename, sha256, size)
    log.get(__name__).info("artifact.received", job_id=attempt.job_id, filename=filename, size=size)
    return jsonify(sha256=sha256, size=size), 201


@blueprint.post("/attempt/finish")
def finish() -> Response:
    """End the attempt; answers the state of the job."""
    body = _parsed(Outcome)
    with farm().database.begin() as session:
        attempt, job = jobs.attempt_of_token(session, _token())
        state = jobs.finish(session, attempt, body.model_dump(), attempts_max=farm().settings.limits.attempts)
    with log.bind(job_id=job.id, attempt=attempt.number, build_id=job.build_id):
        log.get(__name__).info("attempt.finished", state=body.state, failure=body.failure_class)
    handover.try_hand_over(farm().database, farm().queues)
    return jsonify(state=state)


@blueprint.get("/attempt/index/simple/<name>/")
def index_page(name: str) -> Response:
    """A project page of what this attempt may read."""
    view, granted = _view()
    return send_page(_shown("pypi", name, lambda: view.page(name, granted)))


@blueprint.get("/attempt/index/files/<name>/<filename>")
def index_file(name: str, filename: str) -> Response:
    """A file of what this attempt may read; giving it out is recorded."""
    view, granted = _view()
    if filename.endswith(".metadata"):
        body = view.metadata(name, filename.removesuffix(".metadata"), granted)
        return Response(body, content_type="application/octet-stream")
    served: Served = view.file(name, filename, granted)
    return _given(
        ecosystem="pypi",
        filename=served.filename,
        sha256=served.sha256,
        project=served.project,
        version=served.version,
        origin=served.origin,
    )


@blueprint.get("/attempt/index/crates/index/<path:asked>")
@told_plainly
def crates_index(asked: str) -> Response:
    """A file of the crates registry's index."""
    _current()
    return send_text(_shown("cargo", asked, lambda: farm().crates.index(asked, CRATE_FILES)))


@blueprint.get("/attempt/index/crates/files/<name>/<version>/download")
@told_plainly
def crate(name: str, version: str) -> Response:
    """A crate; giving it out is recorded."""
    _current()
    return _given_of_registry(farm().crates.file(name, version))


@blueprint.get("/attempt/index/go/<path:asked>")
@told_plainly
def go_module(asked: str) -> Response:
    """What the Go command asks a module proxy for; giving a module's zip out is recorded."""
    _current()
    found = _shown("golang", asked, lambda: farm().go_modules.get(asked))
    return send_text(found) if isinstance(found, str) else _given_of_registry(found)


def _given_of_registry(file: RegistryFile) -> Response:
    return _given(
        ecosystem=file.ecosystem,
        filename=file.filename,
        sha256=file.sha256,
        project=file.name,
        version=file.version,
        origin=file.origin,
    )


def _shown(ecosystem: str, asked: str, show: Callable[[], Answer]) -> Answer:
    """What the index shows, noted on the attempt by its digest."""
    sha256: str | None = None
    try:
        answer = show()
        sha256 = digest_of(answer)
    except NotFound:
        sha256 = ""
        raise
    finally:
        with farm().database.begin() as session:
            attempt, _ = jobs.attempt_of_token(session, _token())
            jobs.note_answer(session, attempt, ecosystem, asked, sha256)
    return answer


def _given(*, filename: str, sha256: str, **facts: str) -> Response:
    """A file as a build dependency of the attempt: first the record, then the bytes."""
    with farm().database.begin() as session:
        attempt, job = jobs.attempt_of_token(session, _token())
        comparisons.demand_read_before(session, job, filename)
        jobs.add_dependency(session, attempt, filename=filename, sha256=sha256, **facts)
    log.get(__name__).info("dependency.served", job_id=job.id, filename=filename)
    return send_blob(farm().blobs.path(sha256))


def _view() -> tuple[BuildView | PinnedView, list[str]]:
    """The index as this attempt sees it, or as the one that it repeats did; the channels of its source."""
    with farm().database.read() as session:
        _, job = jobs.attempt_of_token(session, _token())
        granted = readable(session, job)
        first = comparisons.first_of(session, job)
    return (farm().view_of(first.id, first.attempt) if first else farm().build_view), granted


def _current() -> tuple[Attempt, Job]:
    with farm().database.read() as session:
        return jobs.attempt_of_token(session, _token())


def _token() -> str:
    header = request.headers.get("Authorization")
    if not header:
        raise Unauthenticated("The token of an attempt is needed.", code="attempt.token")
    return credential_of(header)[1]


def _parsed(shape: type[Shape]) -> Shape:
    try:
        return shape.model_validate_json(request.get_data())
    except ValidationError as err:
        where = ".".join(str(part) for part in err.errors()[0]["loc"]) or "body"
        raise InvalidInput(f"{where}: {err.errors()[0]['msg']}.", code="input.invalid") from err
