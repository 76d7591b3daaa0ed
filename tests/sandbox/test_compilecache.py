"""The compile cache: bounded, whole entries, reached through the door of builds that may."""

import pytest

from buildfarm.sandbox import compilecache
from buildfarm.sandbox.compilecache import CompileCache
from tests.sandbox.conftest import C_PROJECT

KEYS = ["../up", "a/b", "", "x" * 129, ".hidden", "a.b"]


def test_an_entry_is_what_was_kept(tmp_path):
    cache = CompileCache(tmp_path / "cache")
    assert cache.get("0a1b") is None
    assert cache.put("0a1b", b"object")
    assert cache.put("0a1b", b"newer")
    assert cache.get("0a1b") == b"newer"
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["0a1b"]


@pytest.mark.parametrize("key", KEYS)
def test_what_is_no_key_is_neither_kept_nor_found(tmp_path, key):
    cache = CompileCache(tmp_path / "cache")
    assert not cache.put(key, b"x")
    assert cache.get(key) is None
    assert list(tmp_path.rglob("*")) == []


def test_the_longest_unused_goes_when_there_is_no_room(tmp_path, monkeypatch):
    now = [1_700_000_000]
    real = compilecache.os.utime
    monkeypatch.setattr(compilecache.os, "utime", lambda path: real(path, (now[0], now[0])))
    cache = CompileCache(tmp_path / "cache")
    for number, key in enumerate(("a", "b", "c")):
        cache.put(key, b"x" * 100)
        now[0] += number
        cache.get(key)
    now[0] += 10
    cache.get("a")
    cache.trim(room=200)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (b"x" * 100, None, b"x" * 100)


def test_one_attempt_does_not_fill_the_disk(tmp_path):
    folder = tmp_path / "cache"
    cache = CompileCache(folder, room=3 * 4096)
    for number in range(1000):
        assert cache.put(f"small{number}", b"x")
    assert len(list(folder.iterdir())) == 3
    assert CompileCache(folder).put("another", b"attempt")
    assert len(list(folder.iterdir())) == 4


@pytest.mark.engine
@pytest.mark.exhaustive
def test_the_second_build_takes_the_objects_of_the_first(attempt, tmp_path):
    first, farm = attempt(C_PROJECT, compile_cache="src_1-dev")
    assert first.state == "succeeded", farm.log
    (folder,) = (tmp_path / "compile-cache").iterdir()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert folder.name == "src_1-dev"
    assert kept
    second, again = attempt(C_PROJECT, compile_cache="src_1-dev")
    assert again.artifacts == farm.artifacts
    assert {path.name for path in folder.iterdir()} == set(kept)
    assert second.state == "succeeded"
    assert any(path.stat().st_mtime_ns > kept[path.name] for path in folder.iterdir())
    attempt(C_PROJECT)
    assert {path.name for path in folder.iterdir()} == set(kept)
