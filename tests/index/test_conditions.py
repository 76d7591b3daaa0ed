from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.index.conditions import Form, byte_range, coding, form_named, matches, negotiate

J, H, T = Form.JSON, Form.VENDOR_HTML, Form.HTML
PIP = f"{J}, {H}; q=0.1, text/html; q=0.01"
UV = f"{J}, {H};q=0.2, text/html;q=0.01"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (None, T), ("", T), ("  ", T), ("*/*", T), (BROWSER, T), ("text/html", T), ("text/*", T),
        (J.value, J), (H.value, H), (PIP, J), (UV, J), (J.upper(), J),
        ("application/vnd.pypi.simple.latest+json", J), ("application/vnd.pypi.simple.latest+html", H),
        (f"{J};q=0, {H}", H), (f"{J};q=0.1, {H};q=0.2", H), ("application/*", J), (f"{J};q=0, */*", T),
        ("garbage", T), (";;;,,,", T), ("q=1", T), ("\xff\xfe", T),
        ("image/png", None), ("application/json", None), (f"{J};q=nonsense", J),
        (f"{J};q=0", None), ("image/png, */*;q=0.1", T), (f"{J} ; q=0.5 , text/html;q=0.4", J),
        (f"{T};q=0, */*", H),
    ],
)  # fmt: skip
def test_negotiation(accept: str | None, form: Form | None) -> None:
    assert negotiate(accept) == form


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([J, H, T, "*/*", "q=0", ";", ",", "a/b", " "])).map("".join)
)
def test_no_accept_header_crashes_negotiation(accept: str) -> None:
    assert negotiate(accept) in {*Form, None}


@given(st.permutations([f"{J};q=0.3", f"{H};q=0.2", "text/html;q=0.9", "*/*;q=0.05"]))
def test_the_order_of_a_header_plays_no_part(parts: list[str]) -> None:
    assert negotiate(", ".join(parts)) == T


def test_forms_by_name_for_people() -> None:
    assert form_named("application/vnd.pypi.simple.v1+json") == J
    assert form_named("application/vnd.pypi.simple.v1 json") == J  # a plus that was not encoded
    assert form_named("application/vnd.pypi.simple.latest+html") == H
    assert form_named("text/html") == T
    assert form_named("json") is None


@pytest.mark.parametrize(
    ("header", "chosen"),
    [
        ("gzip, deflate", "gzip"), ("gzip, deflate, br, zstd", "zstd"), ("zstd,gzip,deflate", "zstd"),
        ("GZIP", "gzip"), ("*", "zstd"), ("x-gzip", "gzip"), ("gzip;q=0.001", "gzip"),
        ("zstd;q=0.5, gzip", "gzip"), ("gzip;q=0.5, zstd;q=0.5", "zstd"), ("zstd;q=0, *", "gzip"),
        ("gzip;q=0", "identity"), ("identity", "identity"), ("br", "identity"), ("", "identity"),
        (None, "identity"), ("gzip;q=0, zstd;q=0, *", "identity"), ("gzip;q=0.5, identity", "identity"),
        ("gzip;q=0.5, identity;q=0.4", "gzip"), ("*;q=0.1, identity;q=0.2", "identity"),
        ("*;q=0", None), ("identity;q=0", None), ("identity;q=0, br", None), ("*;q=0, gzip", "gzip"),
    ],
)  # fmt: skip
def test_the_coding_is_the_best_that_the_client_takes(header: str | None, chosen: str | None) -> None:
    assert coding(header, ("zstd", "gzip")) == chosen


@given(st.text("gzipstd;q=0.1, *", max_size=40) | st.text(max_size=40))
def test_no_accept_encoding_crashes(header: str) -> None:
    assert coding(header, ("zstd", "gzip")) in {"zstd", "gzip", "identity", None}


@pytest.mark.parametrize(
    ("header", "match"),
    [
        ('"a"', True), ('W/"a"', True), ('"b", "a"', True), ('"b",W/"a"', True), ("*", True), (" * ", True),
        ('"b"', False), ("a", False), ('"a', False), ("", False), (None, False), ('"A"', False),
    ],
)  # fmt: skip
def test_validators(header: str | None, *, match: bool) -> None:
    assert matches(header, '"a"') == match


@pytest.mark.parametrize(
    ("header", "part"),
    [
        ("bytes=0-0", (0, 1)), ("bytes=0-", (0, 10)), ("bytes=3-5", (3, 3)), ("bytes=3-99", (3, 7)),
        ("bytes=-3", (7, 3)),
        ("bytes=-99", (0, 10)), ("bytes=9-9", (9, 1)), ("Bytes=1-2", (1, 2)), (" bytes=1-2 ", (1, 2)),
        ("bytes=10-", "unsatisfiable"), ("bytes=-0", "unsatisfiable"), ("bytes=99-100", "unsatisfiable"),
        ("bytes=99999999999999999999999-", "unsatisfiable"),
        ("bytes=5-3", None), ("bytes=-", None), ("bytes=a-b", None), ("bytes=0-1,3-4", None),
        ("items=0-1", None),
        ("bytes=0--1", None), ("bytes=\u0661-\u0662", None), ("", None), (None, None), ("bytes 0-1", None),
    ],
)  # fmt: skip
def test_ranges(header: str | None, part: object) -> None:
    assert byte_range(header, 10) == part


def test_no_byte_of_an_empty_file_can_be_had() -> None:
    assert byte_range("bytes=0-", 0) == byte_range("bytes=-5", 0) == "unsatisfiable"


@given(st.text("bytes=-0123456789, ", max_size=30) | st.text(max_size=30), st.integers(0, 50))
def test_a_range_is_inside_the_file_or_none(header: str, size: int) -> None:
    part = byte_range(header, size)
    if isinstance(part, tuple):
        start, length = part
        assert 0 <= start < size
        assert 0 < length <= size - start
    else:
        assert part in {None, "unsatisfiable"}


@given(st.integers(1, 50), st.integers(0, 60), st.none() | st.integers(0, 60))
def test_a_range_is_the_slice_that_it_names(size: int, first: int, last: int | None) -> None:
    data = bytes(range(size))
    part = byte_range(f"bytes={first}-{'' if last is None else last}", size)
    wanted = data[first:] if last is None else data[first : last + 1]
    if isinstance(part, tuple):
        assert data[part[0] : part[0] + part[1]] == wanted
    else:
        assert not wanted
