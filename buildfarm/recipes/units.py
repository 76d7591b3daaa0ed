"""Sizes and times as people write them in a recipe: `"2 GiB"`, `"30m"`.

A bare number is refused, because `time = 30` does not say of what.
"""

from __future__ import annotations

import re
from fractions import Fraction

MIB = 1024**2
GIB = 1024**3

SIZE_PATTERN = r"^[0-9]{1,12}(\.[0-9]{1,3})? ?(B|KiB|MiB|GiB|kB|MB|GB)$"
DURATION_PATTERN = r"^(?=[0-9])([0-9]{1,6}h)?([0-9]{1,6}m)?([0-9]{1,6}s)?$"

_BINARY = {"GiB": GIB, "MiB": MIB, "KiB": 1024, "B": 1}
_BYTES = {**_BINARY, "kB": 10**3, "MB": 10**6, "GB": 10**9}
_SECONDS = {"h": 3600, "m": 60, "s": 1}


def parse_size(value: object) -> int:
    """Bytes of a text such as `2 GiB`, `512MiB` or `1.5 GB`, rounded down to whole bytes.

    Raises:
        ValueError: with a sentence for the author of the recipe.
    """
    if not isinstance(value, str) or not re.fullmatch(SIZE_PATTERN, value):
        raise ValueError(
            f'must be a size with a unit (B KiB MiB GiB kB MB GB), like "2 GiB", not {_shown(value)}'
        )
    number, unit = re.fullmatch(r"([0-9.]+) ?([A-Za-z]+)", value).groups()  # type: ignore[union-attr]
    return int(Fraction(number) * _BYTES[unit])


def format_size(size: int) -> str:
    """The shortest exact text in binary units: 2147483648 is `2 GiB`."""
    unit = next(unit for unit, factor in _BINARY.items() if size % factor == 0 and (size or factor == 1))
    return f"{size // _BINARY[unit]} {unit}"


def parse_duration(value: object) -> int:
    """Seconds of a text such as `30m`, `1h30m` or `45s`.

    Raises:
        ValueError: with a sentence for the author of the recipe.
    """
    if not isinstance(value, str) or not re.fullmatch(DURATION_PATTERN, value):
        raise ValueError(f'must be a time with units (h m s), like "30m" or "1h30m", not {_shown(value)}')
    return sum(int(number) * _SECONDS[unit] for number, unit in re.findall(r"([0-9]+)([hms])", value))


def format_duration(seconds: int) -> str:
    """The shortest exact text: 5400 is `1h30m`."""
    hours, rest = divmod(seconds, 3600)
    parts = ((hours, "h"), (rest // 60, "m"), (rest % 60, "s"))
    return "".join(f"{number}{unit}" for number, unit in parts if number) or "0s"


def _shown(value: object) -> str:
    return f'"{value[:40]}"' if isinstance(value, str) else str(value)[:40]
