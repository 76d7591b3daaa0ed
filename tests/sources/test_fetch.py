"""Which commit is built when refs move, vanish or lie, and what bounds a fetch."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from buildfarm.errors import (
    Conflict,
    ExternalFailure,
    FarmError,
    InvalidInput,
    LimitExceeded,
    NotFound,
)
from buildfarm.forkserver import ForkServer
from buildfarm.sources import fetcher
from buildfarm.sources.contract import FetchLimits, Held
from buildfarm.sources.fetcher import fetch_snapshot, list_refs
from tests.waiting import wait_for

pytestmark = pytest.mark.system  # each fetch starts a fetcher


def _code(error: pytest.ExceptionInfo[FarmError]) -> str:
    return error.value.code


def test_a_branch_is_taken_as_it_is_now(upstream, take, unpack):
    first = take()
    assert first.commit == upstream.git("rev-parse", "main")
    second_commit = upstream.commit("More", a="2\n")
    second = take()
    assert second.commit == second_commit
    assert (unpack(second) / "a").read_text() == "2\n"
    assert (second.subject, second.author) == ("More", "A U Thor <author@example.org>")
    assert second.commit_time == second.author_time == upstream.clock
    assert second.tree == upstream.git("rev-parse", "main^{tree}")
    assert second.tag is None


def test_a_commit_is_later_than_those_of_its_second_that_it_contains(upstream, take):
    upstream.clock -= 60  # the next one has the second of the first
    upstream.commit("The same second", a="2\n")
    second = take()
    upstream.git("checkout", "--quiet", "-b", "side")
    upstream.clock -= 60
    upstream.commit("On a branch", b="3\n")
    upstream.git("checkout", "--quiet", "main")
    upstream.git("merge", "--quiet", "--no-ff", "--message", "Merge", "side")
    merge = take()
    assert (second.no_older, merge.no_older) == (1, 3)
    assert second.commit_time == merge.commit_time == upstream.clock
    upstream.commit("A minute later", a="4\n")
    assert take().no_older == 0


@pytest.mark.parametrize(("said_at", "taken_at"), [(3 << 30, 3 << 30), (1 << 40, (1 << 32) - 1)])
def test_a_commit_from_the_future_is_as_late_as_archives_can_say(upstream, take, said_at, taken_at):
    for author in ("A", "B"):
        tree, parent = upstream.git("rev-parse", "main^{tree}", "main").split()
        who = f"{author} <a@example.org> {said_at} +0000"
        said = f"tree {tree}\nparent {parent}\nauthor {who}\ncommitter {who}\n\nFrom the future\n"
        commit = upstream.git("hash-object", "-t", "commit", "-w", "--stdin", stdin=said.encode())
        upstream.git("update-ref", "refs/heads/main", commit)
    taken = take()
    assert (taken.commit, taken.commit_time, taken.no_older) == (commit, taken_at, 1)


def test_the_announced_commit_is_built_when_the_branch_has_moved_on(upstream, take):
    announced = upstream.commit("Announced", a="2\n")
    upstream.commit("Later", a="3\n")
    assert take(commit=announced).commit == announced


def test_a_commit_that_was_rewritten_away_is_a_conflict(upstream, take):
    announced = upstream.commit("Announced", a="2\n")
    take(commit=announced)
    upstream.git("reset", "--quiet", "--hard", "HEAD~1")
    upstream.commit("Instead", a="3\n")
    with pytest.raises(Conflict) as error:
        take(commit=announced)
    assert _code(error) == "source.commit_gone"


def test_a_commit_nobody_has_is_a_conflict_with_the_branch(take):
    with pytest.raises(Conflict) as error:
        take(commit="1234567890" * 4)
    assert _code(error) == "source.commit_gone"


@pytest.mark.parametrize("annotate", [(), ("--annotate", "--message=x")], ids=["lightweight", "annotated"])
def test_a_tag_names_its_commit(upstream, take, annotate):
    commit = upstream.git("rev-parse", "HEAD")
    upstream.git("tag", *annotate, "v1.0")
    taken = take(ref="refs/tags/v1.0", commit=commit)
    assert (taken.commit, taken.tag, taken.describe_tag) == (commit, "v1.0", "v1.0")


def test_an_annotated_tags_own_id_may_be_announced(upstream, take):
    upstream.git("tag", "--annotate", "--message=x", "v1.0")
    taken = take(ref="refs/tags/v1.0", commit=upstream.git("rev-parse", "v1.0"))
    assert taken.commit == upstream.git("rev-parse", "v1.0^{commit}")


def test_a_tag_that_moved_is_not_built_as_announced(upstream, take):
    announced = upstream.git("rev-parse", "HEAD")
    upstream.git("tag", "v1.0")
    take(ref="refs/tags/v1.0", commit=announced)
    moved = upstream.commit("More", a="2\n")
    upstream.git("tag", "--force", "v1.0")
    with pytest.raises(Conflict) as error:
        take(ref="refs/tags/v1.0", commit=announced)
    assert _code(error) == "source.tag_moved"
    assert take(ref="refs/tags/v1.0").commit == moved


def test_moved_and_deleted_tags_do_not_linger_in_later_snapshots(upstream, take, unpack, git_in):
    upstream.git("tag", "v1.0")
    upstream.git("tag", "v1.1")
    take()
    commit = upstream.commit("More", a="2\n")
    upstream.git("tag", "--force", "v1.0")
    upstream.git("tag", "--delete", "v1.1")
    source = unpack(take())
    assert git_in(source, "tag") == "v1.0"
    assert git_in(source, "rev-parse", "v1.0") == commit


@pytest.mark.parametrize("ref", ["refs/heads/gone", "refs/tags/gone"])
def test_a_ref_that_is_not_there_is_not_found(take, ref):
    with pytest.raises(NotFound) as error:
        take(ref=ref)
    assert _code(error) == "source.ref_unknown"


def test_a_deleted_branch_is_not_built_from_the_mirrors_memory(upstream, take):
    upstream.git("branch", "short-lived")
    commit = take(ref="refs/heads/short-lived").commit
    upstream.git("branch", "--delete", "--force", "short-lived")
    with pytest.raises(NotFound):
        take(ref="refs/heads/short-lived", commit=commit)


def test_branches_that_cannot_exist_side_by_side_follow_each_other(upstream, take):
    upstream.git("branch", "topic")
    take(ref="refs/heads/topic")
    take(ref="", commit=upstream.git("rev-parse", "main"))
    upstream.git("branch", "--delete", "topic")
    upstream.git("branch", "topic/one")
    assert take(ref="refs/heads/topic/one").commit
    assert take(ref="", commit=upstream.git("rev-parse", "main")).commit


def test_a_commit_alone_is_taken_when_some_branch_or_tag_holds_it(upstream, take):
    first = upstream.git("rev-parse", "HEAD")
    upstream.commit("More", a="2\n")
    taken = take(ref="", commit=first)
    assert (taken.commit, taken.ref) == (first, "")


def test_a_commit_that_no_ref_holds_is_unknown_even_if_its_objects_are_served(upstream, take):
    lost = upstream.commit("Lost", a="2\n")
    take()  # now the mirror has it too
    upstream.git("reset", "--quiet", "--hard", "HEAD~1")
    upstream.git("config", "uploadpack.allowAnySHA1InWant", "true")
    with pytest.raises(NotFound) as error:
        take(ref="", commit=lost)
    assert _code(error) == "source.commit_unknown"


def test_a_request_that_asks_for_nothing_is_refused(take):
    with pytest.raises(InvalidInput) as error:
        take(ref="")
    assert _code(error) == "source.nothing_asked"


def test_a_tag_on_a_tree_is_no_commit(upstream, take):
    upstream.git("tag", "tree", "HEAD^{tree}")
    with pytest.raises(InvalidInput) as error:
        take(ref="refs/tags/tree")
    assert _code(error) == "source.not_a_commit"


@pytest.mark.parametrize("name", ["größe", "版本", "u\u0308"])
def test_refs_in_any_script_are_fetched(upstream, take, unpack, git_in, name):
    upstream.git("branch", name)
    taken = take(ref=f"refs/heads/{name}")
    assert git_in(unpack(taken), "symbolic-ref", "HEAD") == f"refs/heads/{name}"
    upstream.git("tag", f"{name}-1.0")
    assert take(ref=f"refs/tags/{name}-1.0").describe_tag == f"{name}-1.0"


def test_file_urls_need_permission(take):
    with pytest.raises(InvalidInput) as error:
        take(allow_file=False)
    assert _code(error) == "source.url_refused"


def test_what_is_no_repository_is_said_to_be_none(take, tmp_path):
    (tmp_path / "plain").mkdir()
    for path in ("plain", "absent"):
        with pytest.raises(NotFound) as error:
            take(url=f"file://{tmp_path / path}")
        assert _code(error) == "source.no_repository"


def test_a_taken_path_is_not_overwritten(ask, tmp_path):
    into = tmp_path / "precious"
    into.write_text("precious")
    with pytest.raises(Conflict):
        fetch_snapshot(ask(), into)
    assert into.read_text() == "precious"


def test_a_failed_fetch_leaves_no_tar_and_no_scratch(ask, tmp_path):
    into = tmp_path / "out.tar"
    with pytest.raises(NotFound):
        fetch_snapshot(ask(ref="refs/heads/gone"), into)
    assert not into.exists()
    assert sorted(path.name for path in (tmp_path / "mirror").iterdir()) == ["lock", "repo.git"]


def test_hooks_and_configuration_planted_in_the_mirror_or_upstream_do_not_run(upstream, take, tmp_path):
    take()
    trap = tmp_path / "ran"
    for hooks in (tmp_path / "mirror/repo.git/hooks", upstream.path / ".git/hooks"):
        hooks.mkdir(exist_ok=True)
        for name in ("reference-transaction", "post-checkout", "post-index-change", "pre-auto-gc", "update"):
            (hooks / name).write_text(f"#!/bin/sh\ntouch {trap}\n")
            (hooks / name).chmod(0o755)
    upstream.git("config", "uploadpack.packObjectsHook", f"touch {trap}; git pack-objects")
    upstream.git("-c", "core.hooksPath=/dev/null", "commit", "--quiet", "--allow-empty", "--message=x")
    take()
    assert not trap.exists()


def test_the_askers_git_environment_has_no_say(upstream, take, tmp_path, monkeypatch):
    trap = tmp_path / "ran"
    (tmp_path / "gitconfig").write_text(
        f'[core]\n\tfsmonitor = touch {trap}\n[url "file:///nowhere"]\n\tinsteadOf = file://\n'
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_TRACE", str(tmp_path / "trace"))
    assert take().commit
    assert not trap.exists()
    assert not (tmp_path / "trace").exists()


def test_a_repository_above_its_size_limit_is_refused_while_it_arrives(upstream, take, tmp_path):
    upstream.write("big", os.urandom(400_000))
    upstream.commit("Big")
    with pytest.raises(LimitExceeded) as error:
        take(limits=FetchLimits(bytes=100_000))
    assert _code(error) == "source.too_large"
    assert sum(path.stat().st_size for path in (tmp_path / "mirror").rglob("*") if path.is_file()) < 60_000
    assert take().commit, "a higher limit takes it, from the same mirror"


def test_a_mirror_that_grew_by_small_steps_is_held_to_the_limit(upstream, take):
    limits = FetchLimits(bytes=60_000)
    for _ in range(2):
        upstream.write("some", os.urandom(25_000))
        upstream.commit()
        take(limits=limits)
    upstream.write("some", os.urandom(25_000))
    upstream.commit()
    with pytest.raises(LimitExceeded):
        take(limits=limits)


@pytest.mark.parametrize(
    ("limits", "code"),
    [
        (FetchLimits(files=3), "source.too_many_files"),
        (FetchLimits(file_bytes=5_000), "source.file_too_large"),
        (FetchLimits(bytes=30_000), "source.too_large"),
    ],
)
def test_a_tree_is_held_to_its_limits_however_well_it_packs(upstream, take, limits, code):
    for number in range(4):
        upstream.write(f"zeros{number}", b"\0" * 10_000)
    upstream.commit()
    with pytest.raises(LimitExceeded) as error:
        take(limits=limits)
    assert _code(error) == code


def test_a_damaged_mirror_is_made_again(upstream, take, tmp_path):
    take()
    upstream.commit("More", a="2\n")
    for pack in (tmp_path / "mirror/repo.git/objects/pack").glob("*.pack"):
        pack.chmod(0o600)
        pack.write_bytes(b"garbage")
    assert take().commit == upstream.git("rev-parse", "main")
    (tmp_path / "mirror/repo.git/HEAD").unlink()
    assert take().commit == upstream.git("rev-parse", "main")


def test_an_object_that_rotted_in_the_mirror_is_fetched_again(upstream, take, tmp_path):
    upstream.commit(a=os.urandom(4_000).hex())
    sound = take()
    pack = next((tmp_path / "mirror/repo.git/objects/pack").glob("*.pack"))
    content = bytearray(pack.read_bytes())
    content[12:-20] = bytes(len(content) - 32)
    pack.chmod(0o600)
    pack.write_bytes(content)
    assert take().sha256 == sound.sha256


def test_leftovers_of_a_killed_fetch_are_swept(take, tmp_path):
    take()
    mirror = tmp_path / "mirror"
    leftovers = [
        mirror / "repo.git/packed-refs.lock",
        mirror / "repo.git/HEAD.lock",
        mirror / "repo.git/objects/pack/tmp_pack_x",
        mirror / "fetch-old/dotgit",
    ]
    for leftover in leftovers:
        leftover.parent.mkdir(exist_ok=True)
        leftover.write_text("")
    take()
    assert not any(leftover.exists() for leftover in leftovers)


def test_many_small_fetches_are_repacked(upstream, take, tmp_path, monkeypatch):
    take()
    packs = tmp_path / "mirror/repo.git/objects/pack"
    pack = next(packs.glob("*.pack"))
    for number in range(41):
        for suffix in (".pack", ".idx"):
            (packs / f"pack-{number:040x}{suffix}").write_bytes(pack.with_suffix(suffix).read_bytes())
    take()
    assert len(list(packs.glob("*.pack"))) == 1


def test_parallel_fetches_of_one_mirror_all_succeed(upstream, take):
    refs = []
    for number in range(3):
        upstream.git("checkout", "--quiet", "-b", f"b{number}", "main")
        refs.append((f"refs/heads/b{number}", upstream.commit(f"On {number}", a=f"{number}\n")))
    with ThreadPoolExecutor(6) as pool:
        taken = list(pool.map(lambda ref: take(ref=ref[0]), refs * 2))
    assert [snapshot.commit for snapshot in taken] == [commit for _, commit in refs * 2]


def test_a_mirror_that_stays_busy_is_reported_and_not_touched(take, tmp_path):
    take()
    with (tmp_path / "mirror/lock").open("r+") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(ExternalFailure) as error:
            take(limits=FetchLimits(seconds=0.2))
    assert _code(error) == "source.busy"


def _processes_of(folder: Path) -> list[int]:
    """Processes with a git environment that names this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if (
                    str(folder).encode()
                    in (entry / "environ").read_bytes() + (entry / "cmdline").read_bytes()
                ):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def _slow_upstream(upstream, tmp_path: Path) -> None:
    # A fifo where git expects a file: whoever reads it waits for ever.
    head = upstream.path / ".git/HEAD"
    head.unlink()
    os.mkfifo(head)


def test_a_fetch_out_of_time_ends_with_all_its_processes(upstream, take, tmp_path):
    _slow_upstream(upstream, tmp_path)
    started = time.monotonic()
    with pytest.raises(ExternalFailure) as error:
        take(limits=FetchLimits(seconds=1.5))
    assert _code(error) == "source.timeout"
    assert time.monotonic() - started < 60
    wait_for(lambda: _processes_of(tmp_path / "mirror") == [], seconds=20)


def test_the_whole_group_is_killed_when_the_fetcher_itself_hangs(upstream, ask, tmp_path, monkeypatch):
    _slow_upstream(upstream, tmp_path)
    monkeypatch.setattr("buildfarm.sources.fetcher._GRACE_SECONDS", 0.0)
    stopped = threading.Event()

    def stop_the_fetcher() -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            for pid in _processes_of(tmp_path / "mirror"):
                try:
                    parent = int(re.search(r"PPid:\t(\d+)", Path(f"/proc/{pid}/status").read_text())[1])
                    if b"buildfarm.sources.child" in Path(f"/proc/{parent}/cmdline").read_bytes():
                        os.kill(parent, 19)
                        stopped.set()
                        return
                except OSError:
                    continue
            time.sleep(0.01)

    watcher = threading.Thread(target=stop_the_fetcher)
    watcher.start()
    with pytest.raises(ExternalFailure) as error:
        fetch_snapshot(ask(limits=FetchLimits(seconds=10)), tmp_path / "out.tar")
    watcher.join()
    assert stopped.is_set()
    assert _code(error) == "source.timeout"
    wait_for(lambda: _processes_of(tmp_path / "mirror") == [], seconds=20)


def test_a_fetch_and_all_its_processes_end_when_whoever_asked_was_killed(
    upstream, ask, tmp_path, monkeypatch
):
    _slow_upstream(upstream, tmp_path)
    server = ForkServer("buildfarm.sources.child", environment={"PATH": os.environ["PATH"]})
    monkeypatch.setattr(fetcher, "sandbox", server)
    server.share()
    request = ask(limits=FetchLimits(seconds=200))
    asker = os.fork()
    if asker == 0:
        with contextlib.suppress(BaseException):
            fetch_snapshot(request, tmp_path / "out.tar")
        os._exit(0)
    wait_for(lambda: _hangs(tmp_path / "mirror"))
    os.kill(asker, signal.SIGKILL)
    os.waitpid(asker, 0)
    wait_for(lambda: _processes_of(tmp_path / "mirror") == [])
    server.close()


def _hangs(mirror: Path) -> bool:
    """Whether git has got to the repository that never answers."""
    with contextlib.suppress(OSError):
        return any(
            b"git-upload-pack" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in _processes_of(mirror)
        )
    return False


def test_refs_are_listed_with_the_commits_they_name(upstream, ask):
    first = upstream.git("rev-parse", "HEAD")
    upstream.git("tag", "--annotate", "--message=x", "v1.0")
    upstream.git("tag", "strange(name)")
    second = upstream.commit("More", a="2\n")
    upstream.git("update-ref", "refs/pull/1/head", second)
    tag = upstream.git("rev-parse", "refs/tags/v1.0")
    assert list_refs(ask()) == {
        "refs/heads/main": Held(commit=second),
        "refs/tags/v1.0": Held(commit=first, tag=tag),
    }


def test_too_many_refs_are_refused(upstream, ask):
    for number in range(4):
        upstream.git("tag", f"t{number}")
    with pytest.raises(LimitExceeded):
        list_refs(ask(limits=FetchLimits(files=3)))


def test_a_sha256_repository_is_fetched(tmp_path, take, unpack, git_in):
    path = tmp_path / "sha256"
    git_in(tmp_path, "init", "--quiet", "--object-format=sha256", "--initial-branch=main", str(path))
    (path / "a").write_text("1\n")
    git_in(path, "add", "a")
    git_in(path, "commit", "--quiet", "--message=x")
    taken = take(url=f"file://{path}")
    assert len(taken.commit) == 64
    assert git_in(unpack(taken), "status", "--porcelain") == ""


def test_answers_that_make_no_sense_are_refused(ask, tmp_path, monkeypatch):
    for said in (b"", b"[]", b"{}", b'{"ok": {}}', b'{"ok": {"commit": "../x"}}', b"\xff", b"null"):
        monkeypatch.setattr(fetcher.sandbox, "ask", lambda *_, said=said, **__: said)
        with pytest.raises(ExternalFailure) as error:
            fetch_snapshot(ask(), tmp_path / "out.tar")
        assert _code(error) == "source.fetcher_died"
        assert not (tmp_path / "out.tar").exists()
