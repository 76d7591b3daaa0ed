"""`/healthz`: the process is alive; `/readyz`: it can serve, its pages are up to date."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from webapp.context import farm

blueprint = Blueprint("health", __name__)


@blueprint.get("/healthz")
def alive() -> Response:
    """The process answers; depends on nothing else, so that an outage elsewhere restarts nothing."""
    return jsonify(status="ok")


@blueprint.get("/readyz")
def ready() -> tuple[Response, int]:
    """Ready when the database answers and this node's pages follow the journal."""
    checks: dict[str, bool] = {"database": farm().database.answers()}
    if checks["database"]:
        checks["pages"] = farm().visibility.is_current(farm().settings.node)
    good = all(checks.values())
    return jsonify(status="ok" if good else "not ready", checks=checks), 200 if good else 503
