"""Compressed pages joined from runs that are deflated on their own: a change costs one run and a join.

A page is lines in an order. They are kept in runs, each ended by a flush that the next one does not look
behind; gzip is then one member over all of them (RFC 1952; the checksum of the whole follows from those
of its parts), zstd one frame for each (RFC 8878 section 3). Where a run ends is decided by its last line
alone, so that equal pages are equal bytes, whatever changes led there.
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Generic, TypeVar

import zstandard

_GZIP_HEAD = bytes([0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 0xFF])
_DEFLATE_END = b"\x03\x00"
_ZSTD = zstandard.ZstdCompressor(level=1)
_POLYNOMIAL = 0xEDB88320

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes that were compressed on their own."""

    size: int
    crc: int
    deflated: bytes
    zstd: bytes

    @classmethod
    def of(cls, raw: bytes, *, zstd: bool) -> Piece:
        """The bytes, compressed."""
        deflate = zlib.compressobj(6, zlib.DEFLATED, -15)
        deflated = deflate.compress(raw) + deflate.flush(zlib.Z_FULL_FLUSH)
        return cls(len(raw), zlib.crc32(raw), deflated, _ZSTD.compress(raw) if zstd else b"")


def gzip_of(pieces: Sequence[Piece]) -> bytes:
    """One gzip member of all pieces."""
    crc = size = 0
    for piece in pieces:
        crc = _times(_power(piece.size), crc) ^ piece.crc if size else piece.crc
        size += piece.size
    tail = struct.pack("<LL", crc, size & 0xFFFFFFFF)
    return b"".join([_GZIP_HEAD, *(piece.deflated for piece in pieces), _DEFLATE_END, tail])


def zstd_of(pieces: Sequence[Piece]) -> bytes:
    """One zstd frame for each piece."""
    return b"".join([piece.zstd for piece in pieces])


@dataclass(frozen=True)
class Stream(Generic[Item]):
    """What items look like in one place of one page: the text of each, and what stands between two."""

    text: Callable[[Item], bytes]
    between: bytes = b""
    zstd: bool = False


class Run(Generic[Item]):
    """Neighbours in a page, and what was made of them."""

    def __init__(self, items: list[Item]) -> None:
        self.items = items
        self._pieces: dict[tuple[int, bool], Piece] = {}
        self._lasts: dict[Callable[[Item], bool], Item | None] = {}

    def text(self, stream: Stream[Item], *, is_first: bool) -> bytes:
        """All items as they stand in a stream, with what parts them from the run before."""
        text = stream.between.join(map(stream.text, self.items))
        return text if is_first else stream.between + text

    def piece(self, stream: Stream[Item], *, is_first: bool) -> Piece:
        """The same, compressed once."""
        key = id(stream), is_first
        piece = self._pieces.get(key)
        if piece is None:
            text = self.text(stream, is_first=is_first)
            piece = self._pieces[key] = Piece.of(text, zstd=stream.zstd)
        return piece

    def last(self, wanted: Callable[[Item], bool]) -> Item | None:
        """The last item that is wanted, looked for once."""
        if wanted not in self._lasts:
            self._lasts[wanted] = next(filter(wanted, reversed(self.items)), None)
        return self._lasts[wanted]


class Runs(Generic[Item]):
    """Items in the order of `key`, in runs that end where `ends` says."""

    def __init__(
        self, items: Iterable[Item], key: Callable[[Item], Any], ends: Callable[[Item], bool]
    ) -> None:
        self._key, self._ends = key, ends
        self._runs = self._cut(sorted(items, key=key))

    def __iter__(self) -> Iterator[Item]:
        return (item for run in self._runs for item in run.items)

    def __bool__(self) -> bool:
        return bool(self._runs)

    def get(self, key: Any) -> Item | None:  # noqa: ANN401 - whatever has an order
        """The item of a key."""
        items = self._runs[self._place(key)].items if self._runs else []
        where = bisect_left(items, key, key=self._key)
        return items[where] if where < len(items) and self._key(items[where]) == key else None

    def last(self, wanted: Callable[[Item], bool]) -> Item | None:
        """The last item that is wanted; a run that did not change is not looked through again."""
        found = (run.last(wanted) for run in reversed(self._runs))
        return next((item for item in found if item is not None), None)

    def change(self, old: Iterable[Item], new: Iterable[Item]) -> None:
        """Take items away and put others in; an item takes the place of one of the same key."""
        for item in old:
            self._replace(self._key(item), [])
        for item in new:
            self._replace(self._key(item), [item])

    def pieces(self, *parts: bytes | Stream[Item], zstd: bool = False) -> list[Piece]:
        """A page: its constant parts, and the runs as each stream shows them."""
        if len(self._runs) < 2:
            whole = b"".join(
                part
                if isinstance(part, bytes)
                else b"".join(run.text(part, is_first=True) for run in self._runs)
                for part in parts
            )
            return [Piece.of(whole, zstd=zstd)]
        made = []
        for part in parts:
            if isinstance(part, bytes):
                made.append(Piece.of(part, zstd=zstd))
                continue
            made += [run.piece(part, is_first=not number) for number, run in enumerate(self._runs)]
        return made

    def _replace(self, key: Any, items: list[Item]) -> None:  # noqa: ANN401 - whatever has an order
        """Put `items` (of that key, one at most) where items of the key are."""
        if not self._runs:
            self._runs = self._cut(items)
            return
        place = self._place(key)
        run = self._runs[place].items
        where = bisect_left(run, key, key=self._key)
        stop = where + (where < len(run) and self._key(run[where]) == key)
        if run[where:stop] == items:
            return
        run = run[:where] + items + run[stop:]
        last = place + 1
        if last < len(self._runs) and not (run and self._ends(run[-1])):
            # What ended this run is gone, so the next one goes on from here.
            run, last = run + self._runs[last].items, last + 1
        # Nothing but what stands round the change may end a run before its last item does.
        round_it = (where, where + len(items))
        cuts = [0, *(end for end in round_it if end and self._ends(run[end - 1])), len(run)]
        self._runs[place:last] = [Run(run[start:end]) for start, end in pairwise(cuts) if start < end]

    def _place(self, key: Any) -> int:  # noqa: ANN401
        """The run that has or would have the key: the first one whose last item is not before it."""
        place = bisect_left(self._runs, key, key=lambda run: self._key(run.items[-1]))
        return min(place, len(self._runs) - 1)

    def _cut(self, items: list[Item]) -> list[Run[Item]]:
        runs, start = [], 0
        for number, item in enumerate(items, 1):
            if self._ends(item) or number == len(items):
                runs.append(Run(items[start:number]))
                start = number
        return runs


def ends_run(text: str, span: int) -> bool:
    """Whether a line of this name ends its run: one of `span` does, everywhere the same ones."""
    return zlib.crc32(text.encode()) % span == 0


def _times(a: int, b: int) -> int:
    """The product of two polynomials over GF(2), modulo that of CRC-32 (bits reversed, as zlib has them)."""
    product, mask = 0, 1 << 31
    while a:
        if a & mask:
            product ^= b
            a ^= mask
        mask >>= 1
        b = (b >> 1) ^ _POLYNOMIAL if b & 1 else b >> 1
    return product


def _squares() -> list[int]:
    powers = [1 << 30]
    for _ in range(63):
        powers.append(_times(powers[-1], powers[-1]))
    return powers


_SQUARES = _squares()


@lru_cache(maxsize=4096)
def _power(size: int) -> int:
    """X to the number of bits in `size` bytes: what a checksum is multiplied by when they are appended."""
    power, number = 1 << 31, 3
    while size:
        if size & 1:
            power = _times(_SQUARES[number], power)
        size >>= 1
        number += 1
    return power
