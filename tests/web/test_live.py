"""The live tail: events from an offset on, an end, a bounded number of viewers, polling beside it."""

import json
import re
import threading

import farm_seed
import pytest

from buildfarm.farm.model import Attempt
from buildfarm.farm.rules import State
from webapp.pages import live


@pytest.fixture
def client(house):
    return house.client(farm_seed.MEMBER)


def end(house) -> None:
    with house.farm.database.begin() as session:
        session.get_one(Attempt, (house.seed.running_job, 1)).state = State.SUCCEEDED


def events(text: str) -> list[dict[str, str]]:
    """Server-sent events as a browser parses them (WHATWG HTML 9.2.6)."""
    found = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in fields:
            found.append(fields)
    return found


def watch(client, url: str, **headers: str) -> list[dict[str, str]]:
    return events(client.get(url, headers=headers, buffered=True).text)


def test_a_finished_log_is_sent_whole_and_ends_with_done(house, client):
    end(house)
    got = watch(client, f"/jobs/{house.seed.running_job}/events")
    assert got[-1]["event"] == "done"
    text = "".join(json.loads(one["data"])["html"] for one in got[:-1])
    numbers = [int(number) for number in re.findall(r'id="L(\d+)"', text)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) == 12


def test_last_event_id_goes_on_exactly_there_and_beats_the_offset(house, client):
    end(house)
    url = f"/jobs/{house.seed.running_job}/events"
    whole = watch(client, url)
    for seen, event in enumerate(whole[:-1], start=1):
        assert watch(client, f"{url}?offset=0", **{"Last-Event-ID": event["id"]}) == whole[seen:]
        assert watch(client, f"{url}?offset={event['id']}") == whole[seen:]


def test_lines_printed_while_somebody_watches_arrive(house):
    pace = live.Pace(poll_s=0.01, heartbeat_s=0.02, life_s=200)
    with house.farm.database.read() as session:
        start = session.get_one(Attempt, (house.seed.running_job, 1)).log_bytes
    stream = live.follow(house.farm.database, house.seed.running_job, 1, start, pace)
    assert next(stream) == "retry: 1000\n\n"
    assert next(stream) == ": still here\n\n"

    def work():
        with house.farm.database.begin() as session:
            farm_seed.say(session, house.seed.running_job, "test", "fresh <b>line</b>\n")
        end(house)

    worker = threading.Thread(target=work)
    worker.start()
    rest = events("".join(stream))
    worker.join()
    assert json.loads(rest[0]["data"])["phase"] == "test"
    assert "fresh &lt;b&gt;line&lt;/b&gt;" in rest[0]["data"]
    assert rest[-1]["event"] == "done"


def test_a_connection_ends_after_its_life_without_done_so_that_the_browser_comes_back(house):
    pace = live.Pace(poll_s=0.01, heartbeat_s=1, life_s=0.5)
    text = "".join(live.follow(house.farm.database, house.seed.running_job, 1, 0, pace))
    assert "event: done" not in text
    assert len(events(text)) == 3


def test_with_every_place_taken_the_answer_is_503_and_polling_still_works(house, client):
    url = f"/jobs/{house.seed.running_job}/events"
    watching = [client.get(url, buffered=False) for _ in range(2)]
    refused = client.get(url, headers={"Accept": "text/event-stream"})
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    part = client.get(f"/jobs/{house.seed.running_job}/tail?offset=0").json
    assert [one["phase"] for one in part["items"]] == ["source", "deps", "build"]
    assert not part["done"]
    watching[0].close()
    third = client.get(url, buffered=False)
    assert third.status_code == 200
    third.close()
    watching[1].close()


def test_a_viewer_who_leaves_before_reading_gives_the_place_back(house, client):
    for _ in range(5):
        answer = client.get(f"/jobs/{house.seed.running_job}/events", buffered=False)
        assert answer.status_code == 200
        answer.close()


def test_polling_ends_with_done_and_an_offset_to_go_on_from(house, client):
    end(house)
    part = client.get(f"/jobs/{house.seed.running_job}/tail?offset=0").json
    assert part["done"]
    rest = client.get(f"/jobs/{house.seed.running_job}/tail?offset={part['next']}").json
    assert rest == {"items": [], "next": part["next"], "done": True}


def test_the_page_hands_over_to_the_tail_without_a_gap_or_a_repetition(house, client):
    page = client.get(f"/jobs/{house.seed.running_job}").text
    (offset,) = re.findall(r'data-offset="(\d+)"', page)
    assert "data-running" in page
    assert client.get(f"/jobs/{house.seed.running_job}/tail?offset={offset}").json["items"] == []


@pytest.mark.parametrize("value", ["-1", "x", "1e9", "9" * 40, "\u0661"])
def test_an_offset_that_is_none_begins_at_the_beginning(house, client, value):
    part = client.get(f"/jobs/{house.seed.running_job}/tail", query_string={"offset": value}).json
    assert len(part["items"]) == 3
