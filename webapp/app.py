"""The application factory, and the headers that every answer carries."""

from __future__ import annotations

import uuid

import structlog
from flask import Flask, Response, g, request

from buildfarm.bootstrap import Farm
from webapp import context, errors, health, hooks, jobapi, sessions, simple, stage, trusted, upload, verdict
from webapp.api import blueprint as api
from webapp.pages.register import register as register_pages
from webapp.peer import Peer

#: No inline script or style, nothing from elsewhere; every page works under it.
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


def create_app(farm: Farm) -> Flask:
    """The web application over a farm."""
    app = Flask("webapp")
    app.config["MAX_FORM_MEMORY_SIZE"] = 1 << 20
    # The views that take more say so themselves.
    app.config["MAX_CONTENT_LENGTH"] = 4 << 20
    app.url_map.merge_slashes = False
    app.wsgi_app = Peer(app.wsgi_app)  # type: ignore[method-assign]
    context.install(app, farm)
    verdict.install(app, farm.database)
    errors.install(app)
    app.before_request(_begin)
    app.after_request(_finish)
    for module in (health, hooks, jobapi, trusted, upload, sessions, stage, verdict, simple):
        app.register_blueprint(module.blueprint)
    app.register_blueprint(api.blueprint)
    register_pages(app)
    return app


def _begin() -> None:
    g.request_id = request.headers.get("X-Request-ID", "")[:64] or uuid.uuid4().hex
    structlog.contextvars.clear_contextvars()
    structlog.contextvars.bind_contextvars(process="web", request_id=g.request_id)


def _finish(response: Response) -> Response:
    response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "same-origin"
    response.headers["X-Request-ID"] = g.get("request_id", "")
    return response
