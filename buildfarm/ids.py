"""Identifiers: short, sortable by time, made of letters, digits and `_` (the alphabet RQ allows)."""

from __future__ import annotations

import secrets
import time

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32, lower case


def new_id(prefix: str) -> str:
    """A new id such as `bld_06v9k3m2x0q4tz7w`: 48 bits of milliseconds, then 40 random bits.

    Ids of one prefix sort by creation time to the millisecond, so lists page by id.
    """
    value = (time.time_ns() // 1_000_000) << 40 | secrets.randbits(40)
    digits = []
    for _ in range(18):
        value, rest = divmod(value, 32)
        digits.append(_ALPHABET[rest])
    return f"{prefix}_{''.join(reversed(digits))}"
