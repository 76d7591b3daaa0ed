"""`/<channel>/stage/<token>/simple/`: an index of what an upload session has staged, for pip and people.

To know the address is the right to read it (PEP 694): it goes to whoever tries a release out. It is made
anew for each request and is gone with the session.
"""

from __future__ import annotations

import gzip
import os
import sys
from collections.abc import Sequence
from operator import attrgetter

from flask import Blueprint, Response, request
from sqlalchemy.orm import Session

from buildfarm.errors import NotFound
from buildfarm.index import render
from buildfarm.index.conditions import Form, byte_range, form_named, negotiate
from buildfarm.index.decide import Answer
from buildfarm.index.model import Project
from buildfarm.index.namespacefacts import Claim, coverage
from buildfarm.index.pagefacts import PageFile, PageRelease
from buildfarm.index.pagetree import Stored
from buildfarm.index.runs import Runs
from buildfarm.index.session_model import UploadFile, UploadSession
from buildfarm.index.sessions import previewed
from buildfarm.wheels.facts import FileFacts
from webapp.context import farm
from webapp.sending import send

blueprint = Blueprint("stage", __name__)
_ROOT = "/<channel>/stage/<token>"
_NO_STORE = ("Cache-Control", "private, max-age=0, must-revalidate")


@blueprint.get(f"{_ROOT}/simple/")
def projects(channel: str, token: str) -> Response:
    """The one project of the session."""
    with farm().database.read() as session:
        names = [previewed(session, channel, token).project]
    has_namespaces = farm().settings.index.namespaces
    return _page(render.root_forms(Runs(names, key=str, ends=bool), serial=0, namespaces=has_namespaces))


@blueprint.get(f"{_ROOT}/simple/<name>/")
def project(channel: str, token: str, name: str) -> Response:
    """The completed files of the session."""
    with farm().database.read() as session:
        found, staged = _staged(session, channel, token)
        claims = _claims(session, found.project) if farm().settings.index.namespaces else None
    if name != found.project:
        raise NotFound("This session has no such project.", code="session.unknown_file")
    files = tuple(_page_file(file, facts) for file, facts in staged)
    shown = [PageRelease(found.version, 0, None, found.created_at, files)] if files else []
    releases = Runs(shown, key=attrgetter("version"), ends=bool)
    return _page(render.ProjectRendering(name, "").forms(releases, render.Marking(0, namespaces=claims)))


@blueprint.get(f"{_ROOT}/files/<name>/<filename>")
def file(channel: str, token: str, name: str, filename: str) -> Response:
    """A staged file, or the metadata beside it."""
    with farm().database.read() as session:
        _found, staged = _staged(session, channel, token)
    for row, facts in staged:
        if name == facts.project and filename == f"{row.filename}.metadata":
            return Response(facts.metadata, content_type="application/octet-stream", headers=[_NO_STORE])
        if name == facts.project and filename == row.filename:
            return _bytes(row, facts)
    raise NotFound("This session has no such file.", code="session.unknown_file")


def _staged(
    session: Session, channel: str, token: str
) -> tuple[UploadSession, list[tuple[UploadFile, FileFacts]]]:
    found = previewed(session, channel, token)
    done = [file for file in found.files if file.status == "completed" and file.facts]
    return found, [(file, FileFacts.from_json(file.facts or "")) for file in done]


def _claims(session: Session, name: str) -> Sequence[Claim]:
    """What covers the project; one that is new becomes local when the session is published."""
    project = session.get(Project, name)
    return coverage(session, {name: project.local_since if project else sys.maxsize})[name].claims


def _page_file(file: UploadFile, facts: FileFacts) -> PageFile:
    return PageFile(
        filename=facts.filename,
        sha256=facts.sha256,
        size=facts.size,
        uploaded_at=file.created_at,
        requires_python=facts.requires_python,
        metadata_sha256=facts.metadata_sha256,
        bundle_sha256=None,
        provenance_sha256=None,
        reproduced_sha256=None,
        yanked=None,
    )


def _page(forms: dict[str, bytes]) -> Response:
    wanted = request.args.get("format")
    form = form_named(wanted) if wanted else negotiate(request.headers.get("Accept"))
    if form is None:
        return Response("This index speaks JSON (PEP 691) and HTML (PEP 503).\n", status=406)
    body = gzip.decompress(forms["json.gz" if form is Form.JSON else "html.gz"])
    content_type = form if form is not Form.HTML else "text/html; charset=utf-8"
    return Response(body, content_type=content_type, headers=[_NO_STORE, ("Vary", "Accept")])


def _bytes(row: UploadFile, facts: FileFacts) -> Response:
    path = farm().sessions.staging.path(row.id)

    def decision() -> Answer:
        try:
            stored = Stored.of(str(path), os.stat(path))
        except FileNotFoundError:
            raise NotFound("This session has no such file.", code="session.unknown_file") from None
        part = byte_range(request.headers.get("Range") if request.method == "GET" else None, facts.size)
        if part == "unsatisfiable":
            return Answer(416, (("Content-Range", f"bytes */{facts.size}"), ("Content-Length", "0")))
        start, length = part if isinstance(part, tuple) else (0, facts.size)
        headers = [
            _NO_STORE,
            ("Content-Type", "application/octet-stream"),
            ("Content-Length", str(length)),
            ("Accept-Ranges", "bytes"),
        ]
        if part is not None:
            headers.append(("Content-Range", f"bytes {start}-{start + length - 1}/{facts.size}"))
        return Answer(206 if part else 200, tuple(headers), file=stored, start=start, length=length)

    return send(decision)
