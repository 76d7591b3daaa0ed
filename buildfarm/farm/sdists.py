"""Builds of what upstream has only as source: an sdist stands where a commit stands otherwise.

All of them belong to one source of the kind `index`, which nobody can push to. The sdist's SHA-256 is
their commit; the archive, validated like every other file, is their snapshot as it is.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from packaging.utils import InvalidSdistFilename, parse_sdist_filename
from packaging.version import Version
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.errors import Conflict, IntegrityFailure, InvalidInput, NotFound
from buildfarm.farm import builds, unserved
from buildfarm.farm.model import Build
from buildfarm.ids import new_id
from buildfarm.mirror.page import MirrorFile, MirrorPage
from buildfarm.mirror.upstream import Upstream
from buildfarm.recipes.plan import Target
from buildfarm.sources.contract import Snapshot
from buildfarm.sources.model import Source
from buildfarm.sources.pulls import Policy
from buildfarm.storage.blobs import Blobs
from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import validate_in_sandbox

SCM = "index"
#: The trigger of builds that a rule started: they wait behind all others, and make what is missing alone.
BY_RULE = "rule"
_NAME = "upstream-sdists"


@dataclass(frozen=True)
class Sdist:
    """The sdist of one upstream release."""

    project: str
    version: Version
    file: MirrorFile


def sdist_of(page: MirrorPage, version: Version) -> Sdist:
    """The sdist of a release that an upstream page lists.

    Raises:
        NotFound: `sdist.none`.
    """
    for file in page.files.values():
        try:
            if parse_sdist_filename(file.filename)[1] == version:
                return Sdist(page.name, version, file)
        except InvalidSdistFilename:
            continue
    raise NotFound(f"Upstream has no sdist of {page.name} {version}.", code="sdist.none")


def start(session: Session, sdist: Sdist, *, channel: str, actor: str) -> Build:
    """A build of a release's sdist; the one that is under way or was published, where there is one.

    Raises:
        Conflict: `source.name_taken`, a repository was connected under the name of this source.
    """
    source = _source(session)
    builds.hold_source(session, source.id)
    ref = f"refs/tags/{sdist.version}"
    known = session.scalars(
        select(Build)
        .where(Build.source_id == source.id, Build.project == sdist.project, Build.ref == ref)
        .where(Build.channel == channel, Build.state.not_in(["failed", "cancelled"]))
        .where(Build.compares_id.is_(None))
    ).first()
    return known or _begin(session, source, sdist, channel=channel, trigger="request", actor=actor)


def start_by_rule(
    session: Session, sdist: Sdist, page: MirrorPage, targets: Sequence[Target], *, channel: str, rule: str
) -> Build | None:
    """A build of the targets for which nothing serves and nobody tried; None when there is none (any more).

    Raises:
        Conflict: `source.name_taken`, as for `start`.
    """
    source = _source(session)
    builds.hold_source(session, source.id)
    met = unserved.reasons(session, page, sdist.version, sdist.file.sha256 or "", targets)
    if all(target.name in met for target in targets):
        return None
    return _begin(session, source, sdist, channel=channel, trigger=BY_RULE, actor=rule)


def _begin(
    session: Session, source: Source, sdist: Sdist, *, channel: str, trigger: str, actor: str
) -> Build:
    build = builds.start(
        session,
        source,
        ref=f"refs/tags/{sdist.version}",
        commit=sdist.file.sha256,
        trigger=trigger,
        actor=actor,
        title=f"{sdist.project} {sdist.version} from its sdist",
    )
    build.project, build.version, build.channel = sdist.project, str(sdist.version), channel
    return build


def project_files(requires_python: str | None) -> dict[str, str]:
    """What the planner reads of an sdist: what a stranger wrote into it steers nothing but its build."""
    requires = f"requires-python = {json.dumps(requires_python)}" if requires_python else ""
    return {"pyproject.toml": f"[project]\n{requires}\n"}


def snapshot(build: Build, upstream: Upstream, blobs: Blobs, *, max_bytes: int) -> Snapshot:
    """The build's sdist, fetched and validated, as the planner takes it.

    Raises:
        FarmError: upstream does not give it, or it breaks a rule of the validator.
    """
    if build.project is None or build.version is None:
        sentence = f"{_NAME} has no branches and tags: its builds are of a project's version."
        hint = "buildfarm mirror build CHANNEL NAME==VERSION"
        raise InvalidInput(sentence, code="sdist.unnamed", hint=hint)
    project, version = build.project, Version(build.version)
    page = upstream.rows(project)
    if page is None:
        raise NotFound(f"No upstream index knows {project}.", code="sdist.none")
    file = sdist_of(page, version).file
    held = upstream.file(project, file.filename)
    if build.commit not in {None, held.sha256}:
        raise IntegrityFailure(f"{file.filename} is not what it was.", code="mirror.digest_changed")
    path = blobs.path(held.sha256)
    facts = validate_in_sandbox(
        path, Expectation(file.filename, project, str(version), max_bytes, origin="mirror")
    )
    moment = _moment(file)
    return Snapshot(
        commit=held.sha256,
        tree=held.sha256,
        commit_time=moment,
        author_time=moment,
        author="",
        subject=f"{project} {version} from its sdist",
        ref=build.ref,
        tag=str(version),
        describe_tag=None,
        history="tip",
        files=project_files(facts.requires_python),
        unread={},
        projects=(".",),
        sha256=held.sha256,
        size=held.size,
        path=path,
    )


def _moment(file: MirrorFile) -> int:
    stated = file.upload_time or file.first_seen
    return int((datetime.fromisoformat(stated) if stated else datetime(1980, 1, 1, tzinfo=UTC)).timestamp())


def _source(session: Session) -> Source:
    source = session.scalars(select(Source).where(Source.name == _NAME)).first()
    if source is None:
        source = Source(
            id=new_id("src"), name=_NAME, scm=SCM, url="pkg:pypi", projects=[], branches=[], tags=[],
            paths=[], pull_requests=Policy.NONE, tier="untrusted", reads=[], recipe=None,
            created_at=clock.now(),
        )  # fmt: skip
        session.add(source)
        session.flush()
    elif source.scm != SCM:
        raise Conflict(
            f"A repository is connected as {_NAME}, which is the name for sdists of upstream.",
            code="source.name_taken",
        )
    return source
