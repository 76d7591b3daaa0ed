"""The log page: sections, windows of long logs, line links, the download."""

import re
from itertools import pairwise

import farm_seed
import pytest

from buildfarm.farm import logbook

LINES = 12_000


def page_lines(text: str) -> list[int]:
    return [int(number) for number in re.findall(r'<li id="L(\d+)"', text)]


@pytest.fixture
def long(house):
    """The running job has printed 12,000 lines more, in two phases."""
    with house.farm.database.begin() as session:
        for start in range(0, LINES, 500):
            text = "".join(f"line {start + index}\n" for index in range(500))
            farm_seed.say(session, house.seed.running_job, "build" if start < 10_000 else "test", text)
    return house


def test_sections_follow_each_other_without_a_gap(house):
    with house.farm.database.read() as session:
        sections = logbook.outline(session, house.seed.good_job, 1)
    assert [one.phase for one in sections] == ["source", "deps", "build", "repair", "test", "upload"]
    assert sections[0].first == 1
    for before, after in pairwise(sections):
        assert after.first == before.last + 1
        assert after.start == before.end
        assert after.began_ms == before.ended_ms


def test_a_short_log_is_shown_whole_and_links_to_its_lines(house):
    text = house.client(farm_seed.MEMBER).get(f"/jobs/{house.seed.good_job}").text
    numbers = page_lines(text)
    assert numbers == list(range(1, len(numbers) + 1))
    assert '<a href="#L1">1</a>' in text


def test_a_long_log_is_shown_in_windows_around_what_is_asked_for(long):
    client = long.client(farm_seed.MEMBER)
    text = client.get(f"/jobs/{long.seed.running_job}").text
    assert len(page_lines(text)) < 1000
    assert len(text) < 400_000
    assert "lines are not shown" in text
    wanted = client.get(f"/jobs/{long.seed.running_job}?line=6000").text
    assert 6000 in page_lines(wanted)
    assert '<a href="?line=6000#L6000">6000</a>' in wanted


def test_every_line_of_a_long_log_is_shown_or_in_a_gap(long):
    text = long.client(farm_seed.MEMBER).get(f"/jobs/{long.seed.running_job}?line=6000").text
    shown = set(page_lines(text))
    for first, last in re.findall(r'data-first="(\d+)" data-last="(\d+)"', text):
        gap = set(range(int(first), int(last) + 1))
        assert not gap & shown
        shown |= gap
    assert shown == set(range(1, max(shown) + 1))
    assert max(shown) > LINES


def test_the_lines_of_a_gap_are_handed_out_in_bounded_runs(long):
    client = long.client(farm_seed.MEMBER)
    text = client.get(f"/jobs/{long.seed.running_job}/lines?first=300&last=9000").text
    assert page_lines(text) == list(range(300, 1300))
    assert page_lines(client.get(f"/jobs/{long.seed.running_job}/lines?first=99999&last=100000").text) == []


def test_a_line_too_long_for_a_page_is_cut_there_and_whole_in_the_download(house):
    with house.farm.database.begin() as session:
        farm_seed.say(session, house.seed.running_job, "build", "x" * 60_000 + "\n")
    client = house.client(farm_seed.MEMBER)
    assert "56000 more characters in the download" in client.get(f"/jobs/{house.seed.running_job}").text
    assert "x" * 60_000 in client.get(f"/jobs/{house.seed.running_job}/log.txt").text


def test_the_download_is_plain_text_without_escapes(house):
    answer = house.client(farm_seed.MEMBER).get(f"/jobs/{house.seed.good_job}/log.txt")
    assert answer.content_type == "text/plain; charset=utf-8"
    assert "\x1b" not in answer.text
    assert "116 passed in 0.84s\n" in answer.text


def test_any_part_of_the_download_can_be_had_and_its_headers_alone(long):
    client, url = long.client(farm_seed.MEMBER), f"/jobs/{long.seed.running_job}/log.txt"
    whole = client.get(url)
    size, etag = len(whole.data), whole.headers["ETag"]
    assert (whole.status_code, whole.headers["Accept-Ranges"]) == (200, "bytes")
    assert whole.headers["Content-Length"] == str(size)
    head = client.head(url)
    assert (head.status_code, head.data) == (200, b"")
    assert {**head.headers} | {"X-Request-ID": ""} == {**whole.headers} | {"X-Request-ID": ""}
    for asked, first, end in (
        ("bytes=0-0", 0, 1), ("bytes=70000-90000", 70_000, 90_001), ("bytes=5-", 5, size),
        ("bytes=-11", size - 11, size), (f"bytes=9-{size * 2}", 9, size),
    ):  # fmt: skip
        part = client.get(url, headers={"Range": asked})
        assert (part.status_code, part.data) == (206, whole.data[first:end])
        assert part.headers["Content-Range"] == f"bytes {first}-{end - 1}/{size}"
        assert part.headers["Content-Length"] == str(end - first)
    beyond = client.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{size}")
    assert client.get(url, headers={"Range": "lines=1-2"}).data == whole.data
    assert client.get(url, headers={"Range": "bytes=0-0", "If-Range": etag}).status_code == 206
    with long.farm.database.begin() as session:
        farm_seed.say(session, long.seed.running_job, "test", "one line more\n")
    grown = client.get(url, headers={"Range": "bytes=0-0", "If-Range": etag})
    assert (grown.status_code, grown.data) == (200, whole.data + b"one line more\n")


def test_an_unknown_attempt_is_not_found(house):
    client = house.client(farm_seed.MEMBER)
    assert client.get(f"/jobs/{house.seed.good_job}/attempts/7").status_code == 404
    assert client.get(f"/jobs/{house.seed.queued_job}/log.txt").status_code == 404
