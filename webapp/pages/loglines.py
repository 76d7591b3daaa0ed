"""Log lines as HTML, and which of them a page holds: all of a short log, windows of a long one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from markupsafe import Markup
from sqlalchemy.orm import Session

from buildfarm.farm import logbook
from buildfarm.farm.logbook import Section
from buildfarm.farm.logs import Line
from webapp.pages import ansi

#: Lines of a log that a page holds as a whole.
WHOLE = 2000
#: Lines of a log without an error whose sections are all open.
SHORT = 200
#: Lines of one list element: the browser lays out only those in view (`content-visibility`).
CHUNK = 250
#: Lines at each end of a section of a longer log, at the end of its telling one, around a wanted line.
EDGE, TAIL, AROUND = 50, 500, 150
#: Characters of a line that a page shows; the download has them all.
_WIDTH = 4000


@dataclass(frozen=True)
class Piece:
    """Consecutive lines of a section: drawn ones in `chunks`, or a gap that can be asked for."""

    first: int
    last: int
    chunks: tuple[Markup, ...] = ()


@dataclass(frozen=True)
class Part:
    """A section with its pieces; `is_open` when it is what the reader came for."""

    section: Section
    is_open: bool
    pieces: tuple[Piece, ...]


def parts(
    session: Session,
    job_id: str,
    number: int,
    sections: Sequence[Section],
    wanted: int | None,
    *,
    hit: int | None,
) -> list[Part]:
    """The log of an attempt as a page draws it: around `wanted`, `hit` marked, the telling section open."""
    telling = _telling(sections, wanted or hit)
    length = sections[-1].last if sections else 0
    whole, short = length <= WHOLE, length <= SHORT and not (hit or wanted)
    made = []
    for section in sections:
        is_open = short or section is telling
        spans = [(section.first, section.last)] if whole else _spans(section, is_open, (wanted, hit))
        drawn = [
            Piece(first, last, chunks(logbook.window(session, job_id, number, first, last), hit, whole=whole))
            for first, last in spans
        ]
        made.append(Part(section, is_open, tuple(_with_gaps(drawn))))
    return made


def chunks(lines: Sequence[Line], hit: int | None = None, *, whole: bool = True) -> tuple[Markup, ...]:
    """Lines as `<li>` elements, in runs of `CHUNK`."""
    return tuple(
        Markup("").join(_item(line, line.number == hit, whole) for line in lines[at : at + CHUNK])
        for at in range(0, len(lines), CHUNK)
    )


def plain(lines: Iterable[Line]) -> str:
    """Lines as a download holds them: no control sequence that a terminal would act on."""
    return "".join(f"{ansi.strip(line.text)}\n" for line in lines)


def _item(line: Line, is_hit: bool, whole: bool) -> Markup:
    text, rest = line.text[:_WIDTH], len(line.text) - _WIDTH
    clock = datetime.fromtimestamp(line.at_ms / 1000, UTC).strftime("%H:%M:%S")
    more = f'<i class="more">… {rest} more characters in the download</i>' if rest > 0 else ""
    # A link has to lead to its line from anywhere; in a page of windows the server must know which.
    target = f"#L{line.number}" if whole else f"?line={line.number}#L{line.number}"
    return Markup(  # noqa: S704 - `ansi.html` escapes; everything else is a number
        f'<li id="L{line.number}" data-t="{clock}"{" class=hit" if is_hit else ""}>'
        f'<a href="{target}">{line.number}</a><span>{ansi.html(text)}{more}</span></li>'
    )


def _telling(sections: Sequence[Section], line: int | None) -> Section | None:
    """The section that holds the line, else the last one."""
    holding = [one for one in sections if line and one.first <= line <= one.last]
    return holding[0] if holding else (sections[-1] if sections else None)


def _spans(section: Section, is_open: bool, lines: Sequence[int | None]) -> list[tuple[int, int]]:
    """Which lines of a long section are drawn: its ends, and the surroundings of what is asked for."""
    first, last = section.first, section.last
    spans = [(first, first + EDGE - 1), (last - (TAIL if is_open else EDGE) + 1, last)]
    spans += [(line - AROUND, line + AROUND) for line in lines if line and first <= line <= last]
    merged: list[tuple[int, int]] = []
    for low, high in sorted((max(first, low), min(last, high)) for low, high in spans):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    return merged


def _with_gaps(drawn: Sequence[Piece]) -> list[Piece]:
    pieces: list[Piece] = []
    for piece in drawn:
        if pieces and piece.first > pieces[-1].last + 1:
            pieces.append(Piece(pieces[-1].last + 1, piece.first - 1))
        pieces.append(piece)
    return pieces
