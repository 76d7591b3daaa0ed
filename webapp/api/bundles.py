"""`/api/v1/channels/<name>/exports`, `.../imports`: a mirror's way to a site without a network."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase

from flask import Blueprint, Response, request
from pydantic import Field

from buildfarm.errors import InvalidInput
from buildfarm.index.exporting import Exported
from buildfarm.index.importing import Taken
from buildfarm.index.spelling import normal_name
from buildfarm.mirror import evidence
from buildfarm.mirror.files import FILE_BYTES
from webapp.api.answer import answer
from webapp.api.spec import Body, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("bundles", __name__)
_TAGS = ["mirror"]
_FIRST_LINE_BYTES = 2 << 20
_MANIFEST_BYTES = 4 << 30
_CHUNK = 1 << 20


class WantedFiles(Body):
    """A requirements.txt, uv.lock or pylock.toml whose files alone go along; without it everything here."""

    text: str | None = Field(None, max_length=8 << 20)


@dataclass(frozen=True)
class EvidenceText:
    """The journal row of an export with its inclusion proof and a signed head, as one text."""

    evidence: str


@dataclass(frozen=True)
class TakenFile:
    """A file that is here now."""

    filename: str
    sha256: str
    size: int


@blueprint.post("/channels/<name>/exports")
@spec.validate(resp=answers(Exported, 201), tags=_TAGS)
def export(name: str, json: WantedFiles) -> Response:
    """Compose the manifest of what a channel has of upstream, and name it in the journal."""
    who = require("admin")
    return answer(farm().exporter.export(name, json.text, actor=who.name), 201)


@blueprint.get("/mirror/exports/<int:serial>")
@spec.validate(resp=answers(EvidenceText), tags=_TAGS)
def show_evidence(serial: int) -> Response:
    """The evidence of an export; 404 `export.unsigned` until a signed head covers its row, some seconds."""
    require("admin")
    with farm().database.read() as session:
        return answer(EvidenceText(evidence.collect(session, serial).to_json()))


@blueprint.get("/mirror/exports/<int:serial>/manifest")
@spec.validate(resp=answers(None), tags=_TAGS)
def show_manifest(serial: int) -> Response:
    """The manifest of an export: JSON lines, as they were signed."""
    require("admin")
    with farm().database.read() as session:
        sha256 = evidence.manifest_of(session, serial)
    return Response(farm().blobs.chunks(sha256), content_type="application/jsonl")


@blueprint.post("/channels/<name>/imports")
@spec.validate(resp=answers(Taken, 201), tags=_TAGS)
def take_manifest(name: str) -> Response:
    """Check a bundle and take in its pages and advisories.

    The body is JSON lines: first `trusted_root`, the root that you pinned, and `evidence`, both as text;
    then the manifest as it stands in the bundle.
    """
    who = require("admin")
    request.max_content_length = _MANIFEST_BYTES
    with tempfile.TemporaryFile(dir=farm().settings.data) as body:
        for chunk in _body():
            body.write(chunk)
        body.seek(0)
        trusted_root, proof = _first_line(body)
        taken = farm().importer.take_manifest(name, trusted_root, proof, body, actor=who.name)
    if taken.serial:
        farm().visibility.wait(taken.serial)
    return answer(taken, 201)


@blueprint.put("/mirror/projects/<name>/files/<filename>")
@spec.validate(resp=answers(TakenFile), tags=_TAGS)
def take_file(name: str, filename: str) -> Response:
    """Take in the bytes of a file that a page lists with its digest; checked like one from upstream."""
    require("admin")
    request.max_content_length = FILE_BYTES
    file = farm().importer.take_file(normal_name(name), filename, _body())
    return answer(TakenFile(file.filename, file.sha256, file.size))


def _body() -> Iterator[bytes]:
    while chunk := request.stream.read(_CHUNK):
        yield chunk


def _first_line(body: BufferedIOBase) -> tuple[str, str]:
    try:
        first = json.loads(body.readline(_FIRST_LINE_BYTES))
        return str(first["trusted_root"]), str(first["evidence"])
    except (ValueError, KeyError, TypeError, RecursionError) as err:
        raise InvalidInput(
            "The first line is no object with trusted_root and evidence.", code="bundle.evidence"
        ) from err
