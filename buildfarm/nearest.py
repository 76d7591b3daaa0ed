"""The nearest known name, for people who mistype one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known name; empty when none is near."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.4)
    return f"Did you mean {close[0]!r}?" if close else ""
