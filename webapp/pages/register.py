"""Puts every page of the dashboard into the application."""

from __future__ import annotations

from flask import Flask

from webapp.context import farm
from webapp.pages import (
    account,
    builds,
    channels,
    connecting,
    connections,
    deliveries,
    home,
    jobs,
    live,
    machinery,
    mirrors,
    projects,
    releases,
    shell,
    sources,
    waves,
    wheel_rules,
)
from webapp.pages.throttle import Throttle

_PAGES = (
    account, builds, channels, connecting, connections, deliveries, home, jobs, live, machinery, mirrors,
    projects, releases, sources, waves, wheel_rules,
)  # fmt: skip


def register(app: Flask) -> None:
    """Register the blueprints of the dashboard."""
    shell.install(app)
    with app.app_context():
        viewers = farm().settings.limits.log_viewers
    app.extensions["log_viewers"] = live.Viewers(viewers)
    app.extensions["log_pace"] = live.Pace()
    app.extensions["throttle"] = Throttle()
    for module in _PAGES:
        app.register_blueprint(module.blueprint)
