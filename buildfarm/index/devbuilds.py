"""Dev builds: what is built of anything but a tag. Each has a local version, and stays in its first channel.

Source: PEP 440, local version identifiers. The builder gives files that version (`sandbox.inside.archives`),
where the project did not; what a builder says is no evidence, so it is looked at here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.errors import Conflict, InvalidInput
from buildfarm.farm.model import Build
from buildfarm.farm.versions import TAGS
from buildfarm.index.model import File, Release
from buildfarm.wheels.facts import FileFacts


def is_one(build: Build) -> bool:
    """Whether the build is of a branch, of a request or of a mere commit."""
    return not build.ref.startswith(TAGS)


def demand_local(build: Build, files: Mapping[str, FileFacts]) -> None:
    """Refuse files of a dev build that would take a release's name; files of a tag pass.

    Raises:
        InvalidInput: `publish.not_local`.
    """
    if not is_one(build):
        return
    for filename, facts in files.items():
        if Version(facts.version).local is None:
            raise InvalidInput(
                f"{filename} has the version of a release, and was built of {build.ref or 'a commit'}.",
                code="publish.not_local",
                hint="Push a tag: its build makes the release.",
            )


def demand_none(session: Session, release: Release, files: Sequence[File]) -> None:
    """Refuse to promote files of a dev build.

    Raises:
        Conflict: `promotion.dev_build`.
    """
    made = select(Build).where(Build.id.in_({file.build_id for file in files} - {None}))
    for build in session.scalars(made):
        if is_one(build):
            raise Conflict(
                f"{release.project} {release.version} is a dev build of {build.ref or build.commit}.",
                code="promotion.dev_build",
                hint="Push a tag: what its build makes can be promoted.",
            )
