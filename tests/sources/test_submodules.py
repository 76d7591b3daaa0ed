"""Submodules of recipes that ask for them, over real repositories."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from buildfarm.errors import InvalidInput, LimitExceeded, NotFound
from buildfarm.sources import submodules
from buildfarm.sources.contract import FetchLimits
from tests.sources.conftest import Upstream
from tests.sources.githttp import GitServer

pytestmark = pytest.mark.system


@pytest.fixture
def library(new_upstream) -> Upstream:
    made = new_upstream("library")
    made.commit("Begin", **{"lib.c": "int a;\n"})
    return made


def add(parent: Upstream, url: str, commit: str, path: str = "third/lib") -> str:
    parent.write(".gitmodules", f'[submodule "{path}"]\n\tpath = {path}\n\turl = {url}\n')
    parent.git("update-index", "--add", "--cacheinfo", f"160000,{commit},{path}")
    parent.git("add", ".gitmodules")
    parent.git("commit", "--quiet", "--message=Add a submodule")
    return parent.git("rev-parse", "HEAD")


def test_they_are_filled_in_where_the_recipe_asks(upstream, library, take, unpack, git_in):
    commit = library.git("rev-parse", "HEAD")
    add(upstream, "../library", commit)
    later = library.commit("More", **{"lib.c": "int b;\n", "more/x.c": "int x;\n"})
    first = take(submodules=True)
    source = unpack(first)
    assert (source / "third/lib/lib.c").read_text() == "int a;\n", "the commit that the tree names"
    assert git_in(source, "status", "--porcelain") == ""
    assert list((unpack(take()) / "third/lib").iterdir()) == []
    upstream.git("update-index", "--cacheinfo", f"160000,{later},third/lib")
    upstream.git("commit", "--quiet", "--message=Newer")
    assert (unpack(take(submodules=True)) / "third/lib/more/x.c").exists()
    library.path.rename(library.path.with_name("gone"))
    assert take(submodules=True, commit=first.commit).sha256 == first.sha256, (
        "what is here is not asked again"
    )


def test_submodules_of_submodules_are_filled_in_too(upstream, library, new_upstream, take, unpack):
    inner = new_upstream("inner")
    commit = inner.commit("Begin", **{"deep.c": "int d;\n", "pyproject.toml": "[project]\n"})
    add(upstream, "../library", add(library, "../inner", commit, "deep"))
    taken = take(submodules=True)
    assert (unpack(taken) / "third/lib/deep/deep.c").read_text() == "int d;\n"
    assert taken.projects == (), "projects and recipes are the source's own"


def test_over_http_with_a_relative_url(upstream, library, take, unpack, tmp_path):
    add(upstream, "../../library/.git", library.git("rev-parse", "HEAD"))
    for url in _served(tmp_path):
        source = unpack(take(url=url, submodules=True, allow_file=False))
        assert (source / "third/lib/lib.c").exists()


def _served(root) -> Iterator[str]:
    with GitServer(root) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("https://evil.example/library", "source.submodule_elsewhere"),
        ("ssh://git@ghe.example/library", "source.submodule_elsewhere"),
        ("http://127.0.0.1:1/library", "source.submodule_elsewhere"),
        ("https://169.254.169.254/latest", "source.url_refused"),
        ("git@ghe.example:library", "source.url_refused"),
        ("ext::sh -c touch% /tmp/x", "source.url_refused"),
        ("-uhelper", "source.unsound"),
        ("https://robot:canary@ghe.example/a", "source.url_refused"),
    ],
)
def test_what_is_elsewhere_is_never_asked(upstream, library, take, url, code):
    add(upstream, url, library.git("rev-parse", "HEAD"))
    with pytest.raises(InvalidInput) as error:
        take(submodules=True)
    assert error.value.code == code
    assert "canary" not in str(error.value) + str(error.value.facts)


def test_a_place_that_nobody_describes_and_a_commit_that_is_nowhere_are_named(upstream, library, take):
    add(upstream, "../library", "1" * 40)
    with pytest.raises(NotFound) as missing:
        take(submodules=True)
    assert missing.value.code == "source.commit_unknown"
    upstream.commit("Break it", **{".gitmodules": "[submodule\n"})
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},third/lib")
    upstream.git("commit", "--quiet", "--amend", "--no-edit")
    with pytest.raises(InvalidInput) as unreadable:
        take(submodules=True)
    assert unreadable.value.code == "source.submodule_unknown"
    upstream.git("rm", "--quiet", "-f", "--cached", ".gitmodules")
    upstream.git("commit", "--quiet", "--message=Forget where it is")
    with pytest.raises(InvalidInput) as error:
        take(submodules=True)
    assert (error.value.code, error.value.facts["path"]) == ("source.submodule_unknown", "third/lib")


def test_limits_hold_for_all_trees_together_and_for_their_number(upstream, library, take, monkeypatch):
    add(upstream, "../library", library.commit("More", b="1", c="1", d="1"))
    assert take(submodules=True, limits=FetchLimits(files=6))
    with pytest.raises(LimitExceeded) as error:
        take(submodules=True, limits=FetchLimits(files=5))
    assert error.value.code == "source.too_many_files"


def test_a_repository_that_holds_itself_ends(upstream, take):
    inner = upstream.git("rev-parse", "HEAD")
    for _ in range(submodules._DEEPEST + 1):
        inner = add(upstream, "../upstream", inner)
    with pytest.raises(LimitExceeded) as error:
        take(submodules=True)
    assert error.value.code == "source.too_many_submodules"
