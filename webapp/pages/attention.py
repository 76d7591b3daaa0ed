"""What needs a person's attention about a source: pure conclusions from what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildfarm.farm import comparisons
from buildfarm.farm.show import BuildRow
from buildfarm.scm.answers.show import AnsweringRow
from buildfarm.scm.hooking.show import Watched
from buildfarm.scm.instep import REFUSALS, Step
from buildfarm.scm.reasons import REMEDY, Reason
from buildfarm.scm.show import DeliveryRow
from buildfarm.sources.pulls import PullRequestRow
from buildfarm.sources.show import SourceRow

_HOW_IT_COMES = {
    False: "Enter the hook's URL and secret in the SCM, then push.",
    True: "Install the hook below, then push.",
}


@dataclass(frozen=True)
class Notice:
    """Something to look at: what it is, what to do; a path to more and an error's code, where there are."""

    sentence: str
    remedy: str
    path: str = ""
    code: str | None = None


def notices(
    source: SourceRow,
    step: Step,
    builds: Sequence[BuildRow],
    deliveries: Sequence[DeliveryRow],
    covered: str | None = None,
    *,
    has_token: bool = False,
) -> list[Notice]:
    """The notices of a source, the most urgent first; builds and deliveries come the newest first.

    `covered` is the connection by whose hook its pushes come, if there is one; `has_token`: the farm can make
    the hook itself.
    """
    found = []
    calls = [one for one in deliveries if one.reason != Reason.FOUND_BY_SWEEP]
    if calls and calls[0].state == "rejected":
        last = calls[0]
        remedy = REMEDY[Reason(last.reason)] if last.reason else ""
        what = (
            f"The last {step.refusals} deliveries were rejected, though earlier ones were taken."
            if step.refusals >= REFUSALS
            else "The last delivery was rejected."
        )
        found.append(Notice(f"{what} {last.sentence}", remedy, f"/deliveries/{last.id}"))
    if step.problem:
        found.append(
            Notice(
                f"The repository could not be compared with what was built. {step.problem}",
                "Pushes whose delivery is lost are not found meanwhile; the farm asks again by itself.",
                code=step.code,
            )
        )
    if deliveries and deliveries[0].reason == Reason.FOUND_BY_SWEEP:
        sentence = "The last push was found by sweep: no delivery of it came."
        found.append(Notice(sentence, REMEDY[Reason.FOUND_BY_SWEEP], f"/deliveries/{deliveries[0].id}"))
    releasing = (one for one in builds if one.trigger != comparisons.TRIGGER and not one.pull_request)
    over = next((build for build in releasing if build.finished_at), None)
    if over and over.state == "failed":
        found.append(
            Notice(
                f"Build #{over.number} failed.",
                over.first_error or "Its page says where.",
                f"/builds/{over.id}",
            )
        )
    if source.moved_to:
        found.append(
            Notice(
                f"The SCM says that this repository is now at {source.moved_to}.",
                f"If that is right: buildfarm source move {source.name} URL.",
            )
        )
    if not source.projects:
        found.append(
            Notice(
                "This source may publish no project.",
                "Grant one below, or its builds end before they publish.",
            )
        )
    if not source.secrets:
        found.append(Notice("The hook has no live secret.", "Make one below; until then nothing can sign."))
    elif not calls and not covered:
        found.append(Notice("No delivery has come so far.", _HOW_IT_COMES[has_token]))
    stale = [secret for secret in source.secrets if secret.last_used_at is None]
    if calls and len(source.secrets) > len({secret.kind for secret in source.secrets}) and stale:
        found.append(
            Notice(
                "A new secret is live, but nothing was signed with it so far.",
                "Enter it in the SCM; the old one stays good until secrets are rotated again.",
            )
        )
    return found


def notices_of_requests(requests: Sequence[PullRequestRow]) -> list[Notice]:
    """The commits of forks that wait for somebody who approves them."""
    return [
        Notice(
            f"Pull request {one.number} of {one.head_repository or 'a fork'} waits for approval.",
            "Look at the change, then approve its commit below.",
            "#pull-requests",
        )
        for one in requests
        if one.needs_approval and not one.closed_at
    ]


def notices_of_scm(named: str, answering: AnsweringRow | None, watch: Watched | None) -> list[Notice]:
    """What keeps the SCM from being told of builds, and what is wrong with the hook there.

    `named` says whose it is as commands do: `source widget`, `connection acme`.
    """
    found = []
    if answering and answering.waiting and answering.trouble:
        found.append(
            Notice(
                f"The SCM is not told of builds now; {answering.waiting} wait.",
                answering.trouble,
                code=answering.code,
            )
        )
    if watch and watch.problem:
        noun, name = named.split()
        remedy = f"Check or repair it below, or: buildfarm {noun} hook repair {name}."
        asks_again = "The farm asks again by itself."
        found.append(Notice(watch.problem, asks_again if watch.code else remedy, code=watch.code))
    return found
