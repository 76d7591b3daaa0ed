"""What the new state of a branch or tag means, the same for every SCM."""

from __future__ import annotations

from dataclasses import replace

from buildfarm.scm.port import Event, EventKind
from buildfarm.scm.wire import asks_to_skip, line, ref


def changed(
    about: Event,
    sent_ref: object,
    after: str | None,
    *,
    before: str | None = None,
    title: object = None,
    message: object = None,
    skip: bool = False,
) -> Event:
    """The event of a ref that holds `after` now, None when it is gone.

    Args:
        about: What the payload says of itself: repository and actor.
        sent_ref: The full ref name as it came.
        after: The commit, or the tag object of an annotated tag.
        before: What the ref held.
        title: A line for people, where the SCM has one beside the message.
        message: The head commit's, searched for `[skip ci]` as the title is.
        skip: The SCM has another way to ask for no build, and it was used.

    Raises:
        InvalidInput: code `hook.unparsable`; it is no ref name at all.
    """
    name = ref(sent_ref)
    if not name:
        return replace(about, kind=EventKind.OTHER, title=f"push to {line(sent_ref)}")
    kind = EventKind.TAG if name.startswith("refs/tags/") else EventKind.PUSH
    if after is None:
        return replace(about, kind=kind, ref=name, deleted=True, title=f"{name} deleted")
    asked = skip or asks_to_skip(title) or asks_to_skip(message)
    return replace(
        about,
        kind=kind,
        ref=name,
        commit=after,
        before=before,
        title=line(title) or line(message) or f"push to {name}",
        skip=kind is EventKind.PUSH and asked,
    )
