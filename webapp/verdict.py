"""`GET /_verdict/<channel>`: may this credential read this channel? Asked by fronts, by the unix socket.

204 with `X-Verdict: allow` or `public`, 401, 403; 503 when nobody can tell. What a front may do with it
stands in docs/adr/0011-embedded-front.md.
"""

from __future__ import annotations

import threading
import time

from flask import Blueprint, Flask, Response, current_app, request
from sqlalchemy import select

from buildfarm.access import rules
from buildfarm.access.verdicts import FRESH_S
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, Forbidden, NotFound, Unauthenticated
from buildfarm.index.decide import Verdict
from buildfarm.index.model import Channel
from webapp.context import principal
from webapp.peer import BY_FRONT

blueprint = Blueprint("verdict", __name__)


class PublicChannels:
    """Which channels everybody may read; looked up anew when older than a verdict may be."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._names: frozenset[str] = frozenset()
        self._until = 0.0
        self._lock = threading.Lock()

    def __contains__(self, channel: str) -> bool:
        if time.monotonic() >= self._until:
            with self._lock:
                self._refresh()
        return channel in self._names

    def _refresh(self) -> None:
        now = time.monotonic()
        if now < self._until:
            return
        try:
            with self._database.read() as session:
                self._names = frozenset(session.scalars(select(Channel.name).where(Channel.public)))
        except ExternalFailure:
            pass  # what was public a moment ago is so still
        self._until = now + FRESH_S


def install(app: Flask, database: Database) -> None:
    """Give the application its memory of public channels."""
    app.extensions["public_channels"] = PublicChannels(database)


def verdict_on(channel: str) -> Verdict:
    """May whoever sent this request read the channel?

    Raises:
        ExternalFailure: nobody can tell while the database is away.
    """
    if channel in current_app.extensions["public_channels"]:
        return Verdict.PUBLIC
    try:
        who = principal()
    except Unauthenticated:
        return Verdict.UNKNOWN
    if rules.may(who, "read", channel):
        return Verdict.ALLOW
    return Verdict.UNKNOWN if who.is_anonymous else Verdict.FORBIDDEN


@blueprint.get("/_verdict/<channel>")
def verdict(channel: str) -> Response:
    """The verdict, for a front alone."""
    if BY_FRONT not in request.environ:
        raise NotFound("There is no such page.", code="http.404")
    match verdict_on(channel):
        case Verdict.UNKNOWN:
            raise Unauthenticated("Credentials are needed to read this channel.", code="access.needed")
        case Verdict.FORBIDDEN:
            raise Forbidden(f"These credentials may not read the channel {channel}.")
        case given:
            return Response(status=204, headers={"X-Verdict": given})
