"""`/tuf/...`, and the documents that statements refer to: what verifiers need, readable by all.

The log's entries are not among it: a certificate in one names a repository that may be private. Who may
read the journal's rows recomputes the log from them (`buildfarm journal verify`).
"""

from __future__ import annotations

import base64

from flask import Blueprint, Response, jsonify, request

from buildfarm.errors import InvalidInput, NotFound
from buildfarm.journal import log
from buildfarm.journal.show import newest_checkpoint
from buildfarm.trust import root, uris
from webapp.context import farm
from webapp.pages.shell import page

blueprint = Blueprint("trusted", __name__)
_DOCUMENTS = {root.TRUSTED_ROOT, root.SIGNING_CONFIG, root.CLIENT_TRUST_CONFIG}
_LONGEST_SIZE = 18


@blueprint.get("/tuf/targets/<name>")
def document(name: str) -> Response:
    """A public document of the signer: the trusted root and its companions."""
    path = farm().settings.trust_dir / name
    if name not in _DOCUMENTS or not path.is_file():
        raise NotFound("There is no such document.", code="trust.unknown_document")
    return Response(
        path.read_bytes(), content_type="application/json", headers={"Cache-Control": "max-age=60"}
    )


@blueprint.get("/tuf/checkpoint")
def checkpoint() -> Response:
    """The newest signed head of the log, a signed note (C2SP tlog-checkpoint)."""
    with farm().database.read() as session:
        note = newest_checkpoint(session).note
    return Response(note, content_type="text/plain; charset=utf-8", headers={"Cache-Control": "no-cache"})


@blueprint.get("/tuf/consistency")
def consistency() -> Response:
    """The proof that the log of `from` entries is the beginning of that of `to` (RFC 9162 section 2.1.4)."""
    old, new = _size("from"), _size("to")
    with farm().database.read() as session:
        hashes = log.consistency(session, old, new)
    answer = jsonify({"from": old, "to": new, "hashes": [base64.b64encode(one).decode() for one in hashes]})
    answer.headers["Cache-Control"] = "max-age=86400"  # two sizes have one proof, for ever
    return answer


@blueprint.get(uris.BUILDER_PATH)
@blueprint.get(uris.SHARED_BUILDER_PATH)
@blueprint.get(uris.CACHED_BUILDER_PATH)
def builder() -> Response:
    """What the builder of a statement guarantees, and what not (SLSA 1.2: `builder.id` SHOULD resolve)."""
    return page(
        "trust/builder.html",
        path=request.path,
        is_shared=request.path != uris.BUILDER_PATH,
        is_cached=request.path == uris.CACHED_BUILDER_PATH,
    )


@blueprint.get(uris.BUILD_TYPE_PATH)
def build_type() -> Response:
    """The schema of a statement's parameters (SLSA 1.2: `buildType` SHOULD resolve)."""
    return page("trust/buildtype.html", path=request.path)


@blueprint.get(uris.REPRODUCED_PATH)
def reproduced() -> Response:
    """What a statement on a second build says (in-toto: a predicate type SHOULD resolve)."""
    return page("trust/reproduced.html", path=request.path)


def _size(name: str) -> int:
    text = request.args.get(name, "")
    if not text.isascii() or not text.isdecimal() or len(text) > _LONGEST_SIZE:
        raise InvalidInput(f"{name} is a size of the log, such as 7.", code="merkle.range")
    return int(text)
