"""Pages of a list by key: the next page begins after the last key, so rows that come in move nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Row = TypeVar("Row")


def cut(rows: Sequence[Row], limit: int, key: Callable[[Row], str]) -> tuple[list[Row], str | None]:
    """At most `limit` of the rows, and the key to go on after; None on the last page.

    `rows` were asked for with `limit + 1`: the one too many tells that there is more.
    """
    kept = list(rows[:limit])
    return kept, key(kept[-1]) if len(rows) > limit else None
