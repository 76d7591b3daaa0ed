"""Why was nothing built? Walks from a ref or commit to what became of it, and ends in one sentence."""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from buildfarm.config import Settings
from buildfarm.farm.model import Build
from buildfarm.farm.rules import FINAL, State
from buildfarm.farm.show import BuildDetail, build_detail
from buildfarm.farm.waiting import obstacles_of
from buildfarm.scm.instep import Step, steps_of
from buildfarm.scm.model import Sighting
from buildfarm.scm.port import Event, EventKind
from buildfarm.scm.reasons import REMEDY, SENTENCE, Reason
from buildfarm.scm.rules import why_nothing
from buildfarm.scm.show import Told, latest_about
from buildfarm.sources import pulls
from buildfarm.sources import show as sources
from buildfarm.sources.model import Source
from buildfarm.sources.names import full_ref

#: As git abbreviates them, or whole; a branch of such a name is asked for as refs/heads/NAME.
_COMMIT = re.compile(r"[0-9a-f]{7,64}", re.ASCII)
#: `#17`, `!17`, `pull/17`, or the ref of one.
_REQUEST = re.compile(
    r"(?:[#!]|(?:refs/)?(?:pull|merge-requests|pull-requests)/)([1-9][0-9]{0,17})(?:/(?:head|from))?",
    re.ASCII,
)
_AGAIN = "`buildfarm build start` builds it again."
_REQUEST_AGAIN = (
    "`/buildfarm build` in a comment below it builds it again, and so does a replay of its delivery."
)


@dataclass(frozen=True)
class Clue:
    """One thing that was looked at, in words; the page `path`, which may be empty, says more."""

    name: str
    good: bool
    sentence: str
    path: str = ""


@dataclass(frozen=True)
class Why:
    """What became of a ref or commit: what was looked at, in order; then the answer and the next step."""

    source: str
    asked: str
    clues: tuple[Clue, ...]
    sentence: str
    remedy: str


@dataclass(frozen=True)
class _Known:
    """All that the farm knows of a ref, or of a commit whose ref nobody said."""

    source: Source
    ref: str
    commit: str
    told: Told | None
    build: BuildDetail | None
    obstacle: str
    step: Step
    first_refs: dict[str, str] | None
    of_request: bool

    @property
    def what(self) -> str:
        return self.ref or f"commit {self.commit[:10]}"


def why(session: Session, settings: Settings, name: str, asked: str) -> Why:
    """What became of `asked`: a full ref, a short name, a commit of at least 7 digits, or a pull request.

    Raises:
        NotFound: `source.unknown`, `pull_request.unknown`.
        InvalidInput: `source.ref_refused`.
    """
    source = sources.get(session, name)
    number = _REQUEST.fullmatch(asked)
    request = pulls.get(session, source.id, int(number[1])) if number else None
    if request:
        ref, commit = "", request.head or ""
        about = Build.pull_request_id == request.id
    else:
        ref, commit = ("", asked) if _COMMIT.fullmatch(asked) else (full_ref(asked)[0], "")
        about = Build.commit.startswith(commit) if commit else Build.ref == ref
    newest = select(Build.id).where(Build.source_id == source.id, about).order_by(Build.number.desc())
    build_id = session.scalar(newest.limit(1))
    sighting = session.get(Sighting, source.id, options=[undefer(Sighting.first_refs)])
    known = _Known(
        source=source,
        ref=ref,
        commit=commit,
        told=latest_about(session, source.id, ref, commit),
        build=build_detail(session, build_id) if build_id else None,
        obstacle=obstacles_of(session, [build_id], settings).get(build_id, "") if build_id else "",
        step=steps_of(session, [source.id])[source.id],
        first_refs=sighting.first_refs if sighting else None,
        of_request=request is not None,
    )
    clues = (_followed(known), _told(known), _made(known), _swept(known))
    return Why(name, asked, tuple(clue for clue in clues if clue), *_answer(known))


def _refusal(known: _Known) -> Reason | None:
    """Why pushes to the ref start nothing."""
    if not known.ref:
        return None
    kind = EventKind.TAG if known.ref.startswith("refs/tags/") else EventKind.PUSH
    return why_nothing(known.source, Event(kind, ref=known.ref, commit=known.commit))


def _followed(known: _Known) -> Clue | None:
    if not known.ref:
        return None
    reason = _refusal(known)
    return Clue("followed", reason is None, SENTENCE[reason] if reason else "The source follows it.")


def _told(known: _Known) -> Clue:
    told = known.told
    if told is None:
        refused = known.step.refusals
        lately = f" The last {refused} calls of the hook were refused." if refused else ""
        path = f"/deliveries?source={known.source.name}"
        return Clue("delivery", False, f"No verified delivery spoke of it.{lately}", path)
    path = f"/deliveries/{told.delivery_id}"
    if told.is_swept:
        return Clue("delivery", False, SENTENCE[Reason.FOUND_BY_SWEEP], path)
    if told.reason:
        return Clue("delivery", False, f"A delivery was verified and ignored. {SENTENCE[told.reason]}", path)
    return Clue("delivery", True, "A delivery was verified and started a build.", path)


def _made(known: _Known) -> Clue:
    if known.build is None:
        return Clue("build", False, "No build was started of it.")
    good = known.build.state not in {State.FAILED, State.CANCELLED}
    return Clue("build", good, _became(known.build, known.obstacle)[0], f"/builds/{known.build.id}")


def _swept(known: _Known) -> Clue | None:
    step = known.step
    if known.of_request:  # which the sweep does not look at
        return None
    if step.problem:
        return Clue("sweep", False, f"The repository could not be looked at: {step.problem}")
    if step.in_step_at is None:
        return Clue("sweep", False, "The repository was not looked at so far.")
    return Clue("sweep", True, "The repository was compared with what was built of it, and was in step.")


def _answer(known: _Known) -> tuple[str, str]:
    build, told = known.build, known.told
    verdict = told.reason if told else None
    is_final = verdict not in {None, Reason.ALREADY_BUILT}
    if build and not (told and is_final and build.created_at < told.received_at):
        return _became(build, known.obstacle)
    if reason := verdict or _refusal(known):
        return SENTENCE[reason], REMEDY[reason]
    return _unseen(known)


def _became(build: BuildDetail, obstacle: str) -> tuple[str, str]:
    """What became of a build, and the next step."""
    name = f"Build #{build.number}"
    again = _REQUEST_AGAIN if build.pull_request else _AGAIN
    if build.superseded_by:
        return f"{name} gave way to a newer build of {build.ref}.", f"Look at that one, or: {again[:-1]}."
    match build.state:
        case State.PUBLISHED:
            return f"{name} published {build.project} {build.version}.", "Install it from the channel."
        case State.FAILED:
            return f"{name} failed: {build.first_error or 'its page says where'}", build.next_step or again
        case State.CANCELLED:
            return f"{name} was cancelled. {build.first_error or ''}".strip(), again
        case state if state in FINAL:
            return f"{name} is over: {state}.", "Its page says more."
    wait = obstacle or "Its page shows how far it is."
    return f"{name} is {build.state}.", wait


def _unseen(known: _Known) -> tuple[str, str]:
    """Nothing told of it, though it would be built: what the sweep knows."""
    step, first = known.step, known.first_refs
    if first is None or step.problem:
        sentence = f"No delivery told of {known.what}, and the repository could not be looked at so far."
        if first is not None:
            sentence = f"No delivery told of {known.what}, and the repository can not be looked at."
        return sentence, step.problem or "Wait for the first look; a keeper must run."
    is_first = (
        known.ref in first if known.ref else any(oid.startswith(known.commit) for oid in first.values())
    )
    if is_first:
        return (
            f"{known.what} was there when the farm first saw the repository, and nothing was pushed since.",
            "`buildfarm build start` builds it; what is pushed from now on is built by itself.",
        )
    if known.ref:
        sentence = f"The repository had no {known.ref} when the farm last looked."
        return sentence, "Compare the name; what was pushed since is found by the next look."
    return (
        f"No delivery told of {known.what}, and it is not the head of a branch or tag that the farm follows.",
        "Only the newest head of a push is built; `buildfarm build start` builds any commit.",
    )
