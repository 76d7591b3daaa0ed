"""What of an upstream page a mirror channel shows: its policy, the advisories and the lifts, applied.

One judgement for the page, the metadata and the file. Whatever lies between a file and its being shown
is a `Refusal` with the rule's name and a sentence; where only time lies between, `due` says when to
render anew.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import Version
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict
from buildfarm.index import channels
from buildfarm.index.model import Channel
from buildfarm.journal.record import record
from buildfarm.mirror import advisories, lifts
from buildfarm.mirror.judge import Candidate, Finding, Judge, Refusal
from buildfarm.mirror.licences import Licences
from buildfarm.mirror.page import MirrorFile, MirrorPage
from buildfarm.mirror.policy import Policy, load

#: How many changes of a kind a dry run lists.
CHANGES = 1_000


@dataclass(frozen=True)
class Sifted:
    """A page after the policy: what is shown, and why the rest is not."""

    shown: Sequence[MirrorFile]
    refused: Mapping[str, Refusal]
    #: When the next refusal ends or begins by time alone.
    due: datetime | None


def policy_of(session: Session, channel: str) -> Policy:
    """The policy of a channel.

    Raises:
        NotFound: `channel.unknown`.
    """
    return load(channels.get(session, channel).policy)


def set_policy(session: Session, channel: str, policy: Policy, *, actor: str) -> Channel:
    """Put a policy in force for a mirror channel, and for the unions that it is part of.

    Raises:
        NotFound: `channel.unknown`.
        Conflict: `policy.channel`, the channel is no mirror.
    """
    row = channels.hold(session, channel)
    if row.kind != "mirror":
        raise Conflict(
            f"{channel} is no mirror channel, so it has no policy.",
            code="policy.channel",
            hint="A union shows what its parts show: set the policy of the mirror that it contains.",
        )
    row.policy = policy.model_dump(mode="json", exclude_defaults=True)
    record(session, "policy.set", channel=channel, policy=row.policy, actor=actor)
    return row


@dataclass(frozen=True)
class Change:
    """A file that another policy would hide, with its rule, or show (rule and sentence of today)."""

    project: str
    filename: str
    rule: str
    sentence: str


@dataclass(frozen=True)
class DryRun:
    """What a policy would change of the pages that the mirror knows; lists of changes are cut off."""

    files: int
    shown_now: int
    shown_then: int
    hidden: list[Change]
    opened: list[Change]


def mirror_of(session: Session, channel: str) -> str:
    """The mirror channel whose policy holds for what a channel shows of upstream.

    Raises:
        NotFound: `channel.unknown`.
        Conflict: `channel.no_mirror`, it shows nothing of upstream.
    """
    row = channels.get(session, channel)
    for name in [channel] if row.kind == "mirror" else row.parts:
        if channels.get(session, name).kind == "mirror":
            return str(name)
    raise Conflict(f"The channel {channel} shows nothing of upstream.", code="channel.no_mirror")


class Guard:
    """Sifts upstream pages; may be shared by threads."""

    def __init__(
        self, database: Database, licences: Licences, pages: Callable[[], Iterable[MirrorPage]]
    ) -> None:
        """`pages` gives every page that the mirror knows, without asking upstream."""
        self._database, self._licences, self._pages = database, licences, pages

    def sift(self, channel: str, page: MirrorPage, policy: Policy | None = None) -> Sifted:
        """What a mirror channel shows of a page under its own policy, or under one that is tried out.

        Raises:
            NotFound: `channel.unknown`.
        """
        now = clock.now()
        candidates = [Reading(page.name, file, page.fetched_at) for file in page.files.values()]
        versions = sorted({one.version for one in candidates if one.version is not None})
        with self._database.read() as session:
            policy = policy or policy_of(session, channel)
            found = advisories.findings_for(session, page.name, versions)
            lifted = lifts.in_force(session, channel, page.name, now)
        licences = self._licences_of(page.name, candidates) if policy.asks_licence else {}
        judge = Judge(policy)
        refused: dict[str, Refusal] = {}
        for one in candidates:
            about, waived = _about(one.version, found, lifted)
            if refusal := judge.refusal(one.candidate(licences), about, now, waived):
                refused[one.file.filename] = refusal
        ends = [refusal.until for refusal in refused.values() if refusal.until]
        ends += [lift.until for lift in lifted.values() if lift.until]
        shown = [file for file in page.files.values() if file.filename not in refused]
        return Sifted(shown, refused, min(ends, default=None))

    def dry_run(self, channel: str, policy: Policy) -> DryRun:
        """What a policy would change of everything the mirror knows today; nothing is changed.

        Raises:
            NotFound: `channel.unknown`.
        """
        files = shown_now = shown_then = 0
        hidden: list[Change] = []
        opened: list[Change] = []
        for page in self._pages():
            now, then = self.sift(channel, page), self.sift(channel, page, policy)
            files += len(page.files)
            shown_now, shown_then = shown_now + len(now.shown), shown_then + len(then.shown)
            hidden += _changes(page.name, then.refused, now.refused)
            opened += _changes(page.name, now.refused, then.refused)
        return DryRun(files, shown_now, shown_then, hidden[:CHANGES], opened[:CHANGES])

    def _licences_of(self, project: str, candidates: Sequence[Reading]) -> Mapping[Version, Sequence[str]]:
        beside = [
            (one.version, one.file.filename)
            for one in candidates
            if one.version is not None and one.file.metadata_sha256
        ]
        return self._licences.known(project, beside)


@dataclass(frozen=True)
class Reading:
    """An upstream file with the version that its name tells."""

    project: str
    file: MirrorFile
    page_fetched_at: datetime

    @cached_property
    def version(self) -> Version | None:
        """None when the name follows no rule."""
        try:
            if self.is_wheel:
                return parse_wheel_filename(self.file.filename, validate_order=False)[1]
            return parse_sdist_filename(self.file.filename)[1]
        except (InvalidWheelFilename, InvalidSdistFilename):
            return None

    @property
    def is_wheel(self) -> bool:
        """Whether it is a wheel."""
        return self.file.filename.endswith(".whl")

    def candidate(self, licences: Mapping[Version, Sequence[str]]) -> Candidate:
        """What the judge looks at."""
        stated = self.file.upload_time
        return Candidate(
            filename=self.file.filename,
            project=self.project,
            version=self.version,
            is_wheel=self.is_wheel,
            uploaded_at=datetime.fromisoformat(stated) if stated else None,
            first_seen_at=datetime.fromisoformat(self.file.first_seen)
            if self.file.first_seen
            else self.page_fetched_at,
            is_attested=self.file.provenance_url is not None,
            licences=licences.get(self.version) if self.version else None,
        )


def _about(
    version: Version | None,
    found: Mapping[Version, Sequence[Finding]],
    lifted: Mapping[Version, lifts.Lifted],
) -> tuple[Sequence[Finding], frozenset[str]]:
    """What is known of a version, and the rules that are lifted for it."""
    if version is None:
        return (), frozenset()
    return found.get(version, ()), lifted[version].rules if version in lifted else frozenset()


def _changes(
    project: str, refused: Mapping[str, Refusal], but_not: Mapping[str, Refusal]
) -> Iterator[Change]:
    for filename, refusal in refused.items():
        if filename not in but_not:
            yield Change(project, filename, refusal.rule, refusal.sentence)
