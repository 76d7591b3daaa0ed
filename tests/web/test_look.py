"""How values read."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.farm.rules import State
from webapp.pages import look

NOW = datetime(2026, 11, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(1, "just now"), (42, "42 s ago"), (61, "1 min ago"), (7200, "2 h ago"), (90_000, "1 d ago"),
     (86_400 * 30, "2026-10-25"), (-60, "2026-11-24 12:01")],
)  # fmt: skip
def test_an_age_has_one_unit(seconds, text):
    assert look.ago(NOW - timedelta(seconds=seconds), NOW) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.96, "10.0 s"), (59.9, "59 s"), (74, "1 min 14 s"), (3700, "1 h 01 min")],
)
def test_a_duration_has_two_units_at_most(seconds, text):
    assert look.duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (143_212, "143.2 kB"), (3 * 10**9, "3.00 GB")],
)
def test_a_size_is_decimal(count, text):
    assert look.size(count) == text


def test_every_state_has_an_icon_of_its_own_meaning():
    assert all(state.value in look.MARKS for state in State)


@given(st.text())
def test_a_body_that_is_no_json_is_shown_as_it_came(body):
    shown = look.pretty(f"{{{body}")
    assert isinstance(shown, str)
