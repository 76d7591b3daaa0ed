from __future__ import annotations

import hashlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm import log
from buildfarm.access.tokens import new_token
from buildfarm.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from buildfarm.farm import logs
from buildfarm.farm.model import Attempt

TARGET = "cp313-manylinux_2_28_x86_64"


@pytest.fixture
def running(each_house):
    _, made = each_house.build(each_house.source(), TARGET)
    each_house.claim(made[TARGET])
    return each_house, made[TARGET]


def send(
    house, job_id: str, offset: int, text: str, *, phase: str = "build", number: int = 1, limit: int = 10**6
) -> int:
    with house.database.begin() as session:
        return logs.append(
            session, job_id, number, offset=offset, phase=phase, text=text, times=[1] * text.count("\n"),
            max_bytes=limit,
        )  # fmt: skip


def stored(house, job_id: str, number: int = 1) -> str:
    with house.database.read() as session:
        return "".join(logs.text(session, job_id, number))


def test_segments_join_to_the_log(running) -> None:
    house, job_id = running
    size = send(house, job_id, 0, "one\n", phase="source")
    size = send(house, job_id, size, "zwei ünïcode\n\n")
    assert size == len(b"one\n") + len("zwei ünïcode\n\n".encode())
    assert stored(house, job_id) == "one\nzwei ünïcode\n\n"
    with house.database.read() as session:
        segments = logs.segments(session, job_id, 1)
        lines = [line for segment in segments for line in logs.lines(segment)]
        attempt = session.get_one(Attempt, (job_id, 1))
    assert [(line.number, line.phase, line.text) for line in lines] == [
        (1, "source", "one"), (2, "build", "zwei ünïcode"), (3, "build", ""),
    ]  # fmt: skip
    assert (attempt.log_lines, attempt.log_bytes) == (3, size)


def test_a_resend_changes_nothing_and_learns_the_size(running) -> None:
    house, job_id = running
    size = send(house, job_id, 0, "one\n")
    assert send(house, job_id, 0, "one\n") == size
    assert send(house, job_id, 0, "one\ntwo\n") == size  # an overlap: go on from what is stored
    assert send(house, job_id, 2, "x\n") == size
    assert stored(house, job_id) == "one\n"


def test_a_gap_is_refused_with_the_size_to_go_on_from(running) -> None:
    house, job_id = running
    send(house, job_id, 0, "one\n")
    with pytest.raises(Conflict) as caught:
        send(house, job_id, 5, "later\n")
    assert (caught.value.code, caught.value.facts["size"]) == ("log.offset", 4)


@pytest.mark.parametrize(
    "text", ["", "half", "a\nhalf", "nul\0\n", "x" * logs.SEGMENT_BYTES + "\n", "ü" * 40_000 + "\n"]
)
def test_what_is_not_whole_lines_is_refused(running, text: str) -> None:
    house, job_id = running
    with pytest.raises(InvalidInput):
        send(house, job_id, 0, text)
    assert stored(house, job_id) == ""


def test_a_time_for_each_line_is_needed(running) -> None:
    house, job_id = running
    with pytest.raises(InvalidInput), house.database.begin() as session:
        logs.append(session, job_id, 1, offset=0, phase="build", text="a\n", times=[1, 2], max_bytes=99)


def test_a_log_has_a_largest_size_whatever_a_builder_sends(running) -> None:
    house, job_id = running
    size = send(house, job_id, 0, "x" * 9 + "\n", limit=15)
    with pytest.raises(LimitExceeded) as caught:
        send(house, job_id, size, "x" * 9 + "\n", limit=15)
    assert caught.value.code == "log.too_large"


def test_secrets_are_masked_before_storage_and_offsets_still_count_what_was_sent(running) -> None:
    house, job_id = running
    secret = new_token()
    first = f"with {secret} inside\n"
    size = send(house, job_id, 0, first)
    assert size == len(first)
    assert send(house, job_id, size, f"second {secret}\n") == size + len(f"second {secret}\n")
    assert send(house, job_id, 0, first) == size + len(f"second {secret}\n")
    assert secret not in stored(house, job_id)
    assert stored(house, job_id) == "with [masked] inside\nsecond [masked]\n"
    with house.database.read() as session:
        second = logs.segments(session, job_id, 1, start=len("with [masked] inside\n"))
        assert [segment.line for segment in second] == [2]


def test_the_seal_is_the_digest_of_what_is_downloaded(running) -> None:
    house, job_id = running
    size = 0
    for number in range(70):  # more than one page of segments
        size = send(house, job_id, size, f"line {number}\n")
    with house.database.begin() as session:
        sealed = logs.seal(session, job_id, 1)
    assert sealed == hashlib.sha256(stored(house, job_id).encode()).hexdigest()
    assert stored(house, job_id).count("\n") == 70


def test_the_newest_attempt_is_meant_when_none_is_named(running) -> None:
    house, job_id = running
    with house.database.read() as session:
        assert logs.attempt_of(session, job_id).number == 1
        for number in (2, 99):
            with pytest.raises(NotFound):
                logs.attempt_of(session, job_id, number)
        with pytest.raises(NotFound):
            logs.attempt_of(session, "job_none")


LINES = st.lists(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=30), min_size=1, max_size=12
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(LINES, st.data())
def test_a_sender_that_repeats_and_restarts_at_will_stores_its_text_once(
    house, lines: list[str], data
) -> None:
    text = "".join(line.replace("\n", " ") + "\n" for line in lines)
    whole = [part + "\n" for part in text.split("\n")[:-1]]
    _, made = house.build(house.source(f"s{house.count}", projects=()), TARGET)
    job_id = made[TARGET]
    house.claim(job_id)
    offsets = [len("".join(whole[:index]).encode()) for index in range(len(whole) + 1)]
    received = 0
    while received < offsets[-1]:
        index = data.draw(st.integers(0, len(whole) - 1))
        end = data.draw(st.integers(index + 1, len(whole)))
        try:
            received = send(house, job_id, offsets[index], "".join(whole[index:end]))
        except Conflict as gap:
            received = int(str(gap.facts["size"]))
            assert offsets[index] > received
        if index != offsets.index(received):
            received = (
                send(house, job_id, received, whole[offsets.index(received)])
                if received < offsets[-1]
                else received
            )
    assert stored(house, job_id) == log.mask(text)
