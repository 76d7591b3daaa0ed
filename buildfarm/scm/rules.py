"""Why an event starts nothing: by what it is, and by what its source listens to. No build is looked at."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable
from dataclasses import replace
from urllib.parse import urlsplit

from buildfarm.scm.forges import address
from buildfarm.scm.port import Change, Event, EventKind, PullRequest
from buildfarm.scm.reasons import Reason
from buildfarm.sources.model import OWNER, Source
from buildfarm.sources.pulls import Policy

_CHANGES = {
    Change.RENAMED: Reason.REPOSITORY_RENAMED,
    Change.MOVED: Reason.REPOSITORY_MOVED,
    Change.ARCHIVED: Reason.REPOSITORY_ARCHIVED,
}


def why_nothing(source: Source, event: Event, api: Callable[[], str] = str) -> Reason | None:
    """Why this event starts no build of this source, or None when it does.

    `api` has the address of the SCM's API, empty where nobody has said it; asked where an event needs it.
    """
    if source.scope == OWNER:
        return _why_nothing_of_owner(event)
    if event.kind is not EventKind.PING and not _is_about(source, event, api):
        return Reason.OTHER_REPOSITORY
    reason = why_ignored(event)
    if reason:
        return reason
    if event.pull_request:
        return why_not_by(Policy(source.pull_requests), event.pull_request)
    if not event.ref:
        return Reason.EVENT_NOT_HANDLED
    return None if follows(source, event.ref) else Reason.REF_NOT_FOLLOWED


def _why_nothing_of_owner(event: Event) -> Reason:
    """Why an event of a repository that no source listens to starts nothing."""
    if event.kind is EventKind.PING:
        return Reason.PING
    if event.kind not in {EventKind.PUSH, EventKind.TAG, EventKind.RELEASE}:
        return Reason.EVENT_NOT_HANDLED
    # Whoever asks for no build of a commit may still want the repository built one day.
    return why_ignored(replace(event, skip=False)) or Reason.REPOSITORY_UNKNOWN


def follows(source: Source, ref: str) -> bool:
    """Whether one of the source's patterns takes a branch or tag, by its full name."""
    is_tag = ref.startswith("refs/tags/")
    name = ref.removeprefix("refs/tags/" if is_tag else "refs/heads/")
    return any(fnmatch.fnmatchcase(name, glob) for glob in (source.tags if is_tag else source.branches))


def _is_about(source: Source, event: Event, api: Callable[[], str]) -> bool:
    """Hooks of groups and organisations speak of all their repositories; a plain git hook knows no name.

    An SCM may live below a path of its host, and ssh URLs then have none: `/scm/acme/widget` and
    `/acme/widget` are one repository. But `/top/acme/widget` may be one of another group than `acme/widget`:
    what stands before the name is the path of the SCM, as the event's own URL or the API's address says it.
    """
    if source.scm == "generic" or not event.repository:
        return True
    name, path = event.repository.lower(), _path(source.url)
    if path == name or not path.endswith(f"/{name}"):
        return path == name
    if source.url.startswith("file:"):  # of a folder no URL of the SCM says anything
        return True
    told = _path(event.repository_url or "")
    if told == name or told.endswith(f"/{name}"):
        return path == told
    known = api()
    return not known or address.repository_path(source.scm, source.url, known).lower() == name


def _path(url: str) -> str:
    return urlsplit(url).path.strip("/").removesuffix(".git").lower()


def why_ignored(event: Event) -> Reason | None:
    """The reason why this event can start no build for any source; None when it may start one."""
    match event.kind:
        case EventKind.PING:
            return Reason.PING
        case EventKind.PULL_REQUEST if event.pull_request and event.pull_request.action == "closed":
            return Reason.PULL_REQUEST_CLOSED
        case EventKind.PULL_REQUEST if not event.ref:
            return Reason.PULL_REQUEST_NO_REF
        case EventKind.COMMENT:
            return _of_comment(event)
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


def _of_comment(event: Event) -> Reason:
    if event.comment is None:
        return Reason.COMMENT_NO_COMMAND
    return Reason.COMMAND_WAITS if event.comment.place else Reason.COMMAND_NO_REQUEST


def why_not_by(policy: Policy, asked: PullRequest) -> Reason | None:
    """The reason why a source with this policy builds no commit of a pull request; None when it may."""
    if policy is Policy.NONE:
        return Reason.PULL_REQUEST_NOT_BUILT
    return Reason.PULL_REQUEST_OF_FORK if policy is Policy.OWN and asked.from_fork else None
