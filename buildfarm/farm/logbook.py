"""What people see of an attempt's log: its sections, and windows of whole segments.

A log may have a million lines. Its outline reads no text, and text is read a bounded window at a
time, so that a page costs the same whatever the log's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.farm import logs
from buildfarm.farm.logs import Line
from buildfarm.farm.model import LogSegment


@dataclass(frozen=True)
class Section:
    """A run of lines of one phase.

    `first` and `last` are line numbers; `start` and `end` byte offsets of the log as stored, where
    segments begin; `began_ms` is the time of its first line and `ended_ms` that of the next section's
    (of the last line, where none follows), epoch milliseconds.
    """

    phase: str
    first: int
    last: int
    start: int
    end: int
    began_ms: int
    ended_ms: int

    @property
    def seconds(self) -> float:
        """How long the phase took."""
        return max(0, self.ended_ms - self.began_ms) / 1000


def outline(session: Session, job_id: str, number: int) -> list[Section]:
    """The sections of an attempt's log, in order; empty while nothing was printed."""
    found = session.execute(
        select(LogSegment.start, LogSegment.size, LogSegment.line, LogSegment.phase)
        .where(LogSegment.job_id == job_id, LogSegment.attempt == number)
        .order_by(LogSegment.start)
    ).all()
    runs: list[list[tuple[int, int, int]]] = []
    phases: list[str] = []
    for start, size, line, phase in found:
        if not phases or phases[-1] != phase:
            phases.append(phase)
            runs.append([])
        runs[-1].append((start, size, line))
    edges = {start for run in runs for start in (run[0][0], run[-1][0])}
    times = _times(session, job_id, number, edges)
    sections: list[Section] = []
    for phase, run in zip(reversed(phases), reversed(runs), strict=True):
        (start, _, first), (last_start, last_size, last_line) = run[0], run[-1]
        closing = sections[-1].began_ms if sections else times[last_start][-1]
        last = last_line + len(times[last_start]) - 1
        sections.append(Section(phase, first, last, start, last_start + last_size, times[start][0], closing))
    return sections[::-1]


def window(session: Session, job_id: str, number: int, first: int, last: int) -> list[Line]:
    """The lines from number `first` to `last`, both included, as far as there are any."""
    begin = session.scalar(
        select(LogSegment.start)
        .where(LogSegment.job_id == job_id, LogSegment.attempt == number, LogSegment.line <= first)
        .order_by(LogSegment.line.desc())
        .limit(1)
    )
    held = session.scalars(
        select(LogSegment)
        .where(
            LogSegment.job_id == job_id,
            LogSegment.attempt == number,
            LogSegment.start >= (begin or 0),
            LogSegment.line <= last,
        )
        .order_by(LogSegment.start)
    )
    return [line for segment in held for line in logs.lines(segment) if first <= line.number <= last]


def _times(
    session: Session, job_id: str, number: int, starts: Sequence[int] | set[int]
) -> dict[int, list[int]]:
    found = session.execute(
        select(LogSegment.start, LogSegment.times).where(
            LogSegment.job_id == job_id, LogSegment.attempt == number, LogSegment.start.in_(starts)
        )
    )
    return {row.start: row.times for row in found}
