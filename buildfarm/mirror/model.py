"""Tables of the mirror: upstream pages as they were last confirmed, files of theirs that are kept here."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Text
from sqlalchemy.engine.default import DefaultExecutionContext
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.db.types import Base, Packed, Serial
from buildfarm.wheels.judged import Judged
from buildfarm.wheels.names import skeleton


def _skeleton(row: DefaultExecutionContext) -> str:
    return skeleton(row.get_current_parameters()["project"])  # type: ignore[no-untyped-call]


class UpstreamPage(Base):
    """A project page of an upstream index, so that a restart while it is away still serves.

    `upstream` is the index that owns the name: fixed at first use, its URL without credentials. `content`
    holds the rows (`buildfarm.mirror.page`); `version` counts its changes, from 1. `serial` is the last
    `X-PyPI-Last-Serial`, which never goes back. Names with one `skeleton` look alike to a person.
    """

    __tablename__ = "upstream_page"

    project: Mapped[str] = mapped_column(primary_key=True)
    skeleton: Mapped[str] = mapped_column(default=_skeleton, index=True)
    upstream: Mapped[str]
    etag: Mapped[str | None]
    serial: Mapped[int | None] = mapped_column(Serial)
    is_json: Mapped[bool]
    version: Mapped[int]
    content: Mapped[Any] = mapped_column(Packed)
    #: When the page last came whole, was last confirmed, and last changed.
    fetched_at: Mapped[datetime]
    checked_at: Mapped[datetime] = mapped_column(index=True)
    changed_at: Mapped[datetime]


class UpstreamFile(Judged, Base):
    """First sight of an upstream file: from then on its name means these bytes.

    The row stays when the bytes go. `stored_at` is empty when they are not here; `evicted_at` says that
    they will go soon. What is `refused` is passed on to nobody.
    """

    __tablename__ = "upstream_file"

    filename: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(Serial)
    url: Mapped[str]
    seen_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    stored_at: Mapped[datetime | None] = mapped_column(index=True)
    evicted_at: Mapped[datetime | None]
    metadata_sha256: Mapped[str | None]


class UpstreamProvenance(Base):
    """The provenance document (PEP 740) that upstream serves beside a file, as it was last fetched."""

    __tablename__ = "upstream_provenance"

    filename: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str]
    fetched_at: Mapped[datetime]


class RegistryFile(Base):
    """First sight of a crate or of a Go module's zip: from then on its name and version mean these bytes.

    The row stays when the bytes go; `stored_at` and `evicted_at` are those of `UpstreamFile`. `origin` is
    the registry, without credentials.
    """

    __tablename__ = "registry_file"

    filename: Mapped[str] = mapped_column(primary_key=True)
    ecosystem: Mapped[str]
    name: Mapped[str]
    version: Mapped[str]
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(Serial)
    origin: Mapped[str]
    fetched_at: Mapped[datetime]
    last_used_at: Mapped[datetime]
    stored_at: Mapped[datetime | None] = mapped_column(index=True)
    evicted_at: Mapped[datetime | None]


class RegistryDocument(Base):
    """What a registry says beside its files, as it was last confirmed: index entries, `.mod`, `.info`, lists.

    `path` counts from the root of the registry; `content` is text.
    """

    __tablename__ = "registry_document"

    ecosystem: Mapped[str] = mapped_column(primary_key=True)
    path: Mapped[str] = mapped_column(primary_key=True)
    content: Mapped[str] = mapped_column(Packed)
    checked_at: Mapped[datetime]


class UpstreamHealth(Base):
    """How an upstream index answers: counts since this farm began, the last answer, the last failure."""

    __tablename__ = "upstream_health"

    upstream: Mapped[str] = mapped_column(primary_key=True)
    pages: Mapped[int] = mapped_column(Serial)
    files: Mapped[int] = mapped_column(Serial)
    failures: Mapped[int] = mapped_column(Serial)
    answered_at: Mapped[datetime | None]
    failed_at: Mapped[datetime | None]
    failure: Mapped[str | None] = mapped_column(Text)


class GuardEvent(Base):
    """What the guard did not let through, counted: a name that is ours, a file that breaks a rule."""

    __tablename__ = "guard_event"

    channel: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    rule: Mapped[str] = mapped_column(primary_key=True)
    sentence: Mapped[str] = mapped_column(Text)
    count: Mapped[int] = mapped_column(Serial)
    first_at: Mapped[datetime]
    last_at: Mapped[datetime] = mapped_column(index=True)


class Supplement(Judged, Base):
    """A wheel that this farm built from an sdist of an upstream project; it joins upstream's own files.

    The name does not become local by it. Digests are of blobs; `build_id` says which build made it.
    """

    __tablename__ = "supplement"

    filename: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(index=True)
    version: Mapped[str]
    sha256: Mapped[str] = mapped_column(index=True)
    size: Mapped[int] = mapped_column(Serial)
    requires_python: Mapped[str | None]
    metadata_sha256: Mapped[str | None]
    bundle_sha256: Mapped[str | None]
    provenance_sha256: Mapped[str | None]
    uploaded_at: Mapped[datetime]
    build_id: Mapped[str | None]


class MirroredPage(Base):
    """A page of a mirror or union channel as it was last rendered, for its ETag on every node.

    `serial` counts the changes of the content (`digest`), whatever changed it: upstream, policy, time, a
    supplement. `until` is when time alone will change it next.
    """

    __tablename__ = "mirrored_page"

    channel: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    digest: Mapped[str]
    serial: Mapped[int] = mapped_column(Serial)
    until: Mapped[datetime | None]
