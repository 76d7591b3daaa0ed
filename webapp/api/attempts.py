"""`/api/v1/jobs/ID/attempts/N`: all that is needed to run an attempt again on another machine."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Blueprint, Response

from buildfarm.farm import reproduce
from buildfarm.index.buildview import BuildView, readable
from buildfarm.index.pinnedview import PinnedView
from buildfarm.index.spelling import normal_name
from buildfarm.mirror.model import RegistryFile
from buildfarm.sandbox.inside import door
from webapp.api.answer import answer
from webapp.api.spec import answers, spec
from webapp.context import farm, require
from webapp.errors import told_plainly
from webapp.sending import send_blob, send_page, send_text

blueprint = Blueprint("attempts", __name__)
_TAGS = ["jobs"]
_View = Callable[..., Response]
_ATTEMPT = "/jobs/<job_id>/attempts/<int:attempt>"


def _past_spectree(view: _View) -> _View:
    """Describe a view whose answer goes past spectree, which would hold it whole."""
    described = spec.validate(resp=answers(None), tags=_TAGS)(view)

    @wraps(described)
    def answered(**path: Any) -> Response:  # noqa: ANN401
        return view(**path)

    return answered


@blueprint.get(_ATTEMPT)
@spec.validate(resp=answers(reproduce.AttemptPlan), tags=_TAGS)
def show_one(job_id: str, attempt: int) -> Response:
    """The plan of an attempt that has ended, what it read and made, and how it ended."""
    require("build")
    with farm().database.read() as session:
        return answer(reproduce.plan_of(session, job_id, attempt))


@blueprint.get(f"{_ATTEMPT}/source")
@_past_spectree
def source(job_id: str, attempt: int) -> Response:
    """The source snapshot, a tar."""
    require("build")
    with farm().database.read() as session:
        job, _ = reproduce.ended(session, job_id, attempt)
    return send_blob(farm().blobs.path(str(job.spec["source_sha256"])))


@blueprint.get(f"{_ATTEMPT}/index/simple/<name>/")
@_past_spectree
def index_page(job_id: str, attempt: int, name: str) -> Response:
    """A project page (PEP 691): the files that the attempt read, or today's page where it read none."""
    require("build")
    normal = normal_name(name)
    view, granted = _view(job_id, attempt, normal)
    page = send_page(view.page(normal, granted))
    return _marked(page, None if isinstance(view, PinnedView) else normal)


@blueprint.get(f"{_ATTEMPT}/index/files/<name>/<filename>")
@_past_spectree
def index_file(job_id: str, attempt: int, name: str, filename: str) -> Response:
    """A file of such a page, or its metadata."""
    require("build")
    normal = normal_name(name)
    view, granted = _view(job_id, attempt, normal)
    if filename.endswith(".metadata"):
        body = view.metadata(normal, filename.removesuffix(".metadata"), granted)
        return Response(body, content_type="application/octet-stream")
    return send_blob(farm().blobs.path(view.file(normal, filename, granted).sha256))


@blueprint.get(f"{_ATTEMPT}/index/crates/index/<path:asked>")
@_past_spectree
def crates_index(job_id: str, attempt: int, asked: str) -> Response:
    """A file of the crates registry's index as it is today; a lock file says which versions are taken."""
    require("build")
    here = f"{door.URL}/crates/files"
    return _of_registry(job_id=job_id, attempt=attempt, ask=lambda: farm().crates.index(asked, here))


@blueprint.get(f"{_ATTEMPT}/index/crates/files/<name>/<version>/download")
@_past_spectree
def crate(job_id: str, attempt: int, name: str, version: str) -> Response:
    """A crate; its name and version mean the same bytes for ever."""
    require("build")
    return _of_registry(job_id=job_id, attempt=attempt, ask=lambda: farm().crates.file(name, version))


@blueprint.get(f"{_ATTEMPT}/index/go/<path:asked>")
@_past_spectree
def go_module(job_id: str, attempt: int, asked: str) -> Response:
    """What the Go command asks a module proxy for, as of today; a version means the same bytes for ever."""
    require("build")
    return _of_registry(job_id=job_id, attempt=attempt, ask=lambda: farm().go_modules.get(asked))


def _view(job_id: str, attempt: int, project: str) -> tuple[BuildView | PinnedView, list[str]]:
    """What answers for a project, and the channels that builds of the source may read today."""
    with farm().database.read() as session:
        job, _ = reproduce.ended(session, job_id, attempt)
        granted = readable(session, job)
        was_read = reproduce.has_read(session, job_id, attempt, project=project)
    return (farm().view_of(job_id, attempt) if was_read else farm().build_view), granted


@told_plainly
def _of_registry(*, job_id: str, attempt: int, ask: Callable[[], RegistryFile | str]) -> Response:
    with farm().database.read() as session:
        reproduce.ended(session, job_id, attempt)
    found = ask()
    if isinstance(found, str):
        return send_text(found)
    with farm().database.read() as session:
        was_read = reproduce.has_read(session, job_id, attempt, filename=found.filename)
    return _marked(send_blob(farm().blobs.path(found.sha256)), None if was_read else found.filename)


def _marked(answer: Response, unrecorded: str | None) -> Response:
    """The answer, with a header that names what of it the attempt did not read."""
    if unrecorded is not None:
        answer.headers["X-Buildfarm-Unrecorded"] = unrecorded
    return answer
