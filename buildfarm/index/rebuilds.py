"""Rebuilds: a published release made again with what the farm has now, beside the files that it has.

The source, the recipe and the version stay; images and build dependencies are those of today. What tells
the new wheels from the old ones is a build number in their names, by which installers prefer them.

Source: the binary distribution format (build tag: a number first, of two wheels the higher one wins).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from buildfarm.errors import Conflict, InvalidInput
from buildfarm.farm import builds, sdists
from buildfarm.farm.model import Build
from buildfarm.farm.rules import FINAL, State
from buildfarm.index import channels, devbuilds, status
from buildfarm.index.files import get_release
from buildfarm.index.model import Project, Release
from buildfarm.sources.model import Source
from buildfarm.wheels.facts import FileFacts

#: The trigger of such builds.
TRIGGER = "rebuild"


def rebuild(session: Session, *, build_id: str, channel: str, wave_id: str | None, actor: str) -> Build:
    """Start a build that makes the wheels of a published build again, under the next free build number.

    Args:
        session: the transaction that starts it.
        build_id: the published build.
        channel: a durable channel, or the wave's candidate, which gets the files.
        wave_id: the wave that asks for it; None for a person.
        actor: who asks.

    Raises:
        NotFound: `build.unknown`, `channel.unknown`.
        Conflict: `rebuild.not_published`, `rebuild.comparison`, `rebuild.pull_request`, `rebuild.upstream`,
            `rebuild.dev`, `rebuild.no_wheels`, `rebuild.yanked`, `rebuild.under_way`, `channel.not_durable`.
        Forbidden: `project.closed`.
    """
    first = builds.get(session, build_id)
    source = session.get_one(Source, first.source_id)
    # Two that ask at once must not get one number.
    builds.hold_source(session, source.id)
    (channels.hold_of_builds if wave_id else channels.hold_durable)(session, channel)
    release = _release_of(session, first, source)
    build = builds.start(
        session,
        source,
        ref=first.ref,
        commit=first.commit,
        trigger=TRIGGER,
        actor=actor,
        title=first.title,
        fresh=True,
    )
    build.channel, build.project, build.version = channel, release.project, release.version
    build.rebuilds_id, build.wave_id = first.id, wave_id
    build.not_followed = first.not_followed
    build.wheel_build = _next_number(session, release)
    return build


def demand_fitting(session: Session, build: Build, files: Mapping[str, FileFacts]) -> None:
    """Refuse what a rebuild made beside wheels of its release that bear its number; others pass.

    Raises:
        InvalidInput: `publish.other_release`, `rebuild.unnumbered`.
        Conflict: `rebuild.yanked`, the release was yanked meanwhile.
    """
    if build.rebuilds_id is None:
        return
    for filename, facts in files.items():
        if facts.project != build.project or Version(facts.version) != Version(build.version or ""):
            raise InvalidInput(
                f"{filename} is no file of {build.project} {build.version}.", code="publish.other_release"
            )
        if _number_of(filename) != (build.wheel_build, ""):
            raise InvalidInput(
                f"{filename} is no wheel with the build number {build.wheel_build}.",
                code="rebuild.unnumbered",
            )
    _demand_not_yanked(get_release(session, build.project or "", build.version or ""))


def told(build: Build) -> dict[str, Any]:
    """What the journal says of a rebuild when it is published; nothing of other builds."""
    return {"rebuilds": build.rebuilds_id, "wheel_build": build.wheel_build} if build.rebuilds_id else {}


def _release_of(session: Session, first: Build, source: Source) -> Release:
    """The release that may be made again."""
    if first.pull_request:
        raise Conflict(
            f"Build {first.id} is of a pull request: it made no release.", code="rebuild.pull_request"
        )
    if first.compares_id:
        raise Conflict(f"Build {first.id} compares another one; rebuild that.", code="rebuild.comparison")
    if State(first.state) is not State.PUBLISHED or first.project is None or first.version is None:
        raise Conflict(
            f"Build {first.id} is {first.state}; what is published can be rebuilt.",
            code="rebuild.not_published",
            hint=f"To build its commit: buildfarm build start {source.name} --ref {first.ref}",
        )
    if source.scm == sdists.SCM:
        raise Conflict(
            f"{first.project} is upstream's; what we release ourselves can be rebuilt.",
            code="rebuild.upstream",
        )
    if devbuilds.is_one(first) or Version(first.version).is_devrelease:
        raise Conflict(
            f"{first.project} {first.version} is a development version; the next push makes another.",
            code="rebuild.dev",
        )
    if not any(name.endswith(".whl") for name in builds.artifacts(session, first.id)):
        raise Conflict(f"Build {first.id} made no wheel.", code="rebuild.no_wheels")
    status.demand_open(session.get(Project, first.project))
    release = get_release(session, first.project, first.version)
    _demand_not_yanked(release)
    under_way = session.scalars(
        select(Build.id)
        .where(Build.project == release.project, Build.version == release.version)
        .where(Build.rebuilds_id.is_not(None), Build.compares_id.is_(None), Build.state.not_in(FINAL))
    ).first()
    if under_way:
        raise Conflict(
            f"{release.project} {release.version} is being rebuilt already, as {under_way}.",
            code="rebuild.under_way",
        )
    return release


def _demand_not_yanked(release: Release) -> None:
    # Installers would take the new files, which nobody marked.
    if any(file.yanked is not None for file in release.files):
        raise Conflict(
            f"{release.project} {release.version} is yanked.",
            code="rebuild.yanked",
            hint="Release a new version, or take the mark away.",
        )


def _next_number(session: Session, release: Release) -> int:
    """One more than any in use; that of a rebuild which failed is not given again either."""
    given = select(func.max(Build.wheel_build)).where(
        Build.project == release.project, Build.version == release.version
    )
    used = [tag[0] for file in release.files if (tag := _number_of(file.filename))]
    return max(session.scalar(given) or 0, *used, 0) + 1


def _number_of(filename: str) -> tuple[int, str] | tuple[()]:
    """The build tag in a wheel's name; empty where there is none."""
    try:
        return parse_wheel_filename(filename)[2]
    except InvalidWheelFilename:
        return ()
