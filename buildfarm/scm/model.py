"""The delivery ledger: every call of a known source's hook, whatever became of it; and what the sweep saw."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Connection, ForeignKey, Index, UniqueConstraint, event, text
from sqlalchemy.orm import Mapped, Mapper, mapped_column, relationship

from buildfarm.db.types import Base, Json
from buildfarm.scm.kinds import scm_for

_HAS_BODY = text("body IS NOT NULL")
#: What may tell of a pull request. Pushes, of which most deliveries tell, are spared the index of those.
MAY_BE_OF_REQUEST = text("kind NOT IN ('push', 'tag')")
#: PostgreSQL takes no longer rows into an index (a third of a page, less what stands beside it).
_WORDS_BYTES = 2_400


class Delivery(Base):
    """One webhook call as received. `key` is the sender's id of it, unique within the source.

    `kind`, `ref`, `commit` and `title` are those of its first event, by which lists are read; most have one.
    `body` is None for what the sweep found, and once it was dropped for its age; `body_sha256` is of what it
    says: of a form the JSON in its field. `words` is what a search looks through. `connection_id` is the
    connection by whose hook it came, None for the source's own.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        UniqueConstraint("source_id", "key"),
        Index("ix_delivery_ref", "source_id", "ref", "id"),
        Index("ix_delivery_state", "state", "id"),
        # A search reads words from the index, and of rows and their bodies only those it found.
        Index("ix_delivery_newest", "source_id", "id", "words"),
        Index("ix_delivery_words", "id", "words"),
        Index("ix_delivery_body", "id", sqlite_where=_HAS_BODY, postgresql_where=_HAS_BODY),
        Index(
            "ix_delivery_same", "source_id", "body_sha256",
            sqlite_where=MAY_BE_OF_REQUEST, postgresql_where=MAY_BE_OF_REQUEST,
        ),
    )  # fmt: skip

    id: Mapped[str] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    connection_id: Mapped[str | None] = mapped_column(ForeignKey("source.id"))
    key: Mapped[str | None]
    scm: Mapped[str]
    received_at: Mapped[datetime]
    state: Mapped[str]
    reason: Mapped[str | None]
    kind: Mapped[str | None]
    ref: Mapped[str | None]
    commit: Mapped[str | None]
    actor: Mapped[str | None]
    title: Mapped[str | None]
    words: Mapped[str]
    headers: Mapped[dict[str, Any]]
    body: Mapped[bytes | None]
    body_sha256: Mapped[str]
    steps: Mapped[list[Any]]
    events: Mapped[list[DeliveryEvent]] = relationship(order_by="DeliveryEvent.position")


class DeliveryEvent(Base):
    """One thing that a delivery announces: a ref as a rule, and there may be several in one push.

    `commit` is what the ref holds after it, `before` what it held; `reason` why it started nothing, None
    where it started a build.
    """

    __tablename__ = "delivery_event"
    __table_args__ = (
        Index("ix_delivery_event_ref", "source_id", "ref", "delivery_id"),
        Index("ix_delivery_event_commit", "source_id", "commit"),
    )

    delivery_id: Mapped[str] = mapped_column(ForeignKey("delivery.id"), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"))
    kind: Mapped[str]
    ref: Mapped[str | None]
    commit: Mapped[str | None]
    before: Mapped[str | None]
    title: Mapped[str | None]
    reason: Mapped[str | None]


@event.listens_for(Delivery, "before_insert")
@event.listens_for(Delivery, "before_update")
def _gather_words(_mapper: Mapper[Any], _connection: Connection, row: Delivery) -> None:
    """Neither database would read a column of its own making from an index."""
    texts = [
        *(row.id, row.key and row.key[:200], row.reason, row.kind, row.ref and row.ref[:200], row.commit),
        *(row.actor and row.actor[:100], row.title and row.title[:200], _id_of_sender(row)),
    ]
    for event_row in row.events[1:]:
        texts += [event_row.ref, event_row.commit]
    words = " ".join(filter(None, texts)).lower()
    row.words = words.encode()[:_WORDS_BYTES].decode(errors="ignore")


def _id_of_sender(row: Delivery) -> str | None:
    """The SCM's own id of a call, which people read there, where it is not in the key.

    A refused call has no key, and that of a command is its comment's.
    """
    given = scm_for(row.scm).delivery_id(row.headers) if row.headers else None
    return None if not given or (row.key or "").startswith(given) else given[:200]


class Sighting(Base):
    """What the sweep last saw of a source's repository; see `scm.healing`.

    `first_refs` is what each branch and tag held when it was first seen, None before that: it is history,
    and not built. `in_step_at` is when every followed ref was last found built. `failures` counts the looks
    since then that came to nothing, `problem` and `code` say what happened to the last of them.
    """

    __tablename__ = "sighting"

    source_id: Mapped[str] = mapped_column(ForeignKey("source.id"), primary_key=True)
    first_refs: Mapped[dict[str, Any] | None] = mapped_column(Json, deferred=True)
    next_at: Mapped[datetime] = mapped_column(index=True)
    in_step_at: Mapped[datetime | None]
    failures: Mapped[int]
    problem: Mapped[str | None]
    code: Mapped[str | None]
