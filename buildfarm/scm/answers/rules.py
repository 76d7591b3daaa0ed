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
#: What tells the builds of pull requests apart, the same for all so that it can be required.
OF_REQUEST = "pull request"
#: What tells the builds of tags from those of the branch that holds the same commit.
OF_TAG = "tag"
_QUARANTINE = "A fork's commit: only who may approve it can install from there."
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=5), timedelta(minutes=10)


@dataclass(frozen=True)
class BuildFacts:
    """What is told of a build; `is_left`: by the source's rules there was nothing to build."""

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
    pull_request: int | None = None
    is_fork: bool = False
    is_left: bool = False

    @property
    def outcome(self) -> Outcome:
        """How it stands; where there was nothing to build, nobody has to wait for it or mend it."""
        return Outcome.SUCCESS if self.is_left else _OF_BUILD[self.state]


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


def roll_up(source: str, *beside: str) -> str:
    """The name under which an SCM is told of a source's builds, with what tells some of them apart."""
    return f"buildfarm/{source}" + (f" ({', '.join(beside)})" if beside else "")


def context_of(build: BuildFacts, is_first: bool) -> str:
    """The name of the roll-up: the source's; beside it the recipe, of further ones of the same push.

    A commit may be the head of a branch and of a pull request, and be tagged: each has a build, and what is
    said of one must not hide what is said of the other.
    """
    beside = [] if is_first or not build.recipe else [build.recipe]
    if build.pull_request:
        beside.append(OF_REQUEST)
    elif build.ref.startswith("refs/tags/"):
        beside.append(OF_TAG)
    return roll_up(build.source, *beside)


def wanted(build: BuildFacts, jobs: Sequence[JobFacts], context: str, public_url: str) -> list[Wanted]:
    """The statuses of a build's targets and, last, its roll-up."""
    targets = [
        _target(job, f"{context}/{job.target}", outcome)
        for job in jobs
        if (outcome := _OF_JOB.get(job.state))
    ]
    outcome = build.outcome
    error = _line(build.first_error or "") if outcome is Outcome.FAILED else ""
    said = {
        Outcome.PENDING: "Queued.",
        Outcome.RUNNING: f"Building {len(targets)} target{'' if len(targets) == 1 else 's'}.",
        Outcome.SUCCESS: _line(build.first_error or "") if build.is_left else _published(build, public_url),
        Outcome.FAILED: error or "Failed.",
        Outcome.CANCELLED: _line(build.first_error or "") or "Cancelled.",
    }[outcome]
    return [*targets, Wanted(context, outcome, _cut(said, DESCRIPTION_MAX), f"/builds/{build.id}", error)]


def comment(build: BuildFacts, context: str, public_url: str) -> Wanted | None:
    """What is written on the requests of a commit, once the build has ended; Markdown.

    Words of logs stand in a block of code: there they call nobody and link to nothing.
    """
    outcome = build.outcome
    is_meant = build.pull_request or build.ref.startswith("refs/heads/")
    if outcome not in {Outcome.SUCCESS, Outcome.FAILED} or build.is_left or not is_meant:
        return None
    url = f"{public_url}/builds/{build.id}"
    if outcome is Outcome.SUCCESS:
        said = f"published {build.project} {build.version} in {build.channel}: [build {build.number}]({url})"
        quote = install_line(build, public_url)
    else:
        said = f"did not publish: [build {build.number}]({url}) failed."
        quote = _cut(_line(build.first_error or "Failed."), _TEXT_MAX)
    text = f"**{context}** {said}\n\n    {quote}\n"
    if outcome is Outcome.SUCCESS and build.is_fork:
        text += f"\n{_QUARANTINE}\n"
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
