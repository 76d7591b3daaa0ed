"""`/api/v1/queue`: how the queue does; pausing what is handed to builders, and going on."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.farm import dispatch
from buildfarm.farm.fleet import QueueHealth, queue_health
from webapp.api.answer import answer
from webapp.api.effects import hand_over
from webapp.api.spec import Body, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("queue", __name__)
_TAGS = ["queue"]


class NewPause(Body):
    """Why nothing shall be handed to builders for now; for people to read."""

    reason: str = Field("", max_length=500)


@blueprint.get("/queue")
@spec.validate(resp=answers(QueueHealth), tags=_TAGS)
def show() -> Response:
    """What waits and runs, who is there to run it, and whether the farm is paused."""
    require("view")
    with farm().database.read() as session:
        return answer(queue_health(session, farm().settings))


@blueprint.put("/queue/pause")
@spec.validate(resp=answers(QueueHealth), tags=_TAGS)
def pause(json: NewPause) -> Response:
    """Hand no job to any builder; what runs goes on, what comes in is queued."""
    who = require("admin")
    with farm().database.begin() as session:
        dispatch.pause(session, actor=who.name, reason=json.reason)
        session.flush()
        return answer(queue_health(session, farm().settings))


@blueprint.delete("/queue/pause")
@spec.validate(resp=answers(QueueHealth), tags=_TAGS)
def resume() -> Response:
    """Hand jobs to builders again."""
    who = require("admin")
    with farm().database.begin() as session:
        dispatch.resume(session, actor=who.name)
        session.flush()
        health = queue_health(session, farm().settings)
    hand_over()
    return answer(health)
