"""What an event alone says about a delivery, before any source, ref filter or build is looked at."""

from __future__ import annotations

from buildfarm.scm.port import Change, Event, EventKind
from buildfarm.scm.reasons import Reason

_CHANGES = {
    Change.RENAMED: Reason.REPOSITORY_RENAMED,
    Change.MOVED: Reason.REPOSITORY_MOVED,
    Change.ARCHIVED: Reason.REPOSITORY_ARCHIVED,
}


def why_ignored(event: Event) -> Reason | None:
    """The reason why this event can start no build for any source; None when it may start one."""
    match event.kind:
        case EventKind.PING:
            return Reason.PING
        case EventKind.PULL_REQUEST:
            return Reason.PULL_REQUEST_NOT_BUILT
        case EventKind.REPOSITORY if event.change:
            return _CHANGES[event.change]
        case EventKind.OTHER:
            return Reason.EVENT_NOT_HANDLED
        case EventKind.PUSH if event.deleted:
            return Reason.BRANCH_DELETED
        case EventKind.TAG if event.deleted:
            return Reason.TAG_DELETED
        case EventKind.RELEASE if not event.ref:
            return Reason.RELEASE_WITHOUT_TAG
        case _:
            return Reason.SKIP_REQUESTED if event.skip else None
