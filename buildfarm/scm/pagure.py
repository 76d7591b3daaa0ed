"""Pagure, the forge of Fedora and CentOS."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from buildfarm.scm import refs
from buildfarm.scm.mac import check_header
from buildfarm.scm.port import Event, EventKind, Verification
from buildfarm.scm.secret import Secret, SecretKind
from buildfarm.scm.wire import at, commit, json_object, line, lowered, unparsable, url, usable_id

_SIGNATURE = "X-Pagure-Signature-256"
_LEGACY = "x-pagure-signature"
_SPACES = {"branch": "refs/heads/", "tag": "refs/tags/"}


class Pagure:
    """Pagure's wire format, as its release 5.14 sends it.

    A new branch is told twice, as `git.branch.creation` and as `git.receive`. A branch that is set back to an
    older commit is not told at all.
    """

    kind: Final = "pagure"
    secret_kinds: Final[tuple[SecretKind, ...]] = ("hmac",)

    def delivery_id(self, headers: Mapping[str, str]) -> str | None:
        """The signature: the id stands in the body that it covers, and no two bodies have the same."""
        return usable_id(lowered(headers).get(_SIGNATURE.lower()))

    def verify(
        self, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret], now: datetime
    ) -> Verification:
        """Check `X-Pagure-Signature-256`, bare hex; the SHA-1 beside it is not enough.

        Pagure signs no time, so `now` plays no part.
        """
        lower = lowered(headers)
        alone = " (X-Pagure-Signature, which is SHA-1, came alone)" if _LEGACY in lower else ""
        return check_header(
            lower, _SIGNATURE, body, secrets, delivery_id=self.delivery_id(headers), missing=alone
        )

    def parse(self, headers: Mapping[str, str], body: bytes) -> tuple[Event, ...]:
        """Read what the signed topic says; the header of that name is not signed.

        Raises:
            InvalidInput: code `hook.unparsable`.
        """
        payload = json_object(headers, body)
        topic = line(payload.get("topic"), 100)
        if not topic:
            unparsable("The payload has no topic, so the event has no name.")
        said = payload.get("msg")
        about = Event(
            EventKind.OTHER,
            repository=line(at(said, "repo", "fullname")),
            repository_url=url(at(said, "repo", "full_url")),
            actor=line(at(said, "agent")) or None,
            title=topic,
        )
        match topic.split("."):
            case ["git", "receive"]:
                before = at(said, "old_commit")
                # A branch is new where a caret stands before zeros, as `git rev-list` wants it.
                new = isinstance(before, str) and before.startswith("^")
                event = refs.changed(
                    about,
                    _full(at(said, "branch"), "branch"),
                    commit(at(said, "end_commit")),
                    before=None if new else commit(before),
                )
            case ["git", "branch" | "tag" as space, "creation" | "deletion" as change]:
                after = None if change == "deletion" else commit(at(said, "rev"))
                event = refs.changed(about, _full(at(said, space), space), after)
            case _:
                event = about
        return (event,)


def _full(name: object, space: str) -> object:
    """The full name of a ref; of a tag that was moved it is what Pagure sends already."""
    if not isinstance(name, str) or name.startswith("refs/"):
        return name
    return _SPACES[space] + name
