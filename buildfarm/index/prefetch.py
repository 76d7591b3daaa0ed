"""What a lock file needs that a mirror does not hold yet: asked for before it is missed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from urllib.parse import quote

from packaging.version import Version

from buildfarm.db.engine import Database
from buildfarm.index import guarded, names
from buildfarm.index.guarded import Guard, Reading
from buildfarm.mirror import locks
from buildfarm.mirror.locks import Wanted
from buildfarm.mirror.page import MirrorPage
from buildfarm.mirror.upstream import Upstream


@dataclass(frozen=True)
class Needed:
    """A file to fetch; `url` is relative to the channel's root."""

    project: str
    filename: str
    size: int | None
    url: str
    has_provenance: bool


@dataclass(frozen=True)
class Missed:
    """What will not be there, and why; without a file name when nothing fits."""

    project: str
    filename: str | None
    rule: str
    sentence: str


@dataclass
class Plan:
    """What a lock file needs of a channel; `ours` are names that are never asked upstream."""

    files: list[Needed] = field(default_factory=list)
    missed: list[Missed] = field(default_factory=list)
    ours: list[str] = field(default_factory=list)


def plan(database: Database, guard: Guard, upstream: Upstream, channel: str, text: str) -> Plan:
    """Which files a lock file or a list of requirements needs of a mirror or union channel.

    Files are chosen by the digests that the lock file names; a requirement without digests means every
    file of the newest version that fits.

    Raises:
        InvalidInput: `lock.syntax`.
        NotFound: `channel.unknown`.
        Conflict: `channel.no_mirror`.
        ExternalFailure: `mirror.unreachable`.
    """
    wanted = locks.parse(text)
    with database.read() as session:
        mirror = guarded.mirror_of(session, channel)
        ours = {one.project for one in wanted if names.is_ours(session, one.project)}
    result = Plan(ours=sorted(ours))
    for one in wanted:
        if one.project not in ours:
            _add(result, one, guard, mirror, upstream.rows(one.project))
    return result


def _add(result: Plan, wanted: Wanted, guard: Guard, mirror: str, page: MirrorPage | None) -> None:
    if page is None:
        sentence = f"No upstream index knows {wanted.project}."
        result.missed.append(Missed(wanted.project, None, "unknown", sentence))
        return
    refused = guard.sift(mirror, page).refused
    chosen = [reading.file for reading in _chosen(wanted, page)]
    if not chosen:
        sentence = f"No file of {wanted.project} fits {wanted.specifier or 'any version'}."
        result.missed.append(Missed(wanted.project, None, "no-file", sentence))
    for file in chosen:
        if refusal := refused.get(file.filename):
            missed = Missed(wanted.project, file.filename, refusal.rule, refusal.sentence)
            result.missed.append(missed)
        else:
            url = f"files/{wanted.project}/{quote(file.filename)}"
            has_provenance = file.provenance_url is not None
            result.files.append(Needed(wanted.project, file.filename, file.size, url, has_provenance))


def _chosen(wanted: Wanted, page: MirrorPage) -> Iterator[Reading]:
    readings = [Reading(page.name, file, page.fetched_at) for file in page.files.values()]
    if wanted.sha256:
        yield from (reading for reading in readings if reading.file.sha256 in wanted.sha256)
        return
    newest = _newest(wanted, {one.version for one in readings if one.version and not one.file.yanked})
    yield from (reading for reading in readings if newest is not None and reading.version == newest)


def _newest(wanted: Wanted, versions: set[Version]) -> Version | None:
    fitting: Sequence[Version] = list(wanted.specifier.filter(versions))
    return max(fitting, default=None)
