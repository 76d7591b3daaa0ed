"""What needs a person's attention about a source: pure conclusions from what is known of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildfarm.farm import comparisons
from buildfarm.farm.show import BuildRow
from buildfarm.scm.answers.show import AnsweringRow
from buildfarm.scm.instep import REFUSALS, Step
from buildfarm.scm.reasons import REMEDY, Reason
from buildfarm.scm.show import DeliveryRow
from buildfarm.sources.show import SourceRow


@dataclass(frozen=True)
class Notice:
    """Something to look at: what it is, what to do, where to read more (a path, may be empty)."""

    sentence: str
    remedy: str
    path: str = ""


def notices(
    source: SourceRow, step: Step, builds: Sequence[BuildRow], deliveries: Sequence[DeliveryRow]
) -> list[Notice]:
    """The notices of a source, the most urgent first; builds and deliveries come the newest first."""
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
            )
        )
    if deliveries and deliveries[0].reason == Reason.FOUND_BY_SWEEP:
        sentence = "The last push was found by sweep: no delivery of it came."
        found.append(Notice(sentence, REMEDY[Reason.FOUND_BY_SWEEP], f"/deliveries/{deliveries[0].id}"))
    releasing = (build for build in builds if build.trigger != comparisons.TRIGGER)
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
    elif not calls:
        found.append(
            Notice("No delivery has come so far.", "Enter the hook's URL and secret in the SCM, then push.")
        )
    stale = [secret for secret in source.secrets if secret.last_used_at is None]
    if calls and len(source.secrets) > len({secret.kind for secret in source.secrets}) and stale:
        found.append(
            Notice(
                "A new secret is live, but nothing was signed with it so far.",
                "Enter it in the SCM; the old one stays good until secrets are rotated again.",
            )
        )
    return found


def notices_of_answers(answering: AnsweringRow | None) -> list[Notice]:
    """What keeps the SCM from being told of builds."""
    if answering is None or not answering.trouble:
        return []
    return [Notice(f"The SCM is not told of builds now; {answering.waiting} wait.", answering.trouble)]
