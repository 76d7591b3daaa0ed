"""The list of sources: what it costs to show many, and that each has what is its own."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event

from buildfarm import clock
from buildfarm.access import verdicts
from buildfarm.scm.answers.model import Answer
from tests.conftest import House


def add(house: House, *numbers: int) -> list[str]:
    """Sources that have a token for their SCM's API: their ids."""
    admin, made = house.client(house.token("admin")), []
    for number in numbers:
        given = {"name": f"s{number:02}", "url": f"https://ghe.example/acme/s{number}", "scm": "github"}
        answer = admin.post("/api/v1/sources", json=given | {"scm_token": {"token": "of-an-scm-4711"}})
        made.append(answer.json["id"])
    return made


def test_many_sources_are_listed_by_as_many_questions_as_few(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    admin = house.client(house.token("admin"))
    asked: list[str] = []

    def note(_connection: Any, _cursor: Any, text: str, *_more: object) -> None:
        asked.append(text)

    def questions(count: int) -> int:
        asked.clear()
        event.listen(house.database._reader, "before_cursor_execute", note)
        shown = admin.get("/api/v1/sources").json["items"]
        event.remove(house.database._reader, "before_cursor_execute", note)
        assert [one["answering"]["api_url"] for one in shown] == ["https://ghe.example/api/v3"] * count
        assert [[build["number"] for build in one["builds"]] for one in shown] == [[1]] * count
        return len(asked)

    for source_id in add(house, *range(3)):
        house.build(source_id, "cp313-x")
    monkeypatch.setattr(verdicts, "FRESH_S", 600.0)  # who asks is looked up once, however long this takes
    questions(3)
    few = questions(3)
    for source_id in add(house, *range(3, 30)):
        house.build(source_id, "cp313-x")
    assert questions(30) == few, Counter(asked).most_common(3)


def test_each_source_shows_its_own_last_builds(each_house: House) -> None:
    one, other, _none = add(each_house, 1, 2, 3)
    for _ in range(12):
        each_house.build(one, "cp313-x")
    each_house.build(other, "cp313-x", "cp312-x")
    shown = each_house.client(each_house.token("view")).get("/api/v1/sources").json["items"]
    numbers = [[build["number"] for build in row["builds"]] for row in shown]
    assert numbers == [[*range(12, 2, -1)], [1], []]
    assert {job["target"] for job in shown[1]["builds"][0]["jobs"]} == {"cp313-x", "cp312-x"}


def test_each_source_shows_its_own_answers(each_house: House) -> None:
    one, other, _quiet = add(each_house, 1, 2, 3)
    now = clock.now()

    def note(source_id: str, state: str, minutes: int, error: str | None = None) -> Answer:
        at = now + timedelta(minutes=minutes)
        return Answer(
            source_id=source_id, host="ghe.example", kind="status", commit="a" * 40, ref="refs/heads/main",
            context="buildfarm", outcome="success", description="", path="/", text="", state=state,
            error=error, noted_at=at, settled_at=None if state == "waiting" else at,
        )  # fmt: skip

    with each_house.database.begin() as session:
        for answer in (
            note(one, "waiting", 5), note(one, "waiting", 4), note(one, "sent", 3), note(one, "sent", 2),
            note(one, "dropped", 9), note(other, "refused", 1, "First."), note(other, "refused", 0, "Last."),
        ):  # fmt: skip
            session.add(answer)
            session.flush()
    shown = each_house.client(each_house.token("view")).get("/api/v1/sources").json["items"]
    names = ("waiting", "waiting_since", "last_sent_at", "refused", "last_refusal")
    told = [tuple(row["answering"][name] for name in names) for row in shown]

    def at(minutes: int) -> Any:
        return (now + timedelta(minutes=minutes)).isoformat().replace("+00:00", "Z")

    assert [tuple(str(value) for value in row) for row in told] == [
        ("2", at(4), at(3), "0", "None"),
        ("0", "None", "None", "2", "Last."),
        ("0", "None", "None", "0", "None"),
    ]
