"""A snapshot is the tree's exact bytes, with a git folder that adds nothing and lacks nothing."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from buildfarm.errors import FarmError, InvalidInput
from buildfarm.sources.contract import FetchLimits

pytestmark = pytest.mark.system  # each fetch starts a fetcher


def test_bytes_are_what_was_committed_whatever_the_attributes_say(upstream, take, unpack, git_in):
    upstream.git("config", "core.autocrlf", "false")
    files = {
        "crlf.txt": b"one\r\ntwo\r\n",
        "forced.txt": b"one\r\ntwo\r\n",
        "to-crlf.txt": b"one\ntwo\n",
        "ident.py": b"# $Id$\n",
        "subst.py": b'version = "$Format:%H$"\n',
        "ignored/data.txt": b"kept\n",
        "utf16.txt": "ä\n".encode(),
        "pointer.bin": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        "filtered.txt": b"plain\n",
    }
    for name, content in files.items():
        upstream.write(name, content)
    upstream.git("add", "--all")
    # After the bytes are in, so that they are in as they are.
    upstream.write(
        ".gitattributes",
        "* text=auto\nforced.txt text\nto-crlf.txt text eol=crlf\nident.py ident\nsubst.py export-subst\n"
        "ignored export-ignore\n*.bin filter=lfs diff=lfs merge=lfs -text\nfiltered.txt filter=evil\n"
        "utf16.txt text working-tree-encoding=UTF-16\n",
    )
    upstream.git("add", ".gitattributes")
    upstream.git("commit", "--quiet", "--message=x")
    source = unpack(take())
    for name, content in files.items():
        assert (source / name).read_bytes() == content, name
    assert git_in(source, "status", "--porcelain") == ""
    assert git_in(source, "write-tree") == upstream.git("rev-parse", "HEAD^{tree}")
    (source / "forced.txt").unlink()
    git_in(source, "checkout", "--", "forced.txt")
    assert (source / "forced.txt").read_bytes() == files["forced.txt"], "a checkout in the build is exact too"


def test_links_and_executable_bits_are_kept_and_nothing_is_followed(upstream, take, unpack, git_in):
    (upstream.path / "passwd").symlink_to("/etc/passwd")
    (upstream.path / "pyproject.toml").symlink_to("/etc/passwd")
    (upstream.path / "up").symlink_to("../../..")
    upstream.write("run.sh", "#!/bin/sh\n")
    (upstream.path / "run.sh").chmod(0o755)
    upstream.commit()
    taken = take()
    assert taken.files == {}
    source = unpack(taken)
    assert os.readlink(source / "passwd") == "/etc/passwd"
    assert os.readlink(source / "up") == "../../.."
    assert (source / "run.sh").stat().st_mode & 0o777 == 0o755
    assert (source / "a").stat().st_mode & 0o777 == 0o644
    assert git_in(source, "status", "--porcelain") == ""


def test_submodules_are_empty_folders(upstream, take, unpack, git_in):
    upstream.write(".gitmodules", '[submodule "x"]\n\tpath = sub/x\n\turl = https://ghe.example/x/y\n')
    upstream.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub/x")
    upstream.git("add", ".gitmodules")
    upstream.git("commit", "--quiet", "--message=x")
    source = unpack(take())
    assert list((source / "sub/x").iterdir()) == []
    assert git_in(source, "status", "--porcelain") == ""


def test_names_in_any_encoding_are_kept(upstream, take, unpack, git_in):
    for name in ("größe/版本.txt", "new\nline", " lead", "-dash", "q'uo\"te", "x" * 200 + "/" + "y" * 200):
        upstream.write(name, "1")
    (Path(os.fsdecode(os.fsencode(upstream.path) + b"/latin-\xe9"))).write_text("1")
    upstream.commit()
    source = unpack(take())
    assert git_in(source, "status", "--porcelain") == ""
    assert b"latin-\xe9" in os.listdir(os.fsencode(source))


def test_the_git_folder_holds_no_trace_of_the_farm(upstream, take, unpack, git_in):
    upstream.git("tag", "v1.0")
    source = unpack(take())
    assert git_in(source, "remote") == ""
    assert git_in(source, "config", "--local", "--list").splitlines() == [
        "core.repositoryformatversion=0",
        "core.filemode=true",
        "core.bare=false",
    ]
    names = {path.relative_to(source / ".git").parts[0] for path in (source / ".git").rglob("*")}
    assert names == {"HEAD", "config", "index", "info", "objects", "packed-refs", "refs"}
    assert not (source / ".git/objects/info/alternates").exists()
    assert git_in(source, "fsck", "--strict", "--full") == ""


def test_head_is_on_the_branch_and_detached_at_a_tag(upstream, take, unpack, git_in):
    upstream.git("tag", "v1.0")
    assert git_in(unpack(take()), "rev-parse", "--abbrev-ref", "HEAD") == "main"
    assert git_in(unpack(take(ref="refs/tags/v1.0")), "rev-parse", "--abbrev-ref", "HEAD") == "HEAD"


def test_equal_commits_give_equal_archives_whatever_the_mirror_went_through(upstream, take):
    upstream.git("tag", "--annotate", "--message=x", "v1.0")
    text = "".join(f"{number * 7919 % 10_007}\n" for number in range(3_000))
    for number in range(4):
        # Each arrives in a pack of its own here, with deltas against the one before.
        upstream.commit(a=f"{text[number * 400 :]}{number}\n")
        step_by_step = take()
    upstream.git("repack", "-a", "-d", "-f", "--quiet")
    at_once = take(mirror_dir=upstream.path.parent / "other")
    assert at_once.sha256 == step_by_step.sha256
    upstream.commit("Later", a=text)
    take()
    assert take(commit=at_once.commit).sha256 == at_once.sha256


def test_archive_members_are_sorted_and_belong_to_nobody(upstream, take):
    upstream.commit(**{"b.txt": "1", "c": "2"})
    upstream.commit(**{"z/y/x": "1"})
    taken = take()
    with tarfile.open(taken.path) as tar:
        members = tar.getmembers()
    assert {(m.uid, m.gid, m.uname, m.gname, m.mtime) for m in members} == {(0, 0, "", "", taken.commit_time)}
    assert {m.mode for m in members} == {0o644, 0o755}
    names = [m.name for m in members]
    assert names[0] == "src"
    assert all(name.rpartition("/")[0] in names[:place] for place, name in enumerate(names) if place)
    tree = [name for name in names if "/.git" not in name and not name.endswith(("z", "y")) and name != "src"]
    assert tree == ["src/a", "src/b.txt", "src/c", "src/z/y/x"]


def test_the_snapshots_digest_and_size_are_those_of_the_file(take):
    taken = take()
    said = (
        subprocess.run(["sha256sum", taken.path], capture_output=True, check=True).stdout.split()[0].decode()
    )
    assert (taken.sha256, taken.size) == (said, taken.path.stat().st_size)


def test_recipe_texts_and_projects_are_handed_back(upstream, take):
    for name in (
        "pyproject.toml",
        "setup.cfg",
        "buildfarm.toml",
        "pkg/a/pyproject.toml",
        "x/y/z/pyproject.toml",
        "x/y/z/deeper/pyproject.toml",
    ):
        upstream.write(name, f"# {name} ü\r\n")
    upstream.write("old/setup.py", "")
    upstream.write("big/pyproject.toml", "#" * 1_001)
    upstream.write("latin/pyproject.toml", b"# \xe9")
    upstream.commit()
    taken = take(limits=FetchLimits(recipe_file_bytes=1_000, recipe_files=6))
    assert taken.files == {
        name: f"# {name} ü\r\n"
        for name in (
            "buildfarm.toml",
            "pyproject.toml",
            "setup.cfg",
            "pkg/a/pyproject.toml",
            "x/y/z/pyproject.toml",
        )
    }
    assert taken.unread == {
        "big/pyproject.toml": "larger than 1000 bytes",
        "latin/pyproject.toml": "not UTF-8",
    }
    assert taken.projects == (".", "big", "latin", "old", "pkg/a", "x/y/z")
    assert take(limits=FetchLimits(recipe_files=1)).unread.keys() >= {"pyproject.toml"}


def _commit_tree(upstream, entries: list[tuple[bytes, bytes, str]]) -> None:
    raw = b"".join(mode + b" " + name + b"\0" + bytes.fromhex(oid) for mode, name, oid in entries)
    path = upstream.path / "raw-tree"
    path.write_bytes(raw)
    tree = upstream.git("hash-object", "-t", "tree", "-w", "--literally", str(path))
    path.unlink()
    commit = upstream.git("commit-tree", "-m", "x", tree)
    upstream.git("update-ref", "refs/heads/main", commit)


@pytest.mark.parametrize(
    "name",
    [b".git", b".GIT", b"..", b".", b"", b"git~1", b".git ", b".g\xe2\x80\x8cit", b".git::$INDEX_ALLOCATION"],
)
@pytest.mark.parametrize("is_checked", [True, False], ids=["with-fsck", "without-fsck"])
def test_a_tree_that_reaches_into_git_or_out_of_itself_is_refused(upstream, take, tmp_path, name, is_checked):
    blob = upstream.git("rev-parse", "main:a")
    _commit_tree(upstream, [(b"100644", name, blob)])
    if not is_checked:
        # Objects that are there already are not checked again on fetching.
        take_over = tmp_path / "mirror/repo.git"
        take_over.mkdir(parents=True)
        subprocess.run(["git", "clone", "--quiet", "--bare", upstream.path, take_over], check=True)
    with pytest.raises(FarmError) as error:
        take()
    assert error.value.code == "source.unsound", error.value.facts
    assert isinstance(error.value, InvalidInput)


def test_a_symbolic_link_with_a_zero_byte_is_refused(upstream, take):
    upstream.write("aim", b"/etc/passwd\0x")
    blob = upstream.git("hash-object", "-w", "aim")
    _commit_tree(upstream, [(b"120000", b"link", blob)])
    with pytest.raises(InvalidInput) as error:
        take()
    assert error.value.code == "source.unsound"


def test_commit_texts_are_made_harmless(upstream, take):
    upstream.commit("Evil \x1b[31m\u202e subject " + "x" * 500)
    taken = take()
    assert taken.subject.startswith("Evil \N{REPLACEMENT CHARACTER}[31m\N{REPLACEMENT CHARACTER} subject")
    assert len(taken.subject) == 200


def test_a_history_too_large_to_carry_is_left_out_and_said_so(upstream, take, unpack, git_in):
    upstream.git("tag", "v0.9")
    for _ in range(3):
        upstream.write("noise", os.urandom(50_000))
        upstream.commit()
    upstream.git("tag", "v1.0")
    taken = take(limits=FetchLimits(history_bytes=100_000))
    source = unpack(taken)
    assert (taken.history, taken.describe_tag) == ("tip", "v1.0")
    assert git_in(source, "rev-list", "--count", "HEAD") == "1"
    assert git_in(source, "tag") == "v1.0"
    assert git_in(source, "fsck", "--strict") == ""
    assert take().history == "complete"
