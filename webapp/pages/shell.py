"""What every page has: who is looking, the theme, static files by their content, the render call."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from flask import Flask, Response, make_response, render_template, request, url_for

from buildfarm.access import rules
from buildfarm.access.rules import Principal
from buildfarm.errors import FarmError
from buildfarm.sources.names import spoken
from webapp import context
from webapp.pages import look

THEME_COOKIE = "buildfarm_theme"
THEMES = ("light", "dark")
_YEAR_S = 31_536_000


def install(app: Flask) -> None:
    """Give the templates their filters and globals, and static files their caching."""
    for name in ("begins", "when", "duration", "elapsed", "size", "short_ref", "pretty", "word"):
        app.add_template_filter(getattr(look, name), name)
    app.add_template_filter(look.counted, "count")
    app.add_template_filter(spoken, "source_name")
    app.add_template_global(look.mark, "mark")
    app.add_template_global(_static_url(app), "static")
    app.add_template_global(_query, "query")
    app.context_processor(_shared)
    app.after_request(_cache_static)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True


def page(template: str, status: int = 200, **facts: Any) -> Response:  # noqa: ANN401
    """A page; it speaks to one person, so no cache between keeps it."""
    response = make_response(render_template(template, **facts), status)
    response.headers["Cache-Control"] = "private, no-store"
    response.headers["Vary"] = "Cookie"
    return response


def own_path(target: str | None) -> str:
    """The path to go to after a log-in: one of ours, or the home page."""
    sound = target and target.isprintable() and target.isascii() and "\\" not in target
    return target if target and sound and target.startswith("/") and target[1:2] != "/" else "/"


def _shared() -> dict[str, Any]:
    me = _viewer()
    theme = request.cookies.get(THEME_COOKIE, "")
    return {
        "me": me,
        "may": lambda verb, target="": rules.may(me, verb, target),
        "csrf": "" if me.is_anonymous else context.csrf_token(),
        "theme": theme if theme in THEMES else "",
        "here": request.full_path.rstrip("?"),
        "public_url": context.farm().settings.public_url,
    }


def _query(pairs: Iterable[tuple[str, str | None]]) -> str:
    """A query string of what is given; empty for nothing."""
    given = urlencode([(name, value) for name, value in pairs if value])
    return f"?{given}" if given else ""


def _viewer() -> Principal:
    # An error page has to be drawn for a bad credential and without a database too.
    try:
        return context.principal()
    except FarmError:
        return rules.ANONYMOUS


def _static_url(app: Flask) -> Callable[[str], str]:
    folder = Path(app.static_folder or "")

    @cache
    def digest(name: str) -> str:
        return hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16]

    def static(name: str) -> str:
        """The URL of a static file; it changes with the content, so it may be cached for ever."""
        return url_for("static", filename=name, v=digest(name))

    return static


def _cache_static(response: Response) -> Response:
    if request.endpoint == "static" and response.status_code == 200:
        lasting = f"public, max-age={_YEAR_S}, immutable" if "v" in request.args else "no-cache"
        response.headers["Cache-Control"] = lasting
    return response
