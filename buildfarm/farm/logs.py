"""Logs of attempts: segments of whole lines in SQL, committed before they are acknowledged or shown.

The builder sends (offset, phase, text, times); the offset counts the bytes it sent before, so a
resend is recognised and answered with the size in store. Secrets are masked before storage, line by
line: segments never cut a line, so nothing can hide on a border.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from buildfarm import log
from buildfarm.errors import Conflict, InvalidInput, LimitExceeded, NotFound
from buildfarm.farm.model import Attempt, LogSegment

SEGMENT_BYTES = 64 * 1024


@dataclass(frozen=True)
class Line:
    """One line as a page shows it: number from 1, phase, epoch milliseconds, text without its newline."""

    number: int
    phase: str
    at_ms: int
    text: str


def append(
    session: Session,
    job_id: str,
    number: int,
    *,
    offset: int,
    phase: str,
    text: str,
    times: list[int],
    max_bytes: int,
) -> int:
    """Store one segment of the attempt's log; returns the bytes received so far.

    A resend of what is stored changes nothing.

    Raises:
        InvalidInput: `log.segment`, not whole lines, too large, or not one time for each line.
        Conflict: `log.offset`, a gap: the builder must go on from the size in `facts`.
        LimitExceeded: `log.too_large`.
    """
    size = len(text.encode())
    lines = text.count("\n")
    if not text.endswith("\n") or size > SEGMENT_BYTES or len(times) != lines or "\0" in text:
        raise InvalidInput(
            "A log segment is whole lines of at most 64 KiB, a time for each.", code="log.segment"
        )
    # The lock puts segments that come at once, a resend and its original, one behind the other.
    attempt = session.get_one(Attempt, (job_id, number), with_for_update=True, populate_existing=True)
    last = session.scalars(
        select(LogSegment)
        .where(LogSegment.job_id == job_id, LogSegment.attempt == number)
        .order_by(LogSegment.start.desc())
        .limit(1)
    ).first()
    received = last.received + last.received_size if last else 0
    if offset < received:
        return received
    if offset > received:
        raise Conflict(
            f"The log has {received} bytes; {offset} would leave a gap.", code="log.offset", size=received
        )
    if received + size > max_bytes:
        raise LimitExceeded(f"The log is larger than {max_bytes} bytes.", code="log.too_large")
    masked = log.mask(text)
    stored = len(masked.encode())
    start = last.start + last.size if last else 0
    session.add(
        LogSegment(
            job_id=job_id,
            attempt=number,
            start=start,
            size=stored,
            received=received,
            received_size=size,
            line=attempt.log_lines + 1,
            phase=phase,
            text=masked,
            times=times,
        )
    )
    attempt.log_bytes = start + stored
    attempt.log_lines += lines
    return received + size


def segments(session: Session, job_id: str, number: int, start: int = 0, limit: int = 64) -> list[LogSegment]:
    """Stored segments from the byte offset on; `start` must be where one begins."""
    return list(
        session.scalars(
            select(LogSegment)
            .where(LogSegment.job_id == job_id, LogSegment.attempt == number, LogSegment.start >= start)
            .order_by(LogSegment.start)
            .limit(limit)
        )
    )


def lines(segment: LogSegment) -> Iterator[Line]:
    """The lines of one segment."""
    for index, text in enumerate(segment.text.split("\n")[:-1]):
        yield Line(segment.line + index, segment.phase, segment.times[index], text)


def text(session: Session, job_id: str, number: int) -> Iterator[str]:
    """The whole log, segment by segment, as it is downloaded."""
    start = 0
    while found := segments(session, job_id, number, start):
        for segment in found:
            yield segment.text
        start = found[-1].start + found[-1].size


def seal(session: Session, job_id: str, number: int) -> str:
    """The SHA-256 of the finished log, noted on its attempt."""
    digest = hashlib.sha256()
    for part in text(session, job_id, number):
        digest.update(part.encode())
    attempt = session.get_one(Attempt, (job_id, number))
    attempt.log_sha256 = digest.hexdigest()
    return attempt.log_sha256


def attempt_of(session: Session, job_id: str, number: int | None = None) -> Attempt:
    """The attempt, or the newest one.

    Raises:
        NotFound: `attempt.unknown`; a job that never ran has none.
    """
    wanted = (
        number or session.execute(select(func.max(Attempt.number)).where(Attempt.job_id == job_id)).scalar()
    )
    attempt = session.get(Attempt, (job_id, wanted)) if wanted else None
    if attempt is None:
        raise NotFound(f"Job {job_id} has no such attempt.", code="attempt.unknown")
    return attempt
