"""The one decision about an upstream file: may it be shown, and if not, by which rule and until when. Pure.

The same judgement holds for the page, the metadata and the file: whoever knows the URL gets no further
than whoever reads the page.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from packaging.version import Version

from buildfarm.mirror.policy import Policy, Selector


@dataclass(frozen=True)
class Candidate:
    """An upstream file, as far as a policy looks at it; `version` is None when its name tells none."""

    filename: str
    project: str
    version: Version | None
    is_wheel: bool
    uploaded_at: datetime | None
    first_seen_at: datetime
    is_attested: bool
    #: Licence expression or its parts; None while nobody has read the metadata.
    licences: Sequence[str] | None = None


@dataclass(frozen=True)
class Finding:
    """An advisory that covers a candidate."""

    advisory: str
    aliases: frozenset[str]
    is_malware: bool
    summary: str


@dataclass(frozen=True)
class Refusal:
    """Why a file is not shown; `until` when only time is missing."""

    rule: str
    sentence: str
    until: datetime | None = None


class Judge:
    """A policy made ready for many candidates."""

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._allow = [Selector.parse(text) for text in policy.allow]
        self._deny = [Selector.parse(text) for text in policy.deny]

    def refusal(
        self,
        candidate: Candidate,
        findings: Sequence[Finding],
        now: datetime,
        lifted: Collection[str] = (),
    ) -> Refusal | None:
        """The first rule that refuses the candidate, or None; `lifted` names rules that somebody lifted."""
        checks = (
            self._named(candidate),
            self._kind(candidate),
            self._advised(findings),
            self._licensed(candidate),
            self._aged(candidate, now),
        )
        return next((one for found in checks for one in found if one.rule not in lifted), None)

    def _named(self, candidate: Candidate) -> list[Refusal]:
        name, version = candidate.project, candidate.version
        refusals = []
        if any(selector.covers(name, version) for selector in self._deny):
            refusals.append(Refusal("deny", f"{candidate.filename} is on the deny list of this channel."))
        if self._allow and not any(selector.covers(name, version) for selector in self._allow):
            refusals.append(
                Refusal("allow", f"{candidate.filename} is not on the allow list of this channel.")
            )
        return refusals

    def _kind(self, candidate: Candidate) -> list[Refusal]:
        policy, refusals = self._policy, []
        kind = "wheel" if candidate.is_wheel else "sdist"
        if kind not in policy.file_types:
            refusals.append(
                Refusal("file-type", f"This channel shows no {kind}s, and {candidate.filename} is one.")
            )
        if policy.only_attested and not candidate.is_attested:
            refusals.append(Refusal("attested", f"Upstream shows no provenance for {candidate.filename}."))
        return refusals

    def _advised(self, findings: Sequence[Finding]) -> list[Refusal]:
        ignored, refusals = set(self._policy.ignore_advisories), []
        for finding in sorted(findings, key=lambda one: (not one.is_malware, one.advisory)):
            if ignored & ({finding.advisory} | finding.aliases):
                continue
            if finding.is_malware and self._policy.malware == "block":
                refusals.append(
                    Refusal("malware", f"It is malicious by {finding.advisory}: {finding.summary}")
                )
            elif not finding.is_malware and self._policy.vulnerabilities == "block":
                refusals.append(
                    Refusal("vulnerability", f"It is vulnerable by {finding.advisory}: {finding.summary}")
                )
        return refusals

    def _licensed(self, candidate: Candidate) -> list[Refusal]:
        policy = self._policy
        if not policy.asks_licence:
            return []
        if not candidate.licences:
            return [Refusal("licence", f"The licence of {candidate.filename} is not stated.")]
        for licence in candidate.licences:
            if _matches(licence, policy.deny_licences):
                return [Refusal("licence", f"This channel denies the licence {licence}.")]
            if policy.allow_licences and not _matches(licence, policy.allow_licences):
                return [Refusal("licence", f"This channel does not allow the licence {licence}.")]
        return []

    def _aged(self, candidate: Candidate, now: datetime) -> list[Refusal]:
        days = self._policy.minimum_age_days
        # A stated time may be missing or in the future; the farm's own first sight is the latest there is.
        known = candidate.first_seen_at
        due = min(candidate.uploaded_at or known, known) + timedelta(days=days)
        if not days or due <= now:
            return []
        shown = f"it is shown from {due:%Y-%m-%d %H:%M} UTC on"
        return [Refusal("age", f"{candidate.filename} is younger than {days:g} days; {shown}.", due)]


def _matches(licence: str, globs: Sequence[str]) -> bool:
    return any(fnmatchcase(licence.lower(), glob.lower()) for glob in globs)
