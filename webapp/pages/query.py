"""Reading query strings and fields: what does not fit a query counts as not given, so that old links open."""

from __future__ import annotations

from flask import request

_DIGITS = 12


def number(name: str) -> int | None:
    """A whole number that is not negative."""
    return digits(request.args.get(name))


def digits(value: str | None) -> int | None:
    """The number that a text of few ASCII digits is."""
    good = value is not None and value.isascii() and value.isdigit() and len(value) <= _DIGITS
    return int(value) if value and good else None


def text(name: str) -> str | None:
    """A word; empty counts as not given."""
    return request.args.get(name, "").strip()[:200] or None


def words(field: str) -> list[str]:
    """What a form's field lists, with spaces or commas between."""
    return request.form.get(field, "").replace(",", " ").split()
