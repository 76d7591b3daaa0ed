import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.recipes.units import format_duration, format_size, parse_duration, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("2 GiB", 2 * 1024**3),
        ("512MiB", 512 * 1024**2),
        ("1.5 GB", 1_500_000_000),
        ("7 kB", 7000),
        ("12 B", 12),
    ],
)
def test_a_size_has_a_unit(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize(("text", "seconds"), [("30m", 1800), ("1h30m", 5400), ("45s", 45), ("2h1s", 7201)])
def test_a_time_has_units(text, seconds):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "value",
    ["2", 2, True, None, [], "2 gib", "-1 GiB", "GiB", "1e9 B", "\u0662 GiB", "1 GiB\n", ""],
    ids=repr,
)
def test_what_is_no_size_is_refused(value):
    with pytest.raises(ValueError, match="must be a size with a unit"):
        parse_size(value)


@pytest.mark.parametrize(
    "value", ["30", 30, "", "m", "30 m", "1m1h", "-5s", "1.5h", "\u0663m", "5s\n"], ids=repr
)
def test_what_is_no_time_is_refused(value):
    with pytest.raises(ValueError, match="must be a time with units"):
        parse_duration(value)


@given(st.integers(0, 10**12 - 1))
def test_a_size_survives_its_text(size):
    assert parse_size(format_size(size)) == size


@given(st.integers(0, 10**6))
def test_a_time_survives_its_text(seconds):
    assert parse_duration(format_duration(seconds)) == seconds
