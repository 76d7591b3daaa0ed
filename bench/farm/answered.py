"""Equal input: a build whose input was built before, from its fetched source to its answer."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import select

from bench.farm.stand import RUNS, Stand
from bench.row import Row
from buildfarm import bootstrap
from buildfarm.config import Settings
from buildfarm.farm import builds, claims
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.plan import Planner
from buildfarm.recipes.model import Recipe
from buildfarm.sources.contract import Snapshot
from buildfarm.sources.model import Source
from tests.tour import demo
from tests.tour.stage import farm, git

COMMAND = "the plan of a commit that was built before, at a farm of `buildfarm up` (bench/farm/answered.py)"
_PROJECT = """\
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "bench-equal"
version = "1.0"
[tool.setuptools]
py-modules = ["bench_equal"]
"""


@dataclass(frozen=True)
class _Fetched(Planner):
    """A planner that fetches a commit once, and notes when it had it."""

    kept: list[Snapshot] = field(default_factory=list)
    began: list[float] = field(default_factory=list)

    def _fetch(
        self, source: Source, build: Build, commit: str | None, recipes: Sequence[Recipe] = ()
    ) -> Snapshot:
        if not self.kept:
            self.kept.append(super()._fetch(source, build, commit, recipes))
        self.began.append(time.perf_counter())
        return self.kept[0]


def rows(stand: Stand) -> Iterator[Row]:
    """Seconds of the plan, the index asked anew for all that the first build looked up."""
    demo.FOLDER = folder = stand.folder / "answered"
    (folder / "home").mkdir(parents=True)
    repository = _repository(folder)
    with farm(folder) as ready:
        tour = demo.Tour(ready)
        tour.command("source", "add", "equal", repository.as_uri(), "--project", "bench-equal")
        tour.command("build", "start", "equal", "--ref", "main", "--wait")
        settings = (folder / "farm" / "run" / "settings.json").read_text()
        own = bootstrap.farm(Settings.model_validate_json(settings))
        planner = _Fetched(own.database, own.blobs, own.settings, own.upstream, own.build_door)
        samples = [_planned(own, planner) for _ in range(RUNS + 1)][1:]
    yield Row("answered.equal_input", "s", samples, COMMAND, [], goal=0.2)


def _planned(own: bootstrap.Farm, planner: _Fetched) -> float:
    with own.database.begin() as session:
        source = session.scalars(select(Source).where(Source.name == "equal")).one()
        build = builds.start(
            session, source, ref="refs/heads/main", commit=None, trigger="bench", actor="bench"
        )
        session.flush()
        task = session.scalars(select(Task).where(Task.subject == build.id)).one()
        claims.claim(session, Task, task.id, task.attempt)
    planner.run(build.id, (task.id, task.attempt))
    took = time.perf_counter() - planner.began[-1]
    with own.database.read() as session:
        answers = session.scalars(select(Job.answered_by_id).where(Job.build_id == build.id)).all()
    if not answers or None in answers:
        raise SystemExit(f"bench: build {build.id} was not answered: {answers}")
    return took


def _repository(folder: Path) -> Path:
    repository = folder / "work"
    repository.mkdir()
    (repository / "pyproject.toml").write_text(_PROJECT)
    (repository / "bench_equal.py").write_text("x = 1\n")
    git(repository, "init", "--quiet", "--initial-branch", "main")
    git(repository, "add", ".")
    git(repository, "commit", "--quiet", "--message", "Begin")
    return repository
