"""What web processes do besides answering requests."""

from __future__ import annotations

import pytest
import requests
from sqlalchemy import event

from buildfarm.access.show import list_tokens
from buildfarm.farm import leases
from webapp.upkeep import Upkeep


@pytest.fixture
def clock():
    class Clock:
        at = 1000.0

        def __call__(self) -> float:
            return self.at

    return Clock()


@pytest.fixture
def upkeep(house, clock) -> Upkeep:
    return Upkeep(house.farm, house.app.extensions["verdicts"], monotonic=clock)


def used_at(house):
    with house.database.read() as session:
        return {token.name: token.last_used_at for token in list_tokens(session)}


def test_a_node_says_that_it_answers(house, upkeep) -> None:
    def since():
        with house.database.read() as session:
            return leases.answered_since(session)

    assert since() is None
    upkeep.round()
    first = since()
    assert first
    upkeep.round()
    assert since() == first


def test_the_use_of_a_token_is_noted_once_in_a_minute_and_not_by_the_request(house, upkeep, clock) -> None:
    writes: list[str] = []
    client = house.client(house.token("admin", name="ci"))
    house.token("admin", name="idle")
    event.listen(
        house.database.engine, "before_cursor_execute", lambda _c, _cursor, sql, *_: writes.append(sql)
    )
    assert client.get("/api/v1/whoami").status_code == 200
    assert not [sql for sql in writes if sql.startswith("UPDATE")]
    assert used_at(house) == {"ci": None, "idle": None}
    upkeep.round()
    first = used_at(house)["ci"]
    assert first
    assert used_at(house)["idle"] is None

    house.app.extensions["verdicts"]._known.clear()
    client.get("/api/v1/whoami")
    clock.at += 59
    upkeep.round()
    assert used_at(house)["ci"] == first
    clock.at += 1
    upkeep.round()
    assert used_at(house)["ci"] > first
    writes.clear()
    clock.at += 60
    upkeep.round()
    assert not [sql for sql in writes if "UPDATE token" in sql]


@pytest.mark.system
def test_a_running_web_process_notes_both(house, serve) -> None:
    url = serve(house)
    requests.get(
        f"{url}/api/v1/whoami", headers={"Authorization": f"Bearer {house.token('admin')}"}, timeout=20
    )
    house.wait_for(lambda: used_at(house)["somebody"])
    with house.database.read() as session:
        assert leases.answered_since(session)
