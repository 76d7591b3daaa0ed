"""What builds of pull requests are given: those of forks nothing that is not for everybody's eyes."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import InvalidInput
from buildfarm.farm import builds
from buildfarm.farm.model import Build
from buildfarm.farm.rules import State
from buildfarm.recipes.model import Recipe
from buildfarm.sources.model import Source

_STRANGERS, _UNMERGED, _RELEASES = "untrusted", "dev", "release"


def is_of_fork(build: Build) -> bool:
    """Whether its commit was written by whoever could fork the repository."""
    return build.pull_request is not None and build.pull_request.is_fork


def tier_of(build: Build, source: Source) -> str:
    """The tier of its jobs: what a stranger wrote is untrusted, and what nobody merged is no release."""
    if is_of_fork(build):
        return _STRANGERS
    return _UNMERGED if build.pull_request and source.tier == _RELEASES else source.tier


def reads_of(build: Build, source: Source) -> list[str]:
    """The channels of ours that its jobs may read, in order: none of a stranger's."""
    return [] if is_of_fork(build) else source.reads


def mirror_of(build: Build, source: Source) -> str:
    """The folder of what was fetched before: no stranger fills that of the source's own branches."""
    return f"{source.id}-forks" if is_of_fork(build) else source.id


def demand_plain(recipe: Recipe) -> None:
    """Refuse to fill a stranger's tree with what only the source's credential can read.

    Raises:
        InvalidInput: `pull_request.credential`.
    """
    if recipe.submodules or recipe.lfs:
        raise InvalidInput(
            f"The recipe {recipe.name} asks for submodules or large files, and commits of forks get neither.",
            code="pull_request.credential",
            hint="What they name is theirs to choose, and would be fetched with the source's credential. "
            "Push the commit to a branch of the repository to have it built.",
        )


def call_off(session: Session, pull_request_id: str, sentence: str) -> list[str]:
    """End the builds of a pull request that are not through; their ids."""
    waiting = select(Build.id).where(
        Build.pull_request_id == pull_request_id,
        Build.state.in_([State.QUEUED, State.RUNNING]),
        Build.cancel_requested_at.is_(None),
    )
    return [
        build_id
        for build_id in session.scalars(waiting.order_by(Build.id)).all()
        if builds.call_off(session, builds.hold(session, build_id), sentence)
    ]
