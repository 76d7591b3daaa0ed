"""What git's complaints mean for a person, and how an error crosses the fetcher's pipe."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import quote

from buildfarm import errors
from buildfarm.errors import FarmError

#: The code of complaints this file has no words for.
UNEXPLAINED = "source.git_failed"


class _Fault(NamedTuple):
    pattern: re.Pattern[str]
    error: type[FarmError]
    code: str
    message: str
    hint: str = ""


def _fault(pattern: str, error: type[FarmError], code: str, message: str, hint: str = "") -> _Fault:
    return _Fault(re.compile(pattern, re.IGNORECASE), error, code, message, hint)


#: Most telling first: git adds general complaints after the one that says why.
_FAULTS = (
    _fault(
        r"died of signal (?:25|31)|file too large|file size limit exceeded",
        errors.LimitExceeded,
        "source.too_large",
        "The repository is larger than this farm fetches.",
        "Raise the source's size limit, or move large files out of the history.",
    ),
    _fault(
        r"timeout: the command",
        errors.ExternalFailure,
        "source.timeout",
        "Fetching the repository took longer than allowed.",
    ),
    _fault(
        r"no space left on device|disk quota exceeded",
        errors.EnvironmentProblem,
        "source.disk_full",
        "The farm's disk for source mirrors is full.",
    ),
    _fault(
        r"couldn't find remote ref|no such remote ref",
        errors.NotFound,
        "source.ref_unknown",
        "The repository has no such branch or tag (any more).",
    ),
    _fault(
        r"bad config line \d+ in blob",
        errors.InvalidInput,
        "source.submodule_unknown",
        "`.gitmodules` is no file that git can read.",
    ),
    _fault(
        r"not our ref|unadvertised object",
        errors.NotFound,
        "source.commit_unknown",
        "The repository does not give out this commit (any more).",
        "Push the commit that a submodule is at, or let the host serve commits by id.",
    ),
    _fault(
        r"host key verification failed|no .*host key is known for",
        errors.IntegrityFailure,
        "source.host_key",
        "The repository host's ssh key is not the one this farm knows.",
        "Compare the key with the host's operator and give it to the source: `--known-hosts-file F`.",
    ),
    _fault(
        r"ssl certificate|certificate verif|certificate subject|unable to get local issuer",
        errors.EnvironmentProblem,
        "source.tls",
        "The repository host's TLS certificate is not trusted here.",
        "Give the source the authority that issued it: `source set-credential NAME --ca-file F`.",
    ),
    _fault(
        r"authentication failed|could not read (?:username|password)|terminal prompts disabled"
        r"|permission denied \(|returned error: 40[13]|access denied|invalid credentials",
        errors.Forbidden,
        "source.authentication",
        "The repository asks for credentials that this source does not have, or refuses those it has.",
        "Set the source's user and token, or its ssh key; reading is enough.",
    ),
    _fault(
        r"returned error: 30\d|redirect",
        errors.InvalidInput,
        "source.redirected",
        "The repository host answers with a redirect, which the farm does not follow.",
        "Give the URL it redirects to.",
    ),
    _fault(
        r"could not resolve host|name or service not known|failed to connect|couldn't connect"
        r"|connection (?:refused|reset|timed out|closed)|no route to host|network is unreachable"
        r"|operation (?:too slow|timed out)|returned error: (?:429|5\d\d)|empty reply from server",
        errors.ExternalFailure,
        "source.unreachable",
        "The repository host cannot be reached or does not answer well.",
    ),
    _fault(
        r"dubious ownership",
        errors.EnvironmentProblem,
        "source.owner",
        "The repository on this machine belongs to another user than the farm's.",
    ),
    _fault(
        r"fsck error|fsck of packed object|corruption on the remote side"
        r"|error: object [0-9a-f]{40,64}: |invalid path '|malformed object",
        errors.InvalidInput,
        "source.unsound",
        "The repository holds objects that git's own check refuses.",
        "Run `git fsck --strict` on it.",
    ),
    _fault(
        r"does not appear to be a git repository|not a git repository|repository '.*' not found"
        r"|repository not found|is this a git repository|could not be found",
        errors.NotFound,
        "source.no_repository",
        "There is no git repository at the source's URL, or none this source's credentials may see.",
    ),
)

_BY_NAME = {
    kind.__name__: kind
    for kind in (
        errors.Conflict,
        errors.EnvironmentProblem,
        errors.ExternalFailure,
        errors.Forbidden,
        errors.IntegrityFailure,
        errors.InvalidInput,
        errors.LimitExceeded,
        errors.NotFound,
    )
}


def redact(text: str, secrets: Sequence[str]) -> str:
    """The text without the secrets, plain, percent-encoded or as the base64 of a Basic header."""
    for secret in filter(None, secrets):
        for form in (secret, quote(secret, safe="")):
            text = text.replace(form, "[masked]")
        # Base64 of "user:secret": the user's length decides which of three alignments appears.
        for lead in range(3):
            encoded = base64.b64encode(b"\0" * lead + secret.encode()).decode().rstrip("=")
            inner = encoded[-(-lead * 8 // 6) : -1]
            if len(inner) >= 4:
                text = text.replace(inner, "[masked]")
    return text


def explain(complaint: str, *, secrets: Sequence[str] = ()) -> FarmError:
    """The error a person gets for what git wrote to standard error.

    What the server said (git marks each such line) decides only where git itself says nothing
    telling. It is not repeated when a secret was sent: it may echo that in any encoding.
    """
    lines = complaint.split("\n")
    own = "\n".join(line for line in lines if not line.startswith("remote:"))
    told = "\n".join(line for line in lines if line.startswith("remote:"))
    said = redact(own if secrets else complaint, secrets)
    excerpt = "".join(char if char.isprintable() else " " for char in said.strip()[-600:])
    for text in (own, told):
        for fault in _FAULTS:
            if fault.pattern.search(text):
                return fault.error(fault.message, code=fault.code, hint=fault.hint, git=excerpt)
    return errors.ExternalFailure("Fetching the repository failed.", code=UNEXPLAINED, git=excerpt)


def to_wire(error: FarmError) -> dict[str, object]:
    """The error as JSON-ready facts."""
    names = [kind.__name__ for kind in type(error).__mro__]
    return {
        "kind": next((name for name in names if name in _BY_NAME), FarmError.__name__),
        "code": error.code,
        "message": error.message,
        "hint": error.hint,
        "facts": {name: str(value) for name, value in error.facts.items()},
    }


def from_wire(told: dict[str, object]) -> FarmError:
    """The error that `to_wire` described."""
    kind = _BY_NAME.get(str(told.get("kind")), FarmError)
    facts = told.get("facts")
    return kind(
        str(told.get("message")),
        code=str(told.get("code")),
        hint=str(told.get("hint", "")),
        **({str(name): value for name, value in facts.items()} if isinstance(facts, dict) else {}),
    )
