"""What the log keeps to: whole lines, bounded segments, a cap that keeps the tail, no loss."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import ExternalFailure, Forbidden, StaleAttempt
from buildfarm.sandbox import logstream
from buildfarm.sandbox.logstream import LogStream
from tests.sandbox.conftest import FakeFarm
from tests.waiting import wait_for

MIB = 1024 * 1024


def stream_of(farm, limit=16 * MIB, **kwargs):
    stream = LogStream(farm, limit, **kwargs)
    stream.enter("build", frozenset({"build", "deps"}))
    return stream


def finish(stream):
    stream.finish_stretch()
    stream.close()


def test_lines_arrive_whole_and_in_order_with_a_time_each():
    farm = FakeFarm()
    stream = stream_of(farm)
    before = time.time_ns() // 1_000_000
    for piece in (b"one\ntw", b"o\n", b"three"):
        stream.feed(piece)
    finish(stream)

    assert farm.log == "one\ntwo\nthree\n"
    times = [time_ms for _, _, segment in farm.segments for time_ms in segment]
    assert len(times) == 3
    assert before <= times[0] <= times[-1] <= time.time_ns() // 1_000_000


def test_a_line_is_sent_though_no_other_follows():
    farm = FakeFarm()
    stream = stream_of(farm)
    stream.feed(b"hello\n")

    assert wait_for(lambda: farm.log, seconds=20) == "hello\n"
    finish(stream)


def test_invalid_bytes_are_replaced_nul_dropped_and_colours_kept():
    farm = FakeFarm()
    stream = stream_of(farm)
    stream.feed(b"a\xffb\0c\n\x1b[31mred\x1b[0m\n")
    finish(stream)

    assert farm.log == "a\ufffdbc\n\x1b[31mred\x1b[0m\n"


@settings(max_examples=40)
@given(st.lists(st.binary(max_size=30_000), max_size=6))
def test_whatever_comes_each_line_and_segment_is_bounded(pieces):
    farm = FakeFarm()
    stream = stream_of(farm)
    for piece in pieces:
        stream.feed(piece)
    finish(stream)

    assert all(len(line.encode()) <= 8192 for line in farm.log.split("\n"))
    text = b"".join(pieces).decode(errors="replace").replace("\0", "")
    if len(text) < 8000 and "\r" not in text:
        assert farm.log.rstrip("\n") == text.rstrip("\n") or "\ufffd" in text


def test_a_character_is_not_cut_where_a_long_line_is_split():
    farm = FakeFarm()
    stream = stream_of(farm)
    stream.feed(("a" + "é" * 20_000 + "\n").encode())
    finish(stream)

    assert "\ufffd" not in farm.log
    assert farm.log.replace("\n", "") == "a" + "é" * 20_000


def test_marks_switch_the_phase_and_only_to_allowed_ones():
    farm = FakeFarm()
    entered = []
    stream = stream_of(farm, on_phase=entered.append)
    stream.feed(b"one\n\x1ephase:deps\ntwo\n\x1ephase:upload\nthree\n")
    finish(stream)

    assert farm.lines_of("build") == "one\n"
    assert farm.lines_of("deps") == "two\n\x1ephase:upload\nthree\n"
    assert entered == ["build", "deps"]


def test_a_forged_mark_does_not_lead_back():
    farm = FakeFarm()
    stream = LogStream(farm, 1024 * 1024)
    stream.enter("source", frozenset({"source", "deps", "build"}))
    stream.feed(b"\x1ephase:source\n\x1ephase:build\none\n\x1ephase:source\n\x1ephase:deps\ntwo\n")
    finish(stream)

    assert stream.phase == "build"
    assert farm.log == "one\n\x1ephase:source\n\x1ephase:deps\ntwo\n"


def test_beyond_the_cap_the_rest_is_counted_and_the_tail_kept():
    farm = FakeFarm()
    limit = 256 * 1024
    stream = stream_of(farm, limit)
    lines = 100_000
    for number in range(lines):
        stream.feed(b"line %06d\n" % number)
    finish(stream)

    assert len(farm.log.encode()) <= limit
    head, notice, tail = farm.log.partition("... ")
    omitted = int(tail.split(" ", 1)[0])
    assert notice
    assert tail.endswith(f"line {lines - 1:06d}\n")
    kept = len(head) + len(tail.split("\n", 1)[1])
    assert kept + omitted == lines * len("line 000000\n")


def test_an_error_in_the_kept_tail_is_still_found():
    stream = stream_of(farm := FakeFarm(), 64 * 1024)
    stream.feed(b"noise\n" * 100_000 + b"x" * 20_000 + b"\nERROR: it broke\n")
    finish(stream)

    told = stream.seen["build"].errors.telling("build")
    assert told.line == "ERROR: it broke"
    assert farm.log.split("\n")[told.number - 1] == "ERROR: it broke"


def test_a_line_of_the_farm_s_own_is_one_line_and_says_its_number():
    stream = stream_of(farm := FakeFarm(), 64 * 1024)
    stream.feed(b"one\ntwo\n")
    number = stream.say("failed: a\nb")
    finish(stream)

    assert farm.log.split("\n")[number - 1] == "failed: a b"


class Away(FakeFarm):
    """A farm that comes back when told, and takes some segments without being able to say so."""

    def __init__(self):
        super().__init__()
        self.back = threading.Event()
        self.refused = 0

    def append_log(self, offset, phase, text, times_ms):
        if not self.back.is_set():
            self.refused += 1
            raise ExternalFailure("away")
        return super().append_log(offset, phase, text, times_ms)


def test_a_farm_that_is_away_blocks_the_feeder_and_nothing_is_lost():
    farm = Away()
    stream = stream_of(farm)
    data = b"x" * 99 + b"\n"
    total = 30_000
    fed = []

    def feed():
        for number in range(total):
            stream.feed(data)
            fed.append(number)

    feeder = threading.Thread(target=feed, daemon=True)
    feeder.start()
    wait_for(lambda: farm.refused >= 3 and not stream.idle_seconds())
    assert len(fed) < total
    assert stream.idle_seconds() == 0
    farm.back.set()
    feeder.join(60)
    finish(stream)

    assert len(farm.log) == total * len(data)


def test_a_stale_attempt_stops_the_stream_at_once():
    class Stale(FakeFarm):
        def append_log(self, *args):
            raise StaleAttempt("gone")

    stream = stream_of(Stale())
    stream.feed(b"x\n")
    wait_for(lambda: stream.stale)
    stream.feed(b"y" * 10 * MIB)  # must not block


def test_a_log_that_the_farm_refuses_is_not_sent_again():
    class Refusing(FakeFarm):
        def append_log(self, *args):
            raise Forbidden("no such phase")

    stream = stream_of(Refusing())
    stream.feed(b"x\n")
    with pytest.raises(ExternalFailure, match="The farm refused the log: no such phase"):
        finish(stream)


def test_a_farm_that_answers_another_size_is_not_believed():
    class Wrong(FakeFarm):
        def append_log(self, offset, phase, text, times_ms):
            return offset + 1

    stream = stream_of(Wrong())
    stream.feed(b"four\n")
    with pytest.raises(ExternalFailure, match="do not agree"):
        finish(stream)


def test_a_log_that_cannot_be_sent_is_given_up_after_a_while(monkeypatch):
    monkeypatch.setattr(logstream, "PATIENCE_S", 0.3)
    stream = stream_of(Away())
    stream.feed(b"x\n")
    with pytest.raises(ExternalFailure, match="too long"):
        finish(stream)
