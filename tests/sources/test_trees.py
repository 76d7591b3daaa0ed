"""Names in a tree are judged here too, whatever git let pass."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import InvalidInput
from buildfarm.sources import trees
from buildfarm.sources.contract import FetchLimits


class _Told:
    """Stands where git is asked for the tree."""

    def __init__(self, *records: str) -> None:
        self._records = records

    def run(self, *_: object) -> str:
        return "".join(f"{record}\0" for record in self._records)


def _listing(path: str, mode: str = "100644", size: str = "1") -> list[trees.Entry]:
    told = _Told(f"{mode} blob {'1' * 40} {size:>7}\t{path}")
    return trees.listing(told, Path(), "HEAD", FetchLimits())  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "path",
    [
        *("", ".", "..", "/", "/etc/passwd", "a//b", "a/", "../a", "a/../b", "a/.", "./a"),
        *(".git", ".git/config", "a/.GIT/hooks/x", ".Git ", ".git.", ".git . .", "GIT~1", "git~1/config"),
        *(".g\u200cit", "\ufeff.git", ".git\u202e/x", ".git::$INDEX_ALLOCATION/x", ".git:x"),
        "x" * 5_000,
    ],
)
def test_a_name_that_could_leave_the_tree_or_enter_git_is_refused(path: str):
    with pytest.raises(InvalidInput) as error:
        _listing(path)
    assert error.value.code == "source.unsound"


@pytest.mark.parametrize(
    "path", [".gitignore", ".gitattributes", "git", "a/.github/x", "...", "..a", "a..", "git~10"]
)
def test_ordinary_names_are_taken(path: str):
    assert _listing(path)[0].path == path


@pytest.mark.parametrize(
    ("mode", "size"), [("100664", "1"), ("040000", "-"), ("120000", "0"), ("120000", "5000")]
)
def test_strange_modes_and_endless_links_are_refused(mode: str, size: str):
    with pytest.raises(InvalidInput):
        _listing("a", mode, size)


@settings(max_examples=200)
@given(st.text(alphabet="a./\\~1git \u200c:", min_size=1, max_size=12))
def test_what_is_taken_stays_below_its_folder(path: str):
    try:
        taken = _listing(path)[0].path
    except InvalidInput:
        return
    assert not {"", ".", "..", ".git"} & {*taken.split("/")}
