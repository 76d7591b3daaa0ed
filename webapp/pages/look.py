"""How values look: times, sizes, durations, states. Filters of the templates, free of Flask."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from markupsafe import Markup

from buildfarm import clock

_STEPS = ((60, "s"), (3600, "min"), (86_400, "h"), (86_400 * 14, "d"))
_UNITS = {"s": 1, "min": 60, "h": 3600, "d": 86_400}


@dataclass(frozen=True)
class Mark:
    """What a state is drawn with: an icon and a tone; its word is always beside them."""

    icon: str
    tone: str


_RUN, _GOOD, _BAD, _QUIET, _WARN = "run", "good", "bad", "quiet", "warn"
MARKS = {
    "waiting": Mark("circle-dashed", _QUIET),
    "queued": Mark("clock", _QUIET),
    "running": Mark("loader-circle", _RUN),
    "built": Mark("package-check", _RUN),
    "published": Mark("circle-check", _GOOD),
    "compared": Mark("circle-check", _GOOD),
    "succeeded": Mark("circle-check", _GOOD),
    "failed": Mark("circle-x", _BAD),
    "timed_out": Mark("clock-alert", _BAD),
    "cancelled": Mark("ban", _WARN),
    "skipped": Mark("skip-forward", _QUIET),
    "received": Mark("inbox", _RUN),
    "accepted": Mark("circle-check", _GOOD),
    "ignored": Mark("skip-forward", _QUIET),
    "rejected": Mark("circle-x", _BAD),
    "duplicate": Mark("copy", _QUIET),
    "sent": Mark("circle-check", _GOOD),
    "refused": Mark("circle-x", _BAD),
    "dropped": Mark("skip-forward", _QUIET),
    "applied": Mark("circle-check", _GOOD),
    "undone": Mark("undo-2", _WARN),
    "revert": Mark("undo-2", _QUIET),
    "building": Mark("loader-circle", _RUN),
    "rebuilt": Mark("circle-check", _GOOD),
    "equal": Mark("copy", _QUIET),
    "unneeded": Mark("skip-forward", _QUIET),
    "ready": Mark("package-check", _RUN),
    "promoted": Mark("circle-check", _GOOD),
    "yanked": Mark("triangle-alert", _WARN),
}
#: Whose fault, in words.
CAUSES = {
    "user_code": "the project's code",
    "checks": "a check of the farm",
    "limit": "a limit was reached",
    "infrastructure": "the farm itself",
    "policy": "a policy",
}


def mark(state: str) -> Mark:
    """The icon and tone of a state."""
    return MARKS.get(state, Mark("info", _QUIET))


def word(state: str) -> str:
    """A state, cause or trigger as a person reads it."""
    return CAUSES.get(state, state.replace("_", " "))


def ago(moment: datetime, now: datetime) -> str:
    """How long ago, in one unit; a date when that is longer ago than two weeks."""
    seconds = (now - moment).total_seconds()
    if seconds < 5:
        return "just now" if seconds > -5 else moment.strftime("%Y-%m-%d %H:%M")
    for limit, unit in _STEPS:
        if seconds < limit:
            return f"{int(seconds // _UNITS[unit])} {unit} ago"
    return moment.strftime("%Y-%m-%d")


def when(moment: datetime | None, none: str = "never") -> str:
    """A `<time>` that reads as an age and tells the exact moment (UTC) on hover and to programs."""
    if moment is None:
        return none
    exact = moment.strftime("%Y-%m-%d %H:%M:%S UTC")
    return Markup('<time datetime="{}" title="{}" data-age>{}</time>').format(
        clock.iso(moment), exact, ago(moment, clock.now())
    )


def begins(moment: datetime) -> str:
    """How soon something is expected to begin, as a sentence goes on; the exact moment (UTC) on hover."""
    seconds = (moment - clock.now()).total_seconds()
    soon = (
        "now" if seconds < 30 else f"in about {duration(max(60, round(seconds / 60) * 60)).split(' 00 ')[0]}"
    )
    return Markup('<time datetime="{}" title="{}">{}</time>').format(
        clock.iso(moment), moment.strftime("%Y-%m-%d %H:%M:%S UTC"), soon
    )


def duration(seconds: float | None) -> str:
    """A length of time in the two largest units."""
    if seconds is None:
        return ""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = int(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def elapsed(started: datetime | None, finished: datetime | None) -> str:
    """How long something took, or takes so far."""
    if started is None:
        return ""
    return duration(((finished or clock.now()) - started).total_seconds())


def size(count: int) -> str:
    """Bytes in decimal units, as PyPI and most tools show them."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.2f} GB"


def counted(number: int, noun: str) -> str:
    """`1 file`, `2 files`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def short_ref(ref: str) -> str:
    """A ref without `refs/heads/`, `refs/tags/` or, of another kind, `refs/`."""
    return ref.removeprefix("refs/heads/").removeprefix("refs/tags/").removeprefix("refs/")


def pretty(body: str) -> str:
    """A JSON document indented; anything else as it came."""
    try:
        return json.dumps(json.loads(body), indent=2, ensure_ascii=False)
    except ValueError:
        return body
