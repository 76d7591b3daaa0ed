"""What an SCM's API answers instead of what was asked, as errors of the farm's own.

Nothing of a request is repeated in them: it holds the token. Of an answer only a short sentence is.
"""

from __future__ import annotations

import email.utils
import math
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta

from buildfarm import clock
from buildfarm.errors import Conflict, ExternalFailure, FarmError

_LONGEST = 300
#: How long to wait where an SCM says that it was asked too often, and not until when.
_UNSAID = timedelta(minutes=1)
#: Nobody waits longer for what an SCM says: a wrong clock must not silence the farm.
_LONGEST_WAIT = timedelta(hours=2)


def fault(status: int, headers: Mapping[str, str], said: str) -> FarmError:
    """The error for an answer that is none.

    Args:
        status: HTTP status; 0 where no answer came.
        headers: those of the answer, by lower-case names.
        said: the SCM's own words.
    """
    if status in {403, 429} and (until := _until(status, headers, said)):
        return ExternalFailure(
            "The SCM has been asked too often.",
            code="forge.rate_limited",
            hint=f"It can be asked again at {clock.iso_seconds(until)}.",
            until=until,
        )
    words = _short(said)
    match status:
        case 401:
            return Conflict(
                f"The SCM does not take the token{words}.",
                code="forge.token_refused",
                hint="Make a new one and give it with `buildfarm source set-scm-token`.",
            )
        case 403:
            return Conflict(
                f"The token may not do this{words}.",
                code="forge.not_allowed",
                hint="Give it the rights that docs/answers.md lists for this SCM.",
            )
        case 404 | 410:
            return Conflict(
                f"The SCM knows no such thing, or hides it from this token{words}.",
                code="forge.not_found",
                hint="Compare the source's URL and API address, and the token's rights with docs/answers.md.",
            )
        case _ if 300 <= status < 400:
            return moved()
        case 0:
            return away(said)
        case _ if status >= 500:
            return ExternalFailure(f"The SCM is not well: it answered {status}{words}.", code="forge.away")
        case _:
            return Conflict(f"The SCM refuses: {status}{words}.", code="forge.refused")


def moved() -> Conflict:
    """The SCM sends whoever asks to another address, where the token is not sent."""
    return Conflict(
        "The SCM sends the farm elsewhere: the repository has moved, or the API has another address.",
        code="forge.moved",
        hint="Say where with `buildfarm source move`, or `source set-scm-token --api-url`.",
    )


def away(why: str) -> ExternalFailure:
    """The SCM does not answer; `why` is for the log and the page."""
    return ExternalFailure("The SCM does not answer.", code="forge.away", hint=f"{why.rstrip('.')}.")


def _until(status: int, headers: Mapping[str, str], said: str) -> datetime | None:
    """When asking may go on; None where this is no rate limit.

    Sources: GitHub "Rate limits for the REST API" (403 or 429, `x-ratelimit-remaining: 0` with
    `x-ratelimit-reset`, `retry-after` for secondary limits), GitLab "Rate limits" (429, `Retry-After`,
    `RateLimit-Reset`), RFC 9110 section 10.2.3 (`Retry-After` is seconds or a date).
    """
    now = clock.now()
    exhausted = next(
        (headers[name] for name in ("x-ratelimit-remaining", "ratelimit-remaining") if name in headers), ""
    )
    asked = headers.get("retry-after", "")
    if status == 403 and not asked and exhausted.strip() != "0" and "rate limit" not in said.lower():
        return None
    reset = headers.get("x-ratelimit-reset") or headers.get("ratelimit-reset", "")
    until = _moment(asked, now) or (_epoch(reset) if exhausted.strip() == "0" else None) or now + _UNSAID
    return min(max(until, now + timedelta(seconds=1)), now + _LONGEST_WAIT)


def _moment(text: str, now: datetime) -> datetime | None:
    if text.strip().isdecimal():
        return now + timedelta(seconds=min(int(text), _LONGEST_WAIT.total_seconds()))
    try:
        return email.utils.parsedate_to_datetime(text).astimezone(UTC) if text else None
    except ValueError:
        return None


def _epoch(text: str) -> datetime | None:
    try:
        seconds = float(text)
        return datetime.fromtimestamp(seconds, UTC) if math.isfinite(seconds) else None
    except (ValueError, OverflowError, OSError):
        return None


def _short(said: str) -> str:
    line = " ".join("".join(char if char.isprintable() else " " for char in said[: 4 * _LONGEST]).split())
    return f' ("{line[:_LONGEST].rstrip(".")}")' if line else ""
