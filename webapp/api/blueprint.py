"""The API as one blueprint, and what holds for every view of it."""

from __future__ import annotations

from flask import Blueprint, Response, request

from buildfarm.errors import Forbidden
from webapp.api import (
    attempts,
    builders,
    builds,
    bundles,
    channels,
    connections,
    deliveries,
    guard,
    images,
    jobs,
    journal,
    keys,
    mirror,
    namespaces,
    projects,
    promotions,
    pulls,
    queue,
    releases,
    scmhooks,
    sources,
    tokens,
    users,
    waves,
    wheel_rules,
    whoami,
)
from webapp.api.answer import answer
from webapp.api.spec import spec

#: Bytes of the largest body that any view here takes.
_MAX_BODY = 8 << 20

blueprint = Blueprint("api", __name__, url_prefix="/api")
for _noun in (
    attempts, builders, builds, bundles, channels, connections, deliveries, guard, images, jobs, journal,
    keys, mirror, namespaces, projects, promotions, pulls, queue, releases, scmhooks, sources, tokens, users,
    waves, wheel_rules, whoami,
):  # fmt: skip
    blueprint.register_blueprint(_noun.blueprint, url_prefix="/v1")


@blueprint.get("/openapi.json")
def description() -> Response:
    """What the API takes and answers (OpenAPI 3.1); open to everybody."""
    return answer(spec.spec)


@blueprint.before_request
def _check_write() -> None:
    """Refuse writes that a foreign page could have sent with a browser's cookie, and bodies without end."""
    request.max_content_length = _MAX_BODY
    writes = request.method not in {"GET", "HEAD", "OPTIONS"}
    if writes and request.cookies and "Authorization" not in request.headers:
        raise Forbidden(
            "The API takes writes with an Authorization header alone.",
            code="api.no_authorization",
            hint="Send a token, or use the forms of the dashboard.",
        )
