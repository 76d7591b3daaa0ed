"""Versions counted in the kept history are those of the full repository, whatever its shape."""

from __future__ import annotations

import itertools
import os
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.sources import dotgit, history
from buildfarm.sources.gitrun import GitRunner
from buildfarm.sources.rules import checked_url

_numbers = itertools.count()


@pytest.fixture
def runner(tmp_path: Path) -> GitRunner:
    url = checked_url("file:///nowhere", allow_file=True)
    return GitRunner(url, scratch=tmp_path, deadline=time.monotonic() + 250)


def _cut(runner: GitRunner, upstream, folder: Path, *, short: int = 0) -> tuple[history.History, Path]:
    mirror = upstream.path / ".git"
    tip = upstream.git("rev-parse", "HEAD")
    planned = history.plan(runner, mirror, tip, short=short)
    kept = folder / f"kept-{next(_numbers)}"
    dotgit.write(runner, mirror, kept, commit=tip, ref="", history=planned, limit=None)
    return planned, kept


@st.composite
def _graphs(draw: st.DrawFn) -> list[tuple[list[int], list[str]]]:
    """Commits in order, each with its parents (indexes of earlier ones) and tags."""
    size = draw(st.integers(2, 16))
    commits: list[tuple[list[int], list[str]]] = [([], [])]
    for index in range(1, size):
        near = st.integers(max(0, index - 5), index - 1)
        parents = draw(st.lists(near, min_size=index % 7 != 6, max_size=3, unique=True))
        tags = draw(
            st.sampled_from([[], [], [], [f"v{index}.0"], [f"pkg-a-{index}.0"], ["latest" + "x" * index]])
        )
        commits.append((parents, tags))
    return commits


def _import(upstream, commits: list[tuple[list[int], list[str]]]) -> None:
    stream = []
    for index, (parents, _) in enumerate(commits):
        stream.append(f"commit refs/heads/work\nmark :{index + 1}\n")
        stream.append(f"committer C <c@example.org> {1_700_000_000 + 60 * index} +0000\ndata 1\nx\n")
        stream += [f"{'merge' if place else 'from'} :{parent + 1}\n" for place, parent in enumerate(parents)]
        stream.append(f"M 644 inline f{index}\ndata 1\nx\n\n")
    for index, (_, tags) in enumerate(commits):
        for number, tag in enumerate(tags):
            if (index + number) % 2:
                stream.append(
                    f"tag {tag}\nfrom :{index + 1}\ntagger T <t@example.org> 1700009999 +0000\ndata 1\nx\n"
                )
            else:
                stream.append(f"reset refs/tags/{tag}\nfrom :{index + 1}\n\n")
    upstream.git("fast-import", "--quiet", "--force", stdin="".join(stream).encode())
    upstream.git("symbolic-ref", "HEAD", "refs/heads/work")


def _in(folder: Path, *arguments: str) -> str:
    environment = {"PATH": os.environ["PATH"], "GIT_DIR": str(folder), "GIT_CONFIG_GLOBAL": "/dev/null"}
    return subprocess.run(
        ["git", *arguments], env=environment, capture_output=True, text=True, check=False
    ).stdout.strip()


@pytest.mark.system
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(graph=_graphs())
def test_every_kept_tag_counts_as_in_the_full_repository(
    graph, runner, new_upstream: Callable[[str], object]
):
    upstream = new_upstream(f"graph-{next(_numbers)}")
    _import(upstream, graph)
    with tempfile.TemporaryDirectory() as folder:
        planned, kept = _cut(runner, upstream, Path(folder))
        for pattern in ("*[0-9]*", "v[0-9]*", "pkg-a-[0-9]*"):
            question = ("describe", "--tags", "--long", f"--match={pattern}", "HEAD")
            assert _in(kept, *question) == _in(upstream.path / ".git", *question)
        for tag in planned.tags:
            count = ("rev-list", "--count", f"refs/tags/{tag.name}..HEAD")
            assert _in(kept, *count) == _in(upstream.path / ".git", *count)
        assert _in(kept, "fsck", "--strict", "--connectivity-only") == ""


def test_history_is_cut_at_the_nearest_tag_and_no_deeper(upstream, runner, tmp_path):
    for number in range(5):
        upstream.commit(a=f"{number}")
        upstream.git("tag", f"v1.{number}")
    upstream.commit(a="tip")
    planned, kept = _cut(runner, upstream, tmp_path)
    assert (planned.reach, planned.describe_tag) == ("to-tag", "v1.4")
    assert [tag.name for tag in planned.tags] == ["v1.4"]
    assert _in(kept, "rev-list", "--count", "HEAD") == "2"
    assert _in(kept, "rev-parse", "--is-shallow-repository") == "true"


def test_short_and_untagged_histories_are_whole(upstream, runner, tmp_path):
    upstream.git("tag", "v1.0")
    upstream.commit(a="2")
    assert _cut(runner, upstream, tmp_path, short=2)[0].reach == "complete"
    upstream.git("tag", "--delete", "v1.0")
    upstream.git("tag", "latest")
    planned, kept = _cut(runner, upstream, tmp_path, short=0)
    assert (planned.reach, planned.describe_tag) == ("complete", None)
    assert _in(kept, "rev-list", "--count", "HEAD") == "2"


def test_each_package_of_a_monorepo_keeps_its_own_tag(upstream, runner, tmp_path):
    upstream.commit(a="0")
    for tag in ("pkg-a-1.0", "pkg2-1.0", "v3"):
        upstream.commit(a=tag)
        upstream.git("tag", tag)
    for number in range(3):
        upstream.commit(a=f"{number}")
        upstream.git("tag", f"nightly-{number}.0")
    planned, kept = _cut(runner, upstream, tmp_path)
    assert planned.describe_tag == "nightly-2.0"
    for prefix, distance in (("pkg-a-", 5), ("pkg2-", 4), ("v", 3)):
        described = _in(kept, "describe", "--tags", "--long", f"--match={prefix}[0-9]*")
        assert described.split("-")[-2] == str(distance)


def test_tags_on_other_branches_are_not_kept(upstream, runner, tmp_path):
    upstream.git("tag", "v1.0")
    upstream.git("checkout", "--quiet", "-b", "other")
    upstream.commit(a="2")
    upstream.git("tag", "v2.0")
    upstream.git("checkout", "--quiet", "main")
    upstream.commit(a="3")
    planned, _ = _cut(runner, upstream, tmp_path)
    assert [tag.name for tag in planned.tags] == ["v1.0"]


def test_a_long_history_stays_small(upstream, runner, tmp_path):
    upstream.commits(700)
    upstream.git("tag", "v1.0")
    upstream.commits(20)
    planned, kept = _cut(runner, upstream, tmp_path, short=500)
    assert planned.reach == "to-tag"
    assert _in(kept, "rev-list", "--count", "HEAD") == "21"
