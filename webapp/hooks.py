"""`POST /hooks/<source>`: take a delivery, answer in milliseconds, work later."""

from __future__ import annotations

import sys
from functools import partial

from flask import Blueprint, Response, jsonify, request

from buildfarm import clock
from buildfarm.bootstrap import Farm
from buildfarm.farm import handover
from buildfarm.scm import intake
from webapp.context import farm

blueprint = Blueprint("hooks", __name__)


@blueprint.post("/hooks/<source>")
def receive(source: str) -> tuple[Response, int]:
    """202 when builds were started, 200 when there is nothing to do, 401 for whoever cannot sign."""
    receipt = intake.receive(farm().database, source, dict(request.headers), _body(), clock.now())
    root = farm().settings.public_url
    answer = jsonify(
        delivery=receipt.delivery_id,
        state=receipt.state,
        reason=receipt.reason,
        message=intake.sentence(receipt.reason),
        builds=[{"id": build, "url": f"{root}/builds/{build}"} for build in receipt.builds],
    )
    answer.call_on_close(partial(_carry_on, farm(), receipt))
    return answer, 202 if receipt.state == "accepted" else 200


def _carry_on(own: Farm, receipt: intake.Receipt) -> None:
    """What follows from the delivery, once it is answered; what does not happen here the keeper repairs."""
    for build_id in receipt.superseded:
        handover.try_withdraw(own.database, own.queues, build_id)
    handover.try_hand_over_promised(own.database, own.queues, receipt.promised)


def _body() -> bytes:
    """The raw body; refused before it is read when its length is announced, while reading when not."""
    limit = farm().settings.limits.hook_body_bytes
    # Counted below. With None it would be the application's limit for any body.
    request.max_content_length = sys.maxsize
    if (request.content_length or 0) > limit:
        raise intake.too_large(limit)
    body = request.stream.read(limit + 1)
    if len(body) > limit:
        raise intake.too_large(limit)
    return body
