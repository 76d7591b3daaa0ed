"""Rules by which the farm builds wheels that upstream lacks, without being asked.

A rule is a row; what it does follows from the pages that the mirror knows, from the policy of its channel
and from the builds that there are. So nothing is lost when a process dies: the next round sees the same.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fnmatch import fnmatchcase

from packaging.utils import canonicalize_name
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import InvalidInput, NotFound
from buildfarm.farm import plan, sdists, unserved
from buildfarm.farm.model import Build
from buildfarm.farm.sdists import Sdist
from buildfarm.index import names
from buildfarm.index.guarded import Guard, Reading, mirror_of
from buildfarm.index.supplements import SDIST_RULES
from buildfarm.journal.record import record
from buildfarm.mirror.guard_model import WheelRule
from buildfarm.mirror.model import UpstreamFile, UpstreamPage
from buildfarm.mirror.page import MirrorFile, MirrorPage
from buildfarm.mirror.upstream import Upstream
from buildfarm.recipes.plan import Target

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_PATTERN = re.compile(r"[A-Za-z0-9._*?-]{1,100}")
_DAY = timedelta(days=1)
#: All pages are looked at so often: time alone ends a refusal, and images come.
_WHOLE_ROUND = timedelta(minutes=10)
#: Whoever changes a page notes the time first and commits then, by a clock of another host perhaps.
_OVERLAP = timedelta(seconds=30)


@dataclass(frozen=True)
class Verdict:
    """What a rule says of a release: the targets to build for, or why there is nothing to build."""

    project: str
    version: str
    filename: str
    targets: list[str]
    why_not: str | None


def put(session: Session, rule: WheelRule) -> WheelRule:
    """Make a rule, or another one of the same name; its patterns are normalised.

    Raises:
        InvalidInput: `wheel_rule.name`, `wheel_rule.pattern`, `wheel_rule.number`.
        NotFound: `channel.unknown`.
        Conflict: `channel.no_mirror`.
    """
    checked(session, rule)
    rule = session.merge(rule)
    record(
        session, "wheel-rule.set", channel=rule.channel, rule=rule.name, patterns=rule.patterns,
        newest=rule.newest, prereleases=rule.prereleases, daily=rule.daily, enabled=rule.enabled,
        actor=rule.actor,
    )  # fmt: skip
    return rule


def checked(session: Session, rule: WheelRule) -> WheelRule:
    """The rule as it would be kept, not kept.

    Raises:
        As for `put`.
    """
    if not _NAME.fullmatch(rule.name):
        raise InvalidInput(
            "A rule's name has lower-case letters, digits and `-`, at most 40.", code="wheel_rule.name"
        )
    if not 0 < len(rule.patterns) <= 100 or not all(_PATTERN.fullmatch(one) for one in rule.patterns):
        raise InvalidInput(
            "A rule has 1 to 100 patterns: project names, with `*` and `?` for what varies.",
            code="wheel_rule.pattern",
        )
    if not (1 <= rule.newest <= 1000 and 1 <= rule.daily <= 1000):
        raise InvalidInput("`newest` and `daily` are from 1 to 1000.", code="wheel_rule.number")
    rule.patterns = sorted({str(canonicalize_name(one)) for one in rule.patterns})
    rule.channel = mirror_of(session, rule.channel)
    return rule


def remove(session: Session, name: str, *, actor: str) -> WheelRule:
    """Take a rule away; what it built stays.

    Raises:
        NotFound: `wheel_rule.unknown`.
    """
    rule = get(session, name)
    session.delete(rule)
    record(session, "wheel-rule.remove", channel=rule.channel, rule=name, actor=actor)
    return rule


def get(session: Session, name: str) -> WheelRule:
    """One rule.

    Raises:
        NotFound: `wheel_rule.unknown`.
    """
    if rule := session.get(WheelRule, name):
        return rule
    raise NotFound(f"There is no rule {name[:100]!r} for wheels.", code="wheel_rule.unknown")


def listed(session: Session) -> Sequence[WheelRule]:
    """Every rule, by name."""
    return session.scalars(select(WheelRule).order_by(WheelRule.name)).all()


def built(session: Session, name: str, *, limit: int) -> Sequence[Build]:
    """The builds that a rule of this name started, the newest first."""
    return session.scalars(_of_rule(name).order_by(Build.created_at.desc(), Build.id).limit(limit)).all()


@dataclass(frozen=True)
class WheelRules:
    """What rules would build, and their builds; may be shared by threads."""

    database: Database
    upstream: Upstream
    guard: Guard
    settings: Settings

    def verdicts(self, rule: WheelRule) -> list[Verdict]:
        """What a rule says of the newest releases that have an sdist; nothing is built, no page asked for."""
        return [case.verdict for case in self._cases(rule, None)]

    def run(self, only: Collection[str] | None = None) -> int:
        """Start what the enabled rules want, each within its limit for a day; how many builds.

        `only` are the projects to look at, where not all that match.
        """
        with self.database.read() as session:
            rules = [rule for rule in listed(session) if rule.enabled]
        return sum(self._start(rule, case) for rule in rules for case in self._cases(rule, only))

    def marks(self) -> list[tuple[str, datetime]]:
        """What differs when a rule was made, changed or removed."""
        with self.database.read() as session:
            return [(rule.name, rule.changed_at) for rule in listed(session)]

    def changed_since(self, moment: datetime) -> list[str]:
        """The projects whose upstream pages changed since then."""
        changed = select(UpstreamPage.project).where(UpstreamPage.changed_at >= moment)
        with self.database.read() as session:
            return list(session.scalars(changed))

    def _start(self, rule: WheelRule, case: _Case) -> bool:
        if case.verdict.why_not:
            return False
        sdist = case.sdist
        with self.database.begin() as session:
            held = session.get(WheelRule, rule.name, with_for_update=True)
            if held is None or not held.enabled or _is_spent(session, held):
                return False
            build = sdists.start_by_rule(
                session, sdist, case.page, case.targets, channel=rule.channel, rule=rule.name
            )
            if build is None:
                return False
            record(
                session, "wheel-rule.build", channel=rule.channel, rule=rule.name, build=build.id,
                release=f"{sdist.project} {sdist.version}", sha256=sdist.file.sha256, actor="farm",
            )  # fmt: skip
        return True

    def _cases(self, rule: WheelRule, only: Collection[str] | None) -> Iterator[_Case]:
        with self.database.read() as session:
            known = session.scalars(select(UpstreamPage.project).order_by(UpstreamPage.project)).all()
        for project in known:
            is_wanted = only is None or project in only
            if is_wanted and any(fnmatchcase(project, pattern) for pattern in rule.patterns):
                page = self.upstream.pages.stored(project)
                yield from self._of_page(rule, page) if page else ()

    def _of_page(self, rule: WheelRule, page: MirrorPage) -> Iterator[_Case]:
        newest = _newest(rule, page)
        if not newest:
            return
        refused, is_isolated = self.guard.sift(rule.channel, page).refused, self.settings.mirror.isolated
        with self.database.read() as session:
            is_ours = names.is_ours(session, page.name)
            for sdist in newest:
                refusal = refused.get(sdist.file.filename)
                targets: list[Target] = []
                if is_ours:
                    why_not: str | None = f"{page.name} is ours."
                elif refusal and refusal.rule not in SDIST_RULES:
                    why_not = refusal.sentence
                elif unfit := _unfit(session, page, sdist.file, is_isolated=is_isolated):
                    why_not = unfit
                else:
                    targets, why_not = self._targets(session, page, sdist)
                missing = [target.name for target in targets]
                version, filename = str(sdist.version), sdist.file.filename
                yield _Case(page, sdist, targets, Verdict(page.name, version, filename, missing, why_not))

    def _targets(self, session: Session, page: MirrorPage, sdist: Sdist) -> tuple[list[Target], str | None]:
        """The targets that want a wheel; or none, and why."""
        file = sdist.file
        try:
            targets = plan.sdist_targets(session, self.settings, page.name, file.requires_python)
        except InvalidInput as err:
            return [], str(err)
        met = unserved.reasons(session, page, sdist.version, file.sha256 or "", targets)
        missing = [target for target in targets if target.name not in met]
        return missing, None if missing else " ".join(dict.fromkeys(met.values()))


class Rounds:
    """When to look at what: at changed pages at once, at all of them now and then. For one thread."""

    def __init__(self, rules: WheelRules) -> None:
        self._rules = rules
        self._looked_at = self._whole_at = clock.now() - 2 * _WHOLE_ROUND
        self._marks: list[tuple[str, datetime]] = []

    def go(self) -> int:
        """One round; how many builds it started.

        Raises:
            FarmError: the next round looks at the same again.
        """
        now, marks = clock.now(), self._rules.marks()
        is_whole = now - self._whole_at > _WHOLE_ROUND or marks != self._marks
        only = None if is_whole else self._rules.changed_since(self._looked_at - _OVERLAP)
        started = self._rules.run(only)
        self._looked_at = now
        if is_whole:
            self._whole_at, self._marks = now, marks
        return started


@dataclass(frozen=True)
class _Case:
    page: MirrorPage
    sdist: Sdist
    targets: Sequence[Target]
    verdict: Verdict


def _newest(rule: WheelRule, page: MirrorPage) -> list[Sdist]:
    """The sdists of the newest releases; what was yanked or is gone does not count."""
    there = [Reading(page.name, file, page.fetched_at) for file in page.files.values()]
    there = [one for one in there if not one.file.yanked and not one.file.gone_since]
    versions = {one.version for one in there if one.version is not None}
    kept = [one for one in versions if rule.prereleases or not one.is_prerelease]
    newest = sorted(kept, reverse=True)[: rule.newest]
    sources = {
        one.version: one.file for one in there if one.version and one.file.filename.endswith(".tar.gz")
    }
    return [Sdist(page.name, one, sources[one]) for one in newest if one in sources]


def _unfit(session: Session, page: MirrorPage, file: MirrorFile, *, is_isolated: bool) -> str | None:
    """Why an sdist that the policy lets through could not be fetched, as far as that is known."""
    known = session.get(UpstreamFile, file.filename)
    if page.content.status == "quarantined":
        return "Upstream has put the project under quarantine."
    if file.sha256 is None:
        return "Upstream states no SHA-256 for it."
    if file.changed_to:
        return "Upstream shows another digest for it than before."
    if known and known.refused:
        return known.refused
    if is_isolated and not (known and known.stored_at):
        return "It is not here, and this site is isolated."
    return None


def _is_spent(session: Session, rule: WheelRule) -> bool:
    today = _of_rule(rule.name).where(Build.created_at > clock.now() - _DAY)
    return session.execute(select(func.count()).select_from(today.subquery())).scalar_one() >= rule.daily


def _of_rule(name: str) -> Select[Build]:
    return select(Build).where(Build.trigger == sdists.BY_RULE, Build.actor == name)
