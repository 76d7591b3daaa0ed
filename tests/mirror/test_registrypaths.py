"""The grammar of what builds may ask registries for: whatever is no such path becomes part of no URL."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from buildfarm.registrypaths import (
    GoPath,
    crate_index_path,
    go_path,
    is_crate,
    is_crate_index_path,
    is_version,
)

_LETTERS = "abcXYZ019-_~.!@/+%\\ :?#\n\0é"
_HARMLESS = re.compile(r"[A-Za-z0-9._~!@+/-]+")
names = st.from_regex(r"[A-Za-z][A-Za-z0-9_-]{0,63}", fullmatch=True)
versions = st.from_regex(
    r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})(-[a-z]{1,5}\.(0|[1-9][0-9]?))?",
    fullmatch=True,
)
modules = st.from_regex(r"[a-z][a-z0-9]{0,9}\.[a-z]{2,5}(/[A-Za-z0-9_~-]{1,12}){0,3}", fullmatch=True)


@given(names)
def test_every_crate_has_one_path_in_the_index(name: str) -> None:
    path = crate_index_path(name)
    assert is_crate_index_path(path)
    assert path.endswith(f"/{name.lower()}")


@pytest.mark.parametrize(
    ("name", "path"),
    [("a", "1/a"), ("ab", "2/ab"), ("Abc", "3/a/abc"), ("cargo", "ca/rg/cargo"), ("a-_b", "a-/_b/a-_b")],
)
def test_the_path_of_a_crate_is_that_of_the_cargo_book(name: str, path: str) -> None:
    assert crate_index_path(name) == path


@given(st.text(alphabet=_LETTERS, max_size=30))
@example("ca/rg/../../config.json")
@example("3/a/ab")
@example("Ca/rg/Cargo")
@example("ca/rg/cargo\n")
def test_an_index_path_is_that_of_a_crate_or_none(path: str) -> None:
    name = path.rpartition("/")[2]
    assert is_crate_index_path(path) == (is_crate(name) and path == crate_index_path(name))


@given(st.text(alphabet=_LETTERS + "v", max_size=60))
@example("go.example/../x/@v/list")
@example("go.example/x/@v/v1.0.0.zip\n")
@example("go.example/./@latest")
def test_what_is_taken_for_a_go_path_is_spelled_back_and_harmless(path: str) -> None:
    if found := go_path(path):
        assert str(found) == path
        assert _HARMLESS.fullmatch(path)
        assert not {"", ".", ".."} & set(path.split("/"))


@given(modules, versions, st.sampled_from(["info", "mod", "zip"]))
def test_every_module_and_version_is_found_in_its_path(module: str, version: str, kind) -> None:
    asked = GoPath(module, f"v{version}", kind)
    assert go_path(str(asked)) == asked
    assert not re.search("[A-Z]", str(asked))
    for listed in (GoPath(module, "", "list"), GoPath(module, "", "latest")):
        assert go_path(str(listed)) == listed


@pytest.mark.parametrize(
    "path",
    [
        "nodot/x/@latest", "go.example/X/@latest", "go.example/!/@latest", "go.example/!X/@latest",
        "Go.example/@latest", "go..example/@latest", "go.example/x./@latest", "go.example/.x/@latest",
        "go.example/x/@v/1.0.0.zip", "go.example/x/@v/v1.0.zip", "go.example/x/@v/v01.0.0.zip",
        "go.example/x/@v/v1.0.0+meta.zip", "go.example/x/@v/v1.0.0.ziphash", "go.example/x/@v/v1.0.0.",
        "go.example/x/@w/v1.0.0.zip", "go.example/x", "@latest", "go.example/" + "x" * 200 + "/@latest",
    ],
)  # fmt: skip
def test_other_paths_are_no_go_paths(path: str) -> None:
    assert go_path(path) is None


def test_a_go_path_says_what_it_asks_for() -> None:
    asked = go_path("go.example/!deep/x/@v/v2.0.0-!r!c.1+incompatible.mod")
    assert asked == GoPath("go.example/Deep/x", "v2.0.0-RC.1+incompatible", "mod")


@pytest.mark.parametrize(
    "text", ["1.0.0", "0.0.0-a.1", "1.0.0-0a", "1.0.0--", "1.2.3+zstd.1.5.2", "1.0.0-x+01"]
)
def test_a_version_is_a_semantic_one(text: str) -> None:
    assert is_version(text)


@pytest.mark.parametrize(
    "text",
    ["", "1", "1.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0\n", "1.0.0/..", "1.0.0-" + "a" * 100],
)
def test_other_texts_are_none(text: str) -> None:
    assert not is_version(text)


@pytest.mark.parametrize("name", ["", "1a", "-a", "_a", "a.b", "a/b", "é", "a" * 65, "a\n"])
def test_what_is_no_name_of_a_crate(name: str) -> None:
    assert not is_crate(name)
