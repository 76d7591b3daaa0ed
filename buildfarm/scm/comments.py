"""What a new comment means, the same for every SCM."""

from __future__ import annotations

from dataclasses import replace

from buildfarm.scm.commands.rules import command_of
from buildfarm.scm.port import Comment, Event, EventKind
from buildfarm.scm.wire import line, unparsable


def commented(
    about: Event,
    text: object,
    *,
    comment: object,
    request: int | None,
    author: object,
    issue: int | None = None,
) -> Event:
    """The event of a comment that somebody wrote.

    Args:
        about: What the payload says of itself: repository and actor.
        text: The comment as it came.
        comment: The SCM's id of it.
        request: The number of the pull request that it stands below; None where it stands elsewhere.
        issue: The number of the issue, where that can be answered by the call for requests.
        author: Who wrote it, by the name or id that the SCM's API takes.

    Raises:
        InvalidInput: code `hook.unparsable`; it is a command of nobody.
    """
    command = command_of(text)
    if command is None:
        return replace(about, kind=EventKind.COMMENT, title="comment")
    who = _id(author)
    if not who:
        unparsable("The payload does not say who wrote the comment.")
    said = Comment(command, request, who, _id(comment), issue)
    return replace(about, kind=EventKind.COMMENT, title=line(text), comment=said)


def _id(value: object) -> str:
    """A name or a number that names something; empty where it is neither."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else line(value)
