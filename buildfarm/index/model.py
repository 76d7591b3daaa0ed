"""Tables of the index: channels, projects, releases, files, stages, promotions, attestations, followers."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, Text, UniqueConstraint
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, mapped_column, relationship

from buildfarm.db.types import Base, Serial
from buildfarm.index.spelling import version_key
from buildfarm.wheels.judged import Judged
from buildfarm.wheels.names import skeleton


def _skeleton(row: DefaultExecutionContext) -> str:
    return skeleton(row.get_current_parameters()["name"])  # type: ignore[no-untyped-call]


def _version_key(row: DefaultExecutionContext) -> str:
    return version_key(row.get_current_parameters()["version"])  # type: ignore[no-untyped-call]


class Channel(Base):
    """A named index.

    `kind` is `durable` (its own files; `rank` orders the ladder that promotions climb), `mirror` (what
    the upstream indexes have, by policy), `union` (its `parts` in order; the first that owns a name
    answers for it), `candidate` (the results of one rebuild wave, for the one channel in `parts`) or `stage`
    (what was built of one pull request, before its `parts`).
    `policy` is what `buildfarm.mirror` decides by; empty lets everything through.
    """

    __tablename__ = "channel"

    name: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(default="durable")
    rank: Mapped[int]
    public: Mapped[bool]
    parts: Mapped[list[Any]] = mapped_column(default=list)
    policy: Mapped[dict[str, Any]] = mapped_column(default=dict)


class Project(Base):
    """A local name, normalised (PEP 503); from here on it is never asked upstream.

    Names with one `skeleton` look alike to a person.
    """

    __tablename__ = "project"

    name: Mapped[str] = mapped_column(primary_key=True)
    display_name: Mapped[str]
    skeleton: Mapped[str] = mapped_column(default=_skeleton, index=True)
    local_since: Mapped[int] = mapped_column(Serial, index=True)
    #: PEP 792: `active`, `archived`, `quarantined` or `deprecated`, and why.
    status: Mapped[str] = mapped_column(default="active")
    status_reason: Mapped[str | None] = mapped_column(Text)


class Namespace(Base):
    """A reserved prefix of names (PEP 752), normalised; `since` is the journal serial of the grant."""

    __tablename__ = "namespace"

    prefix: Mapped[str] = mapped_column(primary_key=True)
    owners: Mapped[list[Any]]
    since: Mapped[int] = mapped_column(Serial)
    created_at: Mapped[datetime]


class Release(Base):
    """One version of a project, as it was spelt first; `key` is the same for equal versions (PEP 440)."""

    __tablename__ = "release"
    __table_args__ = (UniqueConstraint("project", "key"),)

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(ForeignKey("project.name"))
    version: Mapped[str]
    key: Mapped[str] = mapped_column(default=_version_key)
    summary: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime]
    files: Mapped[list[File]] = relationship(
        back_populates="release", order_by="File.filename", lazy="selectin"
    )


class File(Judged, Base):
    """A published file. A name means one digest for ever, over all durable channels.

    A withdrawn one keeps its row, so that its name never comes back. `refused` says what today's rules
    have against a file that earlier ones let in; it stays where it is until a person withdraws it.
    """

    __tablename__ = "file"

    filename: Mapped[str] = mapped_column(primary_key=True)
    release_id: Mapped[str] = mapped_column(ForeignKey("release.id"), index=True)
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(Serial)
    requires_python: Mapped[str | None]
    metadata_sha256: Mapped[str | None]
    uploaded_at: Mapped[datetime]
    build_id: Mapped[str | None] = mapped_column(ForeignKey("build.id"), index=True)
    job_id: Mapped[str | None]
    attempt: Mapped[int | None]
    bundle_sha256: Mapped[str | None]
    provenance_sha256: Mapped[str | None]
    #: The bundles of second builds that made the same bytes, one a line.
    reproduced_sha256: Mapped[str | None]
    yanked: Mapped[str | None] = mapped_column(Text)
    withdrawn_at: Mapped[datetime | None]
    release: Mapped[Release] = relationship(back_populates="files")


class ChannelEntry(Base):
    """A file in a channel from one serial to another (empty: still there)."""

    __tablename__ = "channel_entry"
    __table_args__ = (
        Index("ix_channel_entry_live", "filename", "channel", "until"),
        Index("ix_channel_entry_newest", "channel", "since", "filename"),
    )

    channel: Mapped[str] = mapped_column(ForeignKey("channel.name"), primary_key=True)
    filename: Mapped[str] = mapped_column(ForeignKey("file.filename"), primary_key=True)
    since: Mapped[int] = mapped_column(Serial, primary_key=True)
    until: Mapped[int | None] = mapped_column(Serial)


class StageFile(Base):
    """A file in the stage of a pull request: a name of its own there, whatever releases have under it.

    `since` is the journal serial at which it came in; `findings` are rules that were reported without
    refusing.
    """

    __tablename__ = "stage_file"

    stage: Mapped[str] = mapped_column(ForeignKey("channel.name"), primary_key=True)
    filename: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    version: Mapped[str]
    summary: Mapped[str | None] = mapped_column(Text)
    sha256: Mapped[str]
    size: Mapped[int] = mapped_column(Serial)
    requires_python: Mapped[str | None]
    metadata_sha256: Mapped[str | None]
    findings: Mapped[list[Any]]
    since: Mapped[int] = mapped_column(Serial)
    built_at: Mapped[datetime]
    build_id: Mapped[str] = mapped_column(ForeignKey("build.id"), index=True)
    job_id: Mapped[str]


class Attestation(Base):
    """What the signer answered for one file of an attempt; the bundle once its checkpoint is signed.

    `is_reproduction`: it is about a second build that made the same bytes, and no provenance of the file.
    """

    __tablename__ = "attestation"

    job_id: Mapped[str] = mapped_column(primary_key=True)
    attempt: Mapped[int] = mapped_column(primary_key=True)
    filename: Mapped[str] = mapped_column(primary_key=True)
    file_sha256: Mapped[str]
    is_reproduction: Mapped[bool] = mapped_column(default=False)
    answer: Mapped[dict[str, Any]]
    serial: Mapped[int | None] = mapped_column(Serial)
    bundle_sha256: Mapped[str | None]
    provenance_sha256: Mapped[str | None]


class Promotion(Base):
    """Adding a file set to the next channel."""

    __tablename__ = "promotion"

    id: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str]
    version: Mapped[str]
    from_channel: Mapped[str]
    to_channel: Mapped[str]
    state: Mapped[str]
    actor: Mapped[str]
    created_at: Mapped[datetime]
    applied_at: Mapped[datetime | None]
    serial: Mapped[int | None] = mapped_column(Serial)
    filenames: Mapped[list[Any]]


class Follower(Base):
    """A web node and the serial up to which its pages are rendered."""

    __tablename__ = "follower"

    node: Mapped[str] = mapped_column(primary_key=True)
    serial: Mapped[int] = mapped_column(Serial)
    seen_at: Mapped[datetime]
