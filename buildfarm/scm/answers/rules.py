"""What an SCM is to be told of a build, from its state alone: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from buildfarm.farm.rules import State
from buildfarm.scm.forges.port import DESCRIPTION_MAX, Outcome

_OF_BUILD = {
    State.QUEUED: Outcome.PENDING,
    State.RUNNING: Outcome.RUNNING,
    State.BUILT: Outcome.RUNNING,
    State.PUBLISHED: Outcome.SUCCESS,
    State.COMPARED: Outcome.SUCCESS,
    State.FAILED: Outcome.FAILED,
    State.CANCELLED: Outcome.CANCELLED,
}
_OF_JOB = {
    State.WAITING: Outcome.PENDING,
    State.QUEUED: Outcome.PENDING,
    State.RUNNING: Outcome.RUNNING,
    State.SUCCEEDED: Outcome.SUCCESS,
    State.FAILED: Outcome.FAILED,
    State.TIMED_OUT: Outcome.FAILED,
    State.CANCELLED: Outcome.CANCELLED,
}
_PROGRESS = {Outcome.PENDING: 0, Outcome.RUNNING: 1}
#: GitHub's limit of a comment is 65,536 characters, the smallest of all SCMs' is half of it.
_TEXT_MAX = 4000
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=10)


@dataclass(frozen=True)
class BuildFacts:
    """What is told of a build."""

    id: str
    number: int
    source: str
    recipe: str | None
    ref: str
    state: State
    channel: str
    project: str | None
    version: str | None
    first_error: str | None


@dataclass(frozen=True)
class JobFacts:
    """What is told of a target."""

    id: str
    target: str
    required: bool
    state: State
    first_error: str | None
    error_line: int | None
    is_answered: bool


@dataclass(frozen=True)
class Wanted:
    """One thing to be told: `text` is the telling line of a status, or a comment."""

    context: str
    outcome: Outcome
    description: str
    path: str
    text: str = ""


def context_of(build: BuildFacts, is_first: bool) -> str:
    """The name of the roll-up: the source's; of further recipes of the same push, theirs beside it."""
    return f"buildfarm/{build.source}" + ("" if is_first or not build.recipe else f" ({build.recipe})")


def wanted(build: BuildFacts, jobs: Sequence[JobFacts], context: str, public_url: str) -> list[Wanted]:
    """The statuses of a build's targets and, last, its roll-up."""
    targets = [
        _target(job, f"{context}/{job.target}", outcome)
        for job in jobs
        if (outcome := _OF_JOB.get(job.state))
    ]
    outcome = _OF_BUILD[build.state]
    error = _line(build.first_error or "") if outcome is Outcome.FAILED else ""
    said = {
        Outcome.PENDING: "Queued.",
        Outcome.RUNNING: f"Building {len(targets)} target{'' if len(targets) == 1 else 's'}.",
        Outcome.SUCCESS: _published(build, public_url),
        Outcome.FAILED: error or "Failed.",
        Outcome.CANCELLED: _line(build.first_error or "") or "Cancelled.",
    }[outcome]
    return [*targets, Wanted(context, outcome, _cut(said, DESCRIPTION_MAX), f"/builds/{build.id}", error)]


def comment(build: BuildFacts, context: str, public_url: str) -> Wanted | None:
    """What is written on the requests of a branch's commit, once the build has ended; Markdown.

    Words of logs stand in a block of code: there they call nobody and link to nothing.
    """
    outcome = _OF_BUILD[build.state]
    if outcome not in {Outcome.SUCCESS, Outcome.FAILED} or not build.ref.startswith("refs/heads/"):
        return None
    url = f"{public_url}/builds/{build.id}"
    if outcome is Outcome.SUCCESS:
        said = f"published {build.project} {build.version} in {build.channel}: [build {build.number}]({url})"
        quote = install_line(build, public_url)
    else:
        said = f"did not publish: [build {build.number}]({url}) failed."
        quote = _cut(_line(build.first_error or "Failed."), _TEXT_MAX)
    text = f"**{context}** {said}\n\n    {quote}\n"
    return Wanted(context, outcome, "", f"/builds/{build.id}", text)


def install_line(build: BuildFacts, public_url: str) -> str:
    """How what was published is installed."""
    return f"pip install --index-url {public_url}/{build.channel}/simple/ {build.project}=={build.version}"


def is_step(old: Outcome, new: Outcome) -> bool:
    """Whether the SCM must be told: what has begun or ended does not wait again when the farm retries."""
    if old == new:
        return False
    return _PROGRESS.get(new, 2) > _PROGRESS[old] if old in _PROGRESS else new not in _PROGRESS


def pause_after(failures: int) -> timedelta:
    """How long an SCM is left alone after so many failures in a row, from 1: doubled each time."""
    doubled: timedelta = _FIRST_PAUSE * 2 ** min(failures - 1, 16)
    return min(doubled, _LONGEST_PAUSE)


def _target(job: JobFacts, context: str, outcome: Outcome) -> Wanted:
    path, error = f"/jobs/{job.id}", ""
    if outcome is Outcome.FAILED:
        error = _line(job.first_error or "") or f"{job.state.replace('_', ' ').capitalize()}."
        path += f"?line={job.error_line}#L{job.error_line}" if job.error_line else ""
    if outcome is Outcome.FAILED and not job.required:
        # A red mark would stop what the build itself lets pass.
        outcome, said = Outcome.SUCCESS, f"Optional, and failed: {error}"
    else:
        said = {
            Outcome.PENDING: "Waits for a builder.",
            Outcome.RUNNING: "Building.",
            Outcome.SUCCESS: "Built before from the same input." if job.is_answered else "Built.",
            Outcome.FAILED: error,
            Outcome.CANCELLED: _line(job.first_error or "") or "Cancelled.",
        }[outcome]
    return Wanted(context, outcome, _cut(said, DESCRIPTION_MAX), path, error)


def _published(build: BuildFacts, public_url: str) -> str:
    line = install_line(build, public_url)
    is_short = len(line) <= DESCRIPTION_MAX
    return line if is_short else f"Published {build.project} {build.version} in {build.channel}."


def _line(text: str) -> str:
    """One line without characters that do something."""
    return " ".join("".join(char if char.isprintable() else " " for char in text).split())


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1].rstrip() + "…"
