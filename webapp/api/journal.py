"""`/api/v1/journal`: everything that changed what a client can see, in order."""

from __future__ import annotations

from flask import Blueprint, Response
from pydantic import Field

from buildfarm.journal.show import ChangeRow, CheckpointRow, list_rows, newest_checkpoint
from webapp.api.answer import answer, page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("journal", __name__)
_TAGS = ["journal"]


class JournalQuery(Body):
    """Rows with serials above `after`."""

    after: int = Field(0, ge=0)
    limit: int = Field(50, ge=1, le=200)


@blueprint.get("/journal")
@spec.validate(resp=answers(Page[ChangeRow]), tags=_TAGS)
def list_all(query: JournalQuery) -> Response:
    """Rows of the journal, the oldest first."""
    require("admin")
    with farm().database.read() as session:
        rows, following = list_rows(session, query.after, query.limit)
    return page(rows, following)


@blueprint.get("/journal/checkpoint")
@spec.validate(resp=answers(CheckpointRow), tags=_TAGS)
def checkpoint() -> Response:
    """The newest signed head of the journal (C2SP tlog-checkpoint)."""
    require("view")
    with farm().database.read() as session:
        return answer(newest_checkpoint(session))
