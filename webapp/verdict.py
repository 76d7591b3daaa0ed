"""`GET /_verdict/<channel>`: may this credential read this channel? Asked by fronts, by the unix socket.

204 with `X-Verdict: allow` or `public`, 401, 403; 503 when nobody can tell. What a front may do with it
stands in docs/adr/0011-embedded-front.md.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from flask import Blueprint, Flask, Response, current_app, request
from sqlalchemy import select

from buildfarm.access import rules
from buildfarm.access.rules import Principal
from buildfarm.access.verdicts import FRESH_S
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, Forbidden, NotFound, Unauthenticated
from buildfarm.farm.builds import FIRST_CHANNEL
from buildfarm.index.decide import Verdict
from buildfarm.index.model import Channel
from buildfarm.sources.model import PullRequest
from buildfarm.sources.names import STAGE_PREFIX
from webapp.context import principal
from webapp.peer import BY_FRONT

blueprint = Blueprint("verdict", __name__)
#: A stage may be asked for as soon as it is there; names of none cost no more than a look in so many seconds.
_NEW_S = 0.1


class Readers:
    """Who may read channels beside those who are named: looked up anew when older than a verdict may be.

    A stage is for whoever may read the channel that it was built for; a fork's for those of them who may
    approve its commits, and so is what bears a stage's name and is not known here: a new one, or files of one
    that is gone and still in somebody's tree.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._public: frozenset[str] = frozenset()
        self._stages: Mapping[str, bool] = {}
        self._looked, self._until = -1.0, 0.0  # never
        self._lock = threading.Lock()

    def of(self, who: Callable[[], Principal], channel: str) -> Verdict:
        """The verdict; who asks is found out only where that decides."""
        is_stage = channel.startswith(STAGE_PREFIX)
        due = self._looked + _NEW_S if is_stage and channel not in self._stages else self._until
        if time.monotonic() >= due:
            with self._lock:
                self._refresh(due)
        is_forks = is_stage and self._stages.get(channel, True)
        readable_as = FIRST_CHANNEL if is_stage else channel
        if readable_as in self._public and not is_forks:
            return Verdict.PUBLIC
        try:
            asking = who()
        except Unauthenticated:
            return Verdict.UNKNOWN
        may_read = rules.may(asking, "read", readable_as, public=readable_as in self._public)
        if may_read and (not is_forks or rules.may(asking, "build")):
            return Verdict.ALLOW
        return Verdict.UNKNOWN if asking.is_anonymous else Verdict.FORBIDDEN

    def _refresh(self, due: float) -> None:
        now = time.monotonic()
        if self._looked >= due:
            return  # another thread has, while this one waited
        try:
            with self._database.read() as session:
                self._public = frozenset(session.scalars(select(Channel.name).where(Channel.public)))
                staged = select(PullRequest.stage, PullRequest.is_fork).where(PullRequest.stage.is_not(None))
                self._stages = {str(stage): is_fork for stage, is_fork in session.execute(staged)}
        except ExternalFailure:
            pass  # what was so a moment ago is so still
        self._looked, self._until = now, now + FRESH_S


def install(app: Flask, database: Database) -> None:
    """Give the application its memory of who may read what."""
    app.extensions["readers"] = Readers(database)


def verdict_on(channel: str) -> Verdict:
    """May whoever sent this request read the channel?

    Raises:
        ExternalFailure: nobody can tell while the database is away.
    """
    readers: Readers = current_app.extensions["readers"]
    return readers.of(principal, channel)


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
