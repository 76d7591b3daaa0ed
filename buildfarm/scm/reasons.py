"""The closed list of reasons a delivery is ignored or rejected for, in words a person can act on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType


class Reason(StrEnum):
    """Why a delivery started nothing. The values are stored and shown by the API."""

    PING = "ping"
    BRANCH_DELETED = "branch_deleted"
    TAG_DELETED = "tag_deleted"
    EVENT_NOT_HANDLED = "event_not_handled"
    RELEASE_WITHOUT_TAG = "release_without_tag"
    PULL_REQUEST_NOT_BUILT = "pull_request_not_built"
    PULL_REQUEST_OF_FORK = "pull_request_of_fork"
    PULL_REQUEST_NEEDS_APPROVAL = "pull_request_needs_approval"
    PULL_REQUEST_NO_REF = "pull_request_no_ref"
    PULL_REQUEST_CLOSED = "pull_request_closed"
    PULL_REQUEST_REPEATED = "pull_request_repeated"
    COMMENT_NO_COMMAND = "comment_no_command"
    COMMAND_NO_REQUEST = "command_no_request"
    COMMAND_WAITS = "command_waits"
    COMMAND_UNCHECKED = "command_unchecked"
    COMMAND_NOT_PERMITTED = "command_not_permitted"
    COMMAND_UNKNOWN = "command_unknown"
    COMMAND_ANSWERED = "command_answered"
    COMMAND_NOT_DONE = "command_not_done"
    REPOSITORY_RENAMED = "repository_renamed"
    REPOSITORY_MOVED = "repository_moved"
    REPOSITORY_ARCHIVED = "repository_archived"
    REF_NOT_FOLLOWED = "ref_not_followed"
    SKIP_REQUESTED = "skip_requested"
    ALREADY_BUILT = "already_built"
    OTHER_REPOSITORY = "other_repository"
    REPOSITORY_UNKNOWN = "repository_unknown"
    FOUND_BY_SWEEP = "found_by_sweep"

    SIGNATURE_MISSING = "signature_missing"
    SIGNATURE_WRONG = "signature_wrong"
    TIMESTAMP_OUTSIDE_WINDOW = "timestamp_outside_window"
    SECRET_NOT_SET = "secret_not_set"  # noqa: S105 - the name of a reason
    UNKNOWN_SOURCE = "unknown_source"
    CONTENT_TYPE = "content_type"
    BODY_UNPARSABLE = "body_unparsable"
    BODY_TOO_LARGE = "body_too_large"


@dataclass(frozen=True)
class _Words:
    rejects: bool
    sentence: str
    remedy: str


_NOTHING = "Nothing to do."
_MOVE = "Give the source the new URL with `source move`; the farm follows no repository by itself."

_WORDS: dict[Reason, _Words] = {
    Reason.PING: _Words(False, "The SCM tested the hook, and it works.", "Push to start a build."),
    Reason.BRANCH_DELETED: _Words(False, "A branch was deleted, so there is nothing to build.", _NOTHING),
    Reason.TAG_DELETED: _Words(
        False,
        "A tag was deleted, so there is nothing to build; what it published stays.",
        "Yank the release if it should no longer be installed.",
    ),
    Reason.EVENT_NOT_HANDLED: _Words(
        False,
        "The farm builds pushes, tags and published releases; this event is none of them.",
        "Nothing to do; untick other events in the hook's settings to keep this list short.",
    ),
    Reason.RELEASE_WITHOUT_TAG: _Words(
        False, "The release names no tag, so there is no source to build.", "Publish the release with a tag."
    ),
    Reason.PULL_REQUEST_NOT_BUILT: _Words(
        False,
        "The source builds no pull requests, so this one is noted and that is all.",
        "`source follow NAME --pull-requests own` has those of the repository's own branches built.",
    ),
    Reason.PULL_REQUEST_OF_FORK: _Words(
        False,
        "The pull request comes from a fork, and the source builds those of its own branches alone.",
        "`source follow NAME --pull-requests approved` has forks built, each commit once it was approved.",
    ),
    Reason.PULL_REQUEST_NEEDS_APPROVAL: _Words(
        False,
        "The pull request comes from a fork, and nobody has approved this commit of it.",
        "Look at the change, then run `source approve NAME NUMBER COMMIT`, or use the button on the source's "
        "page.",
    ),
    Reason.PULL_REQUEST_NO_REF: _Words(
        False,
        "The pull request comes from a fork, and this SCM keeps no ref by which it could be fetched.",
        "Push its commits to a branch of the repository to have them built.",
    ),
    Reason.PULL_REQUEST_CLOSED: _Words(
        False, "The pull request is over, so its builds and its stage end.", _NOTHING
    ),
    Reason.PULL_REQUEST_REPEATED: _Words(
        False,
        "The same was told of the pull request before, under another id; it takes effect once.",
        "Nothing to do if two hooks tell of the repository. Otherwise somebody sent an old delivery once "
        "more: give the source new secrets with `source rotate`.",
    ),
    Reason.COMMENT_NO_COMMAND: _Words(
        False, "A comment whose first line is no command of the farm's.", _NOTHING
    ),
    Reason.COMMAND_NO_REQUEST: _Words(
        False,
        "The command stands below an issue or a commit, where the farm takes none.",
        "Write it below the pull request, or use `build start`.",
    ),
    Reason.COMMAND_WAITS: _Words(
        False,
        "A command in a comment: the SCM is asked first whether its author may push.",
        "Nothing to do; the answer stands here and below the pull request in some seconds.",
    ),
    Reason.COMMAND_UNCHECKED: _Words(
        False,
        "The SCM could not be asked whether the author of this command may push, so it was not done.",
        "It will not be done later either: write it again. If the source has no token for the SCM's API that "
        "may read permissions, give it one with `source set-scm-token` first.",
    ),
    Reason.COMMAND_NOT_PERMITTED: _Words(
        False,
        "The SCM says that the author of this command may not push here, so it was not done.",
        "Ask somebody who may push to write it.",
    ),
    Reason.COMMAND_UNKNOWN: _Words(
        False, "The farm knows no such command.", "`/buildfarm help` in a comment lists those it knows."
    ),
    Reason.COMMAND_ANSWERED: _Words(False, "The farm answered below the pull request.", _NOTHING),
    Reason.COMMAND_NOT_DONE: _Words(
        False,
        "The command was permitted, but could not be done.",
        "The farm's answer below the pull request says why.",
    ),
    Reason.REPOSITORY_RENAMED: _Words(
        False, "The repository has another name now, and the source still has the old URL.", _MOVE
    ),
    Reason.REPOSITORY_MOVED: _Words(
        False, "The repository belongs to another owner now, and the source still has the old URL.", _MOVE
    ),
    Reason.REPOSITORY_ARCHIVED: _Words(
        False,
        "The repository was archived, so nothing will be pushed to it.",
        "Remove the source if it is no longer needed; what it published stays.",
    ),
    Reason.REF_NOT_FOLLOWED: _Words(
        False,
        "This branch or tag is not one that the source follows.",
        "Add it with `source follow`, or start the build by hand with `build start`.",
    ),
    Reason.SKIP_REQUESTED: _Words(
        False,
        "The head commit asks for no build with [skip ci].",
        "Start the build by hand with `build start` if one is wanted after all.",
    ),
    Reason.ALREADY_BUILT: _Words(
        False,
        "This commit was already built, or is being built, for this ref and recipe.",
        "Nothing to do; use `build start` to build it again.",
    ),
    Reason.OTHER_REPOSITORY: _Words(
        False,
        "The delivery speaks of another repository than the source's own, as hooks of a group do.",
        "Nothing to do; a source of its own makes the other repository build too. If it is the same, give "
        "the source the URL that the SCM offers for cloning.",
    ),
    Reason.REPOSITORY_UNKNOWN: _Words(
        False,
        "No source listens to this repository, of which the hook of a connection tells.",
        "If it holds a recipe it is offered: accept it on the sources page, or with `source accept`.",
    ),
    Reason.FOUND_BY_SWEEP: _Words(
        False,
        "Found by sweep: the repository held this and no delivery had started a build of it.",
        "Look in the SCM whether the hook is enabled and what its last deliveries were answered.",
    ),
    Reason.SIGNATURE_MISSING: _Words(
        True,
        "The request carries no signature that this source accepts.",
        "Enter the source's secret in the hook's settings of the SCM; requests without one are never taken.",
    ),
    Reason.SIGNATURE_WRONG: _Words(
        True,
        "A signature came, but none of the source's live secrets made it.",
        "Copy the secret into the SCM again without spaces; if it is right, look for a proxy that changes "
        "the body on its way.",
    ),
    Reason.TIMESTAMP_OUTSIDE_WINDOW: _Words(
        True,
        "The signature is right, but it was made more than 5 minutes away from the farm's clock.",
        "Set the clocks of both machines with NTP; an old request sent again is refused on purpose.",
    ),
    Reason.SECRET_NOT_SET: _Words(
        True,
        "The source has no live secret, so no request can prove where it comes from.",
        "Make a secret for the source and enter it in the hook's settings of the SCM.",
    ),
    Reason.UNKNOWN_SOURCE: _Words(
        True,
        "No source of this farm has this hook URL.",
        "Compare the URL in the SCM with the one that `source show` prints.",
    ),
    Reason.CONTENT_TYPE: _Words(
        True,
        "The body has a content type that this SCM does not send.",
        "Choose application/json as the content type in the hook's settings.",
    ),
    Reason.BODY_UNPARSABLE: _Words(
        True,
        "The body is signed rightly but is not the payload this SCM documents.",
        "Compare the source's SCM kind with the one that sends; a relay must pass the body on unchanged.",
    ),
    Reason.BODY_TOO_LARGE: _Words(
        True,
        "The body is larger than 25 MB, more than any SCM sends.",
        "Look at what sent it.",
    ),
}

#: What happened, one sentence for a person.
SENTENCE: Mapping[Reason, str] = MappingProxyType({why: words.sentence for why, words in _WORDS.items()})

#: What to do next, one sentence for a person.
REMEDY: Mapping[Reason, str] = MappingProxyType({why: words.remedy for why, words in _WORDS.items()})

#: The reasons that refuse a delivery; all others ignore one that was rightly sent.
REJECTIONS: frozenset[Reason] = frozenset(why for why, words in _WORDS.items() if words.rejects)
