"""Identifiers: short, sortable by time, made of letters, digits and `_` (the alphabet RQ allows)."""

from __future__ import annotations

import secrets
import time
from datetime import datetime

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


def new_id(prefix: str) -> str:
    """A new id such as `bld_06v9k3m2x0q4tz7w`: 48 bits of milliseconds, then 40 random bits.

    Ids of one prefix sort by creation time to the millisecond, so lists page by id.
    """
    return _written(prefix, time.time_ns() // 1_000_000, secrets.randbits(40))


def first_id(prefix: str, moment: datetime) -> str:
    """Before every id of the prefix that was made at the moment or later, and after all earlier ones."""
    return _written(prefix, int(moment.timestamp() * 1000), 0)


def _written(prefix: str, milliseconds: int, rest: int) -> str:
    value = milliseconds << 40 | rest
    digits = []
    for _ in range(18):
        value, digit = divmod(value, 32)
        digits.append(_ALPHABET[digit])
    return f"{prefix}_{''.join(reversed(digits))}"
