"""The first build of an accepted repository: of the push that had it offered."""

from __future__ import annotations

import shlex

from sqlalchemy.orm import Session

from buildfarm.errors import Conflict
from buildfarm.farm import builds
from buildfarm.farm.model import Build
from buildfarm.scm.rules import follows
from buildfarm.sources.model import Source

#: The trigger of such builds.
TRIGGER = "offer"


def begin(session: Session, source: Source, ref: str, *, actor: str) -> Build:
    """Build what the ref holds now: who accepts a repository expects what was pushed, not a commit of then.

    Raises:
        Conflict: `offer.ref_not_followed`, `offer.nothing_granted`.
    """
    if (refused := why_not(source, ref)) is not None:
        raise refused
    return builds.start(session, source, ref=ref, commit=None, trigger=TRIGGER, actor=actor)


def why_not(source: Source, ref: str) -> Conflict | None:
    """Why what was pushed is not built, and what to do; None where it is."""
    what, name = f"What was pushed to {ref} is not built", source.name
    by_hand = f"buildfarm build start {name} --ref {shlex.quote(ref)}"
    if not follows(source, ref):
        return Conflict(
            f"{what}: {name} does not follow it.",
            code="offer.ref_not_followed",
            hint=f"If it shall be: {by_hand}",
        )
    if not source.projects:
        return Conflict(
            f"{what}: {name} may publish no project.",
            code="offer.nothing_granted",
            hint=f"Grant one (buildfarm source grant {name} PROJECT), then push again, or: {by_hand}",
        )
    return None
