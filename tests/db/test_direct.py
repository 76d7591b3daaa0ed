"""Rows that are written past the unit of work are the session's all the same."""

from __future__ import annotations

from buildfarm import clock
from buildfarm.db import direct
from buildfarm.farm.model import Build, Task
from buildfarm.farm.rules import State
from buildfarm.scm.model import Delivery, DeliveryEvent


def test_rows_are_written_at_once_and_go_on_as_loaded_ones(each_house) -> None:
    source = each_house.source()
    delivery = Delivery(
        id="dlv_1", source_id=source, scm="generic", received_at=clock.now(), state="accepted", headers={},
        body=b"", body_sha256="0" * 64, steps=[], title="Round the rim",
        events=[DeliveryEvent(delivery_id="dlv_1", source_id=source, position=0, kind="push")],
    )  # fmt: skip
    build = Build(
        id="bld_1", number=1, source_id=source, delivery_id="dlv_1", trigger="t", ref="refs/heads/main",
        channel="dev", state=State.QUEUED, created_at=clock.now(),
    )  # fmt: skip
    with each_house.database.begin() as session:
        direct.insert(session, delivery, *delivery.events, build)
        asked = direct.ask(session, Build.__table__.select(), {}).one()
        assert (asked.delivery_id, asked.fresh, asked.recipe) == ("dlv_1", False, None)
        assert (build.fresh, build.recipe) == (False, None)
        build.state = State.RUNNING
    with each_house.database.read() as session:
        assert session.get_one(Build, "bld_1").state == State.RUNNING
        kept = session.get_one(Delivery, "dlv_1")
        assert [one.kind for one in kept.events] == ["push"]
        assert "round the rim" in kept.words


def test_what_the_session_has_yet_to_flush_is_not_asked_for(each_house) -> None:
    with each_house.database.begin() as session:
        session.add(
            Task(id="tsk_1", kind="k", subject="s", state="queued", queue="q", attempt=1, hand_over=0,
                 created_at=clock.now())
        )  # fmt: skip
        query = Task.__table__.select()
        assert direct.ask(session, query, {}).all() == []
        session.flush()
        assert len(direct.ask(session, query, {}).all()) == 1
