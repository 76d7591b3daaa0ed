"""`/tuf/...` and the key documents: what verifiers need, readable by all."""

from __future__ import annotations

from flask import Blueprint, Response

from buildfarm.errors import NotFound
from webapp.context import farm

blueprint = Blueprint("trusted", __name__)
_DOCUMENTS = {"trusted_root.json", "signing_config.v0.2.json", "client_trust_config.json"}


@blueprint.get("/tuf/targets/<name>")
def document(name: str) -> Response:
    """A public document of the signer: the trusted root and its companions."""
    path = farm().settings.trust_dir / name
    if name not in _DOCUMENTS or not path.is_file():
        raise NotFound("There is no such document.", code="trust.unknown_document")
    return Response(
        path.read_bytes(), content_type="application/json", headers={"Cache-Control": "max-age=60"}
    )
