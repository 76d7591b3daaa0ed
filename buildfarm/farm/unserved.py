"""Which targets of an upstream sdist want a wheel: neither upstream nor the farm has one, nobody tried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from packaging.tags import Tag
from packaging.utils import InvalidWheelFilename, parse_wheel_filename
from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.farm.model import Build, Job
from buildfarm.mirror.model import Supplement
from buildfarm.mirror.page import MirrorPage
from buildfarm.recipes.plan import Target
from buildfarm.wheels.serving import tags_of


def reasons(
    session: Session,
    page: MirrorPage,
    version: Version,
    sha256: str,
    targets: Sequence[Target],
    *,
    besides: str | None = None,
) -> dict[str, str]:
    """Why nothing is to be built, for each target for which that is so; the other targets want a wheel.

    `besides` is a build that does not count as an attempt: the one that asks.
    """
    found = {target.name: target.skip_reason for target in targets if target.skip_reason}
    ours = select(Supplement.filename).where(Supplement.project == page.name)
    upstream, built = _tags(page.files, version), _tags(session.scalars(ours), version)
    everything, each = _tried(session, page.name, sha256, besides)
    for target in targets:
        takes = tags_of(target.interpreter, target.platform)
        if not takes.isdisjoint(upstream):
            found.setdefault(target.name, "Upstream has a wheel for it.")
        elif not takes.isdisjoint(built):
            found.setdefault(target.name, "The farm has built a wheel for it.")
        elif tried := everything or each.get(target.name):
            found.setdefault(target.name, f"It was begun as {tried.id}, which is {tried.state}.")
    return found


def _tags(filenames: Iterable[str], version: Version) -> set[Tag]:
    tags: set[Tag] = set()
    for filename in filenames:
        try:
            _name, exact, _build, these = parse_wheel_filename(filename, validate_order=False)
        except InvalidWheelFilename:
            continue
        if exact == version:
            tags |= these
    return tags


def _tried(
    session: Session, project: str, sha256: str, besides: str | None
) -> tuple[Build | None, dict[str, Build]]:
    """A build that counts for every target, for its jobs are not known or never came; builds by target."""
    each: dict[str, Build] = {}
    query = select(Build).where(Build.project == project, Build.commit == sha256, Build.id != (besides or ""))
    for build in session.scalars(query.where(Build.compares_id.is_(None)).order_by(Build.created_at)):
        targets = session.scalars(select(Job.target).where(Job.build_id == build.id)).all()
        if not targets:
            return build, each
        each |= dict.fromkeys(targets, build)
    return None, each
