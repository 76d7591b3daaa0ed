"""`/<channel>/upload/`: the Upload 2.0 API, by which a release is staged, tried out and published at once.

Source: PEP 694 (draft of 2026-07-29), mechanism `http-post-bytes`; RFC 9457 for what is refused.
"""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, request

from buildfarm.access import rules
from buildfarm.access.rules import Principal
from buildfarm.clock import iso_seconds
from buildfarm.errors import FarmError, InvalidInput, LimitExceeded, StorageFull
from buildfarm.index import channels
from buildfarm.index.session_model import UploadFile, UploadSession
from buildfarm.index.sessions import LiveElsewhere
from buildfarm.index.staged import MECHANISM, Announcement, StagedFiles
from webapp.context import farm, verdicts
from webapp.errors import problem_of

blueprint = Blueprint("sessions", __name__)
MEDIA_TYPE = "application/vnd.pypi.upload.v2+json"
META = {"api-version": "2.0"}
_TYPES = {MEDIA_TYPE, "application/json"}
_TEXT_BYTES = 1 << 20
_CHUNK = 1 << 20
_ROOT = "/<channel>/upload/<token>"


@blueprint.post("/<channel>/upload")
@blueprint.post("/<channel>/upload/")
def create(channel: str) -> Response:
    """Open a session for a release."""
    who = _uploader(channel)
    body = _body(name=str, version=str)
    try:
        made = farm().sessions.create(channel, who, body["name"], body["version"])
    except LiveElsewhere as err:
        response = _refusal(err)
        response.headers["Location"] = _session_url(channel, err.token)
        return response
    return _session(made, 201)


@blueprint.get(_ROOT)
def show(channel: str, token: str) -> Response:
    """How far a session is."""
    return _session(farm().sessions.get(channel, _uploader(channel), token))


@blueprint.delete(_ROOT)
def cancel(channel: str, token: str) -> Response:
    """Give a session up with all that was staged."""
    farm().sessions.cancel(channel, _uploader(channel), token)
    return Response(status=204)


@blueprint.post(f"{_ROOT}/extend")
def extend(channel: str, token: str) -> Response:
    """Keep a session for longer."""
    who, body = _uploader(channel), _body(**{"extend-for": int})
    return _session(farm().sessions.extend(channel, who, token, body["extend-for"]))


@blueprint.post(f"{_ROOT}/publish")
def publish(channel: str, token: str) -> Response:
    """Publish every file of a session at once; when the answer is sent, they are on the channel's pages."""
    who = _uploader(channel)
    _body()
    serial = farm().sessions.publish(channel, who, token)
    if serial is not None:
        farm().visibility.wait(serial)
    return _session(farm().sessions.get(channel, who, token), 201)


@blueprint.post(f"{_ROOT}/files")
def announce(channel: str, token: str) -> Response:
    """Begin a file."""
    who = _uploader(channel)
    body = _body(filename=str, size=int, hashes=dict, mechanism=str)
    if body["mechanism"] != MECHANISM:
        return _unsupported(body["mechanism"])
    what = Announcement(
        filename=body["filename"],
        size=body["size"],
        hashes={str(name): str(digest) for name, digest in body["hashes"].items()},
        mechanism=body["mechanism"],
    )
    if what.size <= farm().settings.limits.upload_bytes and not farm().blobs.has_room(what.size):
        raise _full()
    file = _files().announce(channel, who, token, what)
    return _file(farm().sessions.get(channel, who, token), file, 202)


@blueprint.get(f"{_ROOT}/files/<file_id>")
def show_file(channel: str, token: str, file_id: str) -> Response:
    """How far a file is."""
    return _file(*_files().get(channel, _uploader(channel), token, file_id))


@blueprint.delete(f"{_ROOT}/files/<file_id>")
def delete_file(channel: str, token: str, file_id: str) -> Response:
    """Give a file up."""
    _files().delete(channel, _uploader(channel), token, file_id)
    return Response(status=204)


@blueprint.post(f"{_ROOT}/files/<file_id>/bytes")
def receive(channel: str, token: str, file_id: str) -> Response:
    """Take the bytes of a file."""
    who = _uploader(channel)
    _found, file = _files().get(channel, who, token, file_id)
    if (request.content_length or 0) > file.size:
        raise LimitExceeded(
            f"{file.filename} was announced with {file.size} bytes.", code="session.too_large"
        )
    if not farm().blobs.has_room(file.size):
        raise _full()
    request.max_content_length = file.size + _CHUNK
    with _files().receiving(channel, who, token, file_id) as content:
        while chunk := request.stream.read(_CHUNK):
            content.write(chunk)
    return Response(status=204)


@blueprint.post(f"{_ROOT}/files/<file_id>/attestations")
def attest(channel: str, token: str, file_id: str) -> Response:
    """Take a JSON array of attestations of a file (PEP 740)."""
    who = _uploader(channel)
    _files().attest(channel, who, token, file_id, _text())
    return Response(status=204)


@blueprint.post(f"{_ROOT}/files/<file_id>/complete")
def complete(channel: str, token: str, file_id: str) -> Response:
    """Check a file by every rule."""
    who = _uploader(channel)
    _body()
    file = _files().complete(channel, who, token, file_id)
    response = _file(farm().sessions.get(channel, who, token), file, 201)
    response.headers["Location"] = f"{_session_url(channel, token)}/files/{file_id}"
    return response


@blueprint.errorhandler(FarmError)
def _refusal(err: FarmError) -> Response:
    errors = err.facts.get("errors") or [{"source": err.code, "message": err.message}]
    return problem_of(err, meta=META, errors=errors)


def _files() -> StagedFiles:
    return StagedFiles(farm().sessions)


def _uploader(channel: str) -> Principal:
    # As for the legacy API: a browser's session is no credential here.
    principal = verdicts().principal(request.headers.get("Authorization"))
    rules.require(principal, "upload", channel)
    with farm().database.read() as session:
        channels.demand_durable(channels.get(session, channel))
    return principal


def _text() -> str:
    request.max_content_length = _TEXT_BYTES
    try:
        return request.get_data().decode()
    except UnicodeDecodeError as err:
        raise _malformed("it is not UTF-8") from err


def _body(**wanted: type) -> dict[str, Any]:
    """The JSON object of the request, with values of these types under these keys."""
    if request.mimetype not in _TYPES:
        raise InvalidInput(f"The body has to be {MEDIA_TYPE}.", code="session.body")
    try:
        body = json.loads(_text())
    except (ValueError, RecursionError) as err:
        raise _malformed("it is no JSON") from err
    if not isinstance(body, dict) or not isinstance(body.get("meta"), dict):
        raise _malformed("it is no object with the key meta")
    if body["meta"].get("api-version") != META["api-version"]:
        raise _malformed("its meta.api-version is not 2.0")
    for name, kind in wanted.items():
        if type(body.get(name)) is not kind:
            raise _malformed(f"its {name} is missing or of another kind")
    return body


def _session(found: UploadSession, status: int = 200) -> Response:
    url = _session_url(found.channel, found.token)
    links = {
        "session": url,
        "upload": f"{url}/files",
        "publish": f"{url}/publish",
        "extend": f"{url}/extend",
        "stage": f"{farm().settings.public_url}/{found.channel}/stage/{found.token}/simple/",
    }
    body = {
        "meta": META,
        "links": links,
        "mechanisms": [MECHANISM],
        "session-token": found.token,
        "expires-at": iso_seconds(found.expires_at),
        "status": found.status,
        "name": found.project,
        "version": found.version,
        "files": {file.filename: _listed(url, file) for file in found.files if file.status != "canceled"},
        "notices": found.notices,
    }
    return _answer(body, status, {"Location": url} if status == 201 else {})


def _listed(url: str, file: UploadFile) -> dict[str, Any]:
    notices = {"notices": [file.notice]} if file.notice else {}
    return {"status": file.status, "link": f"{url}/files/{file.id}", **notices}


def _file(found: UploadSession, file: UploadFile, status: int = 200) -> Response:
    url = f"{_session_url(found.channel, found.token)}/files/{file.id}"
    body = {
        "meta": META,
        "links": {"file-upload-session": url, "complete": f"{url}/complete"},
        "status": file.status,
        "expires-at": iso_seconds(found.expires_at),
        "mechanism": {
            "identifier": MECHANISM,
            "file_url": f"{url}/bytes",
            "attestations_url": f"{url}/attestations",
        },
    }
    return _answer(body, status, {"Retry-After": "1"})


def _answer(body: dict[str, Any], status: int, headers: dict[str, str]) -> Response:
    return Response(json.dumps(body) + "\n", status=status, content_type=MEDIA_TYPE, headers=headers)


def _session_url(channel: str, token: str) -> str:
    return f"{farm().settings.public_url}/{channel}/upload/{token}"


def _unsupported(mechanism: str) -> Response:
    err = InvalidInput(
        f"This index takes no bytes by {mechanism[:60]!r}.",
        code="session.mechanism",
        hint=f"Use {MECHANISM}.",
    )
    response = _refusal(err)
    response.status_code = 422
    return response


def _malformed(problem: str) -> InvalidInput:
    return InvalidInput(f"The body cannot be read: {problem}.", code="session.body")


def _full() -> StorageFull:
    return StorageFull(
        "The farm's disk is full; the file was not taken.", hint="Its operator must make room."
    )
