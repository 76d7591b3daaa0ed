"""The facts a statement is made of, read from the control zone's own records.

Nothing in here was said by a builder but the bytes of the log and the id of an image that it made with
system packages; commit, recipe, base image, dependencies, limits and times come from rows that the farm
itself wrote.
"""

from __future__ import annotations

import importlib.metadata
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.farm import sdists
from buildfarm.farm.machines import Execution, with_patience
from buildfarm.farm.model import Artifact, Attempt, Build, Builder, Dependency, Job
from buildfarm.sources.model import Source
from buildfarm.trust import facts


def build_facts(
    session: Session, artifact: Artifact, project: str, version: str, settings: Settings
) -> facts.BuildFacts:
    """Everything the signer may say about one artifact. The same rows give the same facts."""
    return facts.BuildFacts(**_facts(session, artifact, project, version, settings))


def reproduction_facts(
    session: Session, artifact: Artifact, first: Artifact, project: str, version: str, settings: Settings
) -> facts.ReproductionFacts:
    """What it may say about an artifact of a second build that has the bytes of `first`."""
    attempt = session.get_one(Attempt, (first.job_id, first.attempt))
    return facts.ReproductionFacts(
        **_facts(session, artifact, project, version, settings),
        first_attempt_url=_attempt_url(settings.public_url, attempt),
        first_builder=session.get_one(Builder, attempt.builder_id).name,
    )


def _attempt_url(url: str, attempt: Attempt) -> str:
    return f"{url}/jobs/{attempt.job_id}/attempts/{attempt.number}"


def _facts(
    session: Session, artifact: Artifact, project: str, version: str, settings: Settings
) -> dict[str, Any]:
    job = session.get_one(Job, artifact.job_id)
    attempt = session.get_one(Attempt, (artifact.job_id, artifact.attempt))
    build = session.get_one(Build, job.build_id)
    source = session.get_one(Source, build.source_id)
    builder = session.get_one(Builder, attempt.builder_id)
    url = settings.public_url
    is_git = source.scm != sdists.SCM
    source_uri = f"git+{source.url}" if is_git else f"{source.url}/{project}"
    execution = Execution(attempt.execution)
    limits = {key: str(value) for key, value in sorted(with_patience(job.spec["limits"], execution).items())}
    return {
        "attempt_key": f"{job.id}/{attempt.number}",
        "filename": artifact.filename,
        "project": project,
        "version": version,
        "source_uri": source_uri,
        # Where a commit was asked for by its id, that is all there is to name.
        "ref": build.ref or build.commit or "",
        "commit": build.commit or "",
        "recipe_uri": source_uri,
        "recipe_path": build.recipe_path or "",
        "recipe_sha256": build.recipe_sha256 or "",
        "target": job.target,
        "trigger": build.trigger,
        "rebuilds_url": f"{url}/builds/{build.rebuilds_id}" if build.rebuilds_id else None,
        "delivery_id": build.delivery_id or "",
        "channel": build.channel,
        "limits": limits,
        "network": "none",
        "source_date_epoch": int(job.spec["source_date_epoch"]),
        "image_uri": f"docker://{url.split('://', 1)[-1]}/images/{job.target}",
        "image_sha256": str(job.spec["build_image"]).removeprefix("sha256:"),
        "system_packages": tuple(job.spec.get("system_packages", ())),
        "derived_image_sha256": _derived_image(job, attempt),
        "snapshot_sha256": build.snapshot_sha256 or "",
        "dependencies": _dependencies(session, artifact),
        "builder_name": builder.name,
        "builder_tier": _tier(job.queue),
        "execution": execution,
        "tiers_shared": settings.tiers_shared,
        "compile_cache": "compile_cache" in job.spec,
        "build_url": f"{url}/builds/{build.id}",
        "attempt_url": _attempt_url(url, attempt),
        "started_at": attempt.started_at,
        "finished_at": attempt.finished_at or clock.now(),
        "log_url": f"{url}/api/v1/jobs/{job.id}/log?attempt={attempt.number}",
        "log_sha256": attempt.log_sha256 or "",
        "identity": f"{url}/projects/{project}/recipes/{build.recipe_name}",
        "farm_version": importlib.metadata.version("buildfarm"),
    }


def _derived_image(job: Job, attempt: Attempt) -> str | None:
    if not job.spec.get("system_packages"):
        return None
    phases = (attempt.outcome or {}).get("phases", [])
    images = [str(one["image_id"]) for one in phases if one["phase"] == "build"]
    return images[-1].removeprefix("sha256:") if images else None


def _dependencies(session: Session, artifact: Artifact) -> tuple[facts.Dependency, ...]:
    rows = session.scalars(
        select(Dependency)
        .where(Dependency.job_id == artifact.job_id, Dependency.attempt == artifact.attempt)
        .order_by(Dependency.filename)
    )
    return tuple(
        facts.Dependency(
            ecosystem=_ecosystem(row.ecosystem),
            name=row.project,
            version=row.version,
            filename=row.filename,
            sha256=row.sha256,
            index_uri=row.origin,
        )
        for row in rows
    )


def _ecosystem(name: str) -> Any:  # noqa: ANN401 - the model checks that it is one of the three
    return name


def _tier(queue: str) -> Any:  # noqa: ANN401 - the model checks that it is one of the three
    return queue.split(".")[2]
