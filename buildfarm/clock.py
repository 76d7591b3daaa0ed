"""Time as the farm keeps it: aware UTC datetimes, and their one text form."""

from __future__ import annotations

from datetime import UTC, datetime


def now() -> datetime:
    """The present moment as an aware UTC datetime."""
    return datetime.now(UTC)


def iso(moment: datetime) -> str:
    """RFC 3339 text with microseconds and `Z`, the form of PEP 700 and of every API answer."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def iso_seconds(moment: datetime) -> str:
    """RFC 3339 text with whole seconds and `Z`, the form of SLSA provenance."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
