"""A wave's preview on a farm of two thousand projects, each of which was built with some of the others."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.farm.stand import RUNS, Stand
from bench.row import Row
from buildfarm import bootstrap, clock
from buildfarm.bootstrap import Farm
from buildfarm.config import Settings
from buildfarm.db import migrate
from buildfarm.farm import jobs, registry
from buildfarm.farm.machines import Execution
from buildfarm.farm.model import Attempt, Build, Dependency, Job
from buildfarm.farm.rules import State
from buildfarm.index import channels
from buildfarm.index.model import ChannelEntry, File, Project, Release
from buildfarm.index.spelling import version_key
from buildfarm.recipes.model import Recipe
from buildfarm.scm import connect
from buildfarm.storage.blobs import Blobs
from buildfarm.waves.preview import preview
from buildfarm.waves.triggers import Kind, Trigger

_PROJECTS, _TARGETS, _NEEDS = 2_000, 3, 5
_PLATFORM = "manylinux_2_28_x86_64"
_COMMAND = f"the preview of a wave on a farm of {_PROJECTS} projects (bench/farm/waves.py)"


def rows(stand: Stand) -> Iterator[Row]:
    """Seconds of a preview: of a library that all the others were built with, directly or through others."""
    farm = bootstrap.farm(Settings(data=stand.folder / "waves"))
    migrate.upgrade(farm.database)
    with farm.database.begin() as session:
        channels.create_ladder(session)
        _fill(session, farm.blobs)
    yield Row("wave.preview", "s", [_previewed(farm) for _ in range(RUNS)], _COMMAND, [], goal=1.0)
    farm.database.close()


def _previewed(farm: Farm) -> float:
    began = time.perf_counter()
    with farm.database.read() as session:
        found = preview(session, farm.blobs, farm.settings, Trigger(Kind.PROJECT, "p0==9"), channel="dev")
    took = time.perf_counter() - began
    if len(found.members) != _PROJECTS - 1:
        raise SystemExit(f"bench: the wave has {len(found.members)} members")
    return took


def _fill(session: Session, blobs: Blobs) -> None:
    """A release of each project, which was built with some of those before it and requires the last one."""
    now, dev = clock.now(), {"branches": [], "tier": "dev", "allow_file": False, "actor": "bench"}
    source, _ = connect.add_source(session, "many", "https://git.example/many.git", scm="generic", **dev)
    builder, _ = registry.add_builder(session, "bench", ["dev"], actor="bench")
    session.flush()
    queue = jobs.queue_name(registry.family_of(_PLATFORM), "dev", "release")
    queued = jobs.queued_values(source.id, queue, now - timedelta(minutes=1))
    ended = {"attempt": 1, "state": State.SUCCEEDED, "started_at": queued["created_at"], "finished_at": now}
    recipe = Recipe(name="default").model_dump(mode="json")
    made: dict[type, list[dict[str, object]]] = {
        table: [] for table in (Project, Release, Build, Job, Attempt, Dependency, File, ChannelEntry)
    }
    for number in range(_PROJECTS):
        name, build_id = f"p{number}", f"bld_{number:06}"
        needs = {f"p{(number - 1) // 2**one}" for one in range(_NEEDS)} if number else set()
        lines = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        lines += "".join(f"Requires-Dist: {one}>=1\n" for one in sorted(needs)[:1])
        metadata = blobs.put_bytes((lines + "\n" + "A long text.\n" * 300).encode())
        made[Project].append({"name": name, "display_name": name, "skeleton": name, "local_since": 1})
        release = {"project": name, "version": "1.0", "key": version_key("1.0"), "created_at": now}
        made[Release].append({"id": f"rel_{number}", **release})
        made[Build].append(
            {
                "id": build_id, "number": number + 1, "source_id": source.id, "trigger": "bench",
                "ref": "refs/tags/v1.0", "channel": "dev", "state": State.PUBLISHED, "created_at": now,
                "project": name, "version": "1.0", "recipe": recipe,
            }
        )  # fmt: skip
        for minor in range(11, 11 + _TARGETS):
            job_id, filename = f"job_{number:06}{minor}", f"{name}-1.0-cp3{minor}-cp3{minor}-{_PLATFORM}.whl"
            target = {"target": f"cp3{minor}-{_PLATFORM}", "required": True, "spec": {"build_image": "old"}}
            made[Job].append({**queued, **ended, "id": job_id, "build_id": build_id, **target})
            made[Attempt].append(
                {
                    "job_id": job_id, "number": 1, "builder_id": builder.id, "token_digest": job_id,
                    "state": State.SUCCEEDED, "started_at": now, "execution": Execution.NATIVE,
                    "log_bytes": 0, "log_lines": 0,
                }
            )  # fmt: skip
            made[Dependency] += [
                {
                    "job_id": job_id, "attempt": 1, "filename": f"{one}-1.0-py3-none-any.whl",
                    "ecosystem": "pypi", "sha256": "0" * 64, "project": one, "version": "1.0",
                    "origin": "dev", "served_at": now,
                }
                for one in needs
            ]  # fmt: skip
            made[File].append(
                {
                    "filename": filename, "release_id": f"rel_{number}", "sha256": "0" * 64, "size": 1,
                    "metadata_sha256": metadata, "uploaded_at": now, "build_id": build_id,
                }
            )  # fmt: skip
            made[ChannelEntry].append({"channel": "dev", "filename": filename, "since": 1})
    for table, values in made.items():
        session.execute(insert(table), values)
