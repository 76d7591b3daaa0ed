"""M-11: a wheel says what its source archive says, as far as that is static (PEP 643)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.wheels.agreement import disagreements

HEAD = "Metadata-Version: {}\nName: demo\nVersion: 1.0\n"


def said(*lines: str, since: str = "2.4") -> bytes:
    return (HEAD.format(since) + "".join(f"{line}\n" for line in lines)).encode()


def fields(wheel: bytes, sdist: bytes) -> list[str]:
    return [finding.text.split()[0] for finding in disagreements(wheel, sdist)]


@pytest.mark.parametrize(
    ("wheel", "sdist", "field"),
    [
        (["Requires-Python: >=3.9"], ["Requires-Python: >=3.10"], "Requires-Python"),
        (["Requires-Python: >=3.9"], [], "Requires-Python"),
        ([], ["Requires-Python: >=3.9"], "Requires-Python"),
        (["Requires-Dist: a>=1"], ["Requires-Dist: a"], "Requires-Dist"),
        (["Requires-Dist: a", "Requires-Dist: b"], ["Requires-Dist: a"], "Requires-Dist"),
        (["Provides-Extra: x"], [], "Provides-Extra"),
    ],
)
def test_what_is_static_has_to_be_the_same(wheel, sdist, field):
    assert fields(said(*wheel), said(*sdist)) == [field]
    assert fields(said(*wheel), said(*sdist, f"Dynamic: {field}")) == []
    assert fields(said(*wheel), said(*sdist, f"Dynamic: {field.lower()}")) == []
    assert fields(said(*wheel), said(*sdist, since="2.1")) == []


def test_spelling_and_order_make_no_difference():
    wheel = said(
        "Requires-Python: >=3.9,<4", "Requires-Dist: A_b >= 1", "Requires-Dist: c", "Provides-Extra: X_y"
    )
    sdist = said(
        "Requires-Python: <4, >=3.9", "Requires-Dist: c", "Requires-Dist: a-b>=1", "Provides-Extra: x-y"
    )
    assert fields(wheel, sdist) == []


@settings(max_examples=50)
@given(
    st.lists(st.sampled_from(["Requires-Python", "Requires-Dist", "Provides-Extra", "Dynamic"])), st.data()
)
def test_what_a_stranger_writes_is_compared_and_never_an_error(names, data):
    lines = [f"{name}: {data.draw(st.text(st.characters(codec='utf-8'), max_size=20))}" for name in names]
    assert fields(said(*lines), said(*lines)) == []
    assert len(fields(said(*lines), said(since=data.draw(st.text("2.3x", max_size=4))))) <= 3
