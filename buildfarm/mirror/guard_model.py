"""Tables of the guard: advisories, licences, and what somebody let through in spite of a rule."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Text
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base


class Advisory(Base):
    """A record of the OSV database about packages of the Python ecosystem."""

    __tablename__ = "advisory"

    id: Mapped[str] = mapped_column(primary_key=True)
    summary: Mapped[str] = mapped_column(Text)
    aliases: Mapped[list[Any]]
    modified: Mapped[str]


class AdvisoryCover(Base):
    """What an advisory says of one project: exact versions, and ranges as lists of events."""

    __tablename__ = "advisory_cover"

    advisory_id: Mapped[str] = mapped_column(ForeignKey("advisory.id"), primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True, index=True)
    versions: Mapped[list[Any]]
    ranges: Mapped[list[Any]]


class Lift(Base):
    """Break glass: a person lets versions of a project through in spite of a rule, with a reason."""

    __tablename__ = "lift"

    id: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str]
    project: Mapped[str] = mapped_column(index=True)
    version: Mapped[str]
    rule: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str]
    created_at: Mapped[datetime]
    until: Mapped[datetime | None]
    ended_at: Mapped[datetime | None]


class ReleaseLicence(Base):
    """What the metadata of an upstream release says of its licence; an empty list: nothing."""

    __tablename__ = "release_licence"

    project: Mapped[str] = mapped_column(primary_key=True)
    version: Mapped[str] = mapped_column(primary_key=True)
    licences: Mapped[list[Any]]


class WheelRule(Base):
    """Of which upstream releases the farm builds missing wheels without being asked.

    `patterns` are normalised names with `*` and `?`; `newest` counts releases of a project, `daily` builds
    within 24 hours.
    """

    __tablename__ = "wheel_rule"

    name: Mapped[str] = mapped_column(primary_key=True)
    channel: Mapped[str]
    patterns: Mapped[list[Any]]
    newest: Mapped[int]
    prereleases: Mapped[bool]
    daily: Mapped[int]
    enabled: Mapped[bool]
    actor: Mapped[str]
    changed_at: Mapped[datetime]
