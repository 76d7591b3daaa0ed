"""What a comment asks of the farm, from its text alone: pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

_CALL = re.compile(r"/buildfarm(?: +(.*))?")
_WORD = re.compile(r"[0-9A-Za-z]{1,64}")


class Verb(StrEnum):
    """What may be asked; `unknown`: the farm was called, and not by any of its words."""

    BUILD = "build"
    APPROVE = "approve"
    HELP = "help"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Command:
    """A command; `commit` is what is to be approved as it was written, empty for the others."""

    verb: Verb
    commit: str = ""


def command_of(text: object) -> Command | None:
    """The command that is the whole first line of a comment; None where that calls nobody.

    No words before it, so that neither a quotation nor a sentence about a command is one.
    """
    if not isinstance(text, str):
        return None
    found = _CALL.fullmatch(text[:1000].partition("\n")[0].rstrip("\r "))
    if found is None:
        return None
    match (found[1] or "").split(" "):
        case ["build"]:
            return Command(Verb.BUILD)
        case ["help"]:
            return Command(Verb.HELP)
        case ["approve", commit] if _WORD.fullmatch(commit):
            return Command(Verb.APPROVE, commit)
        case _:
            return Command(Verb.UNKNOWN)
