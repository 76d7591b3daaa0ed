from __future__ import annotations

import gzip
import zlib

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.index.runs import Piece, Runs, Stream, ends_run, gzip_of, zstd_of

NAMES = st.text("abcdefgh", min_size=1, max_size=3)


def unzstd(data: bytes) -> bytes:
    return zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True).read()


@given(st.lists(st.binary(max_size=3000), max_size=6))
def test_joined_pieces_are_the_joined_bytes(parts: list[bytes]) -> None:
    pieces = [Piece.of(part, zstd=True) for part in parts]
    member = gzip_of(pieces)
    inflate = zlib.decompressobj(31)
    # One member: nothing is left for a second one, which some clients would not read.
    assert inflate.decompress(member) == b"".join(parts)
    assert (inflate.eof, inflate.unused_data) == (True, b"")
    assert unzstd(zstd_of(pieces)) == b"".join(parts)


def is_even(name: str) -> bool:
    return len(name) % 2 == 0


def made(names: set[str]) -> Runs[str]:
    return Runs(names, key=str, ends=lambda name: zlib.crc32(name.encode()) % 3 == 0)


@given(
    st.sets(NAMES, max_size=30),
    st.lists(st.tuples(st.sets(NAMES, max_size=3), st.sets(NAMES, max_size=3)), max_size=6),
)
def test_whatever_changes_led_there_equal_pages_are_equal_bytes(before, changes) -> None:
    stream = Stream(str.encode, b",", zstd=True)
    runs, names = made(before), set(before)
    for old, new in changes:
        runs.change(old, new)
        names = (names - old) | new
        assert list(runs) == sorted(names)
        assert runs.last(is_even) == max(filter(is_even, names), default=None)
        pieces, fresh = (
            runs.pieces(b"[", stream, b"]", zstd=True),
            made(names).pieces(b"[", stream, b"]", zstd=True),
        )
        assert gzip.decompress(gzip_of(pieces)).decode() == f"[{','.join(sorted(names))}]"
        assert (gzip_of(pieces), zstd_of(pieces)) == (gzip_of(fresh), zstd_of(fresh))
        assert all((runs.get(name) == name) == (name in names) for name in names | old | new | {"zzz", "a"})


def test_an_item_takes_the_place_of_one_of_its_key() -> None:
    runs = Runs([("a", 1), ("b", 1)], key=lambda item: item[0], ends=lambda item: item[0] == "a")
    runs.change([], [("b", 2)])
    assert list(runs) == [("a", 1), ("b", 2)]


def test_a_change_costs_one_run() -> None:
    asked = []

    def text(name: str) -> bytes:
        asked.append(name)
        return name.encode()

    stream: Stream[str] = Stream(text)
    names = [f"{number:05}" for number in range(5000)]
    runs = Runs(names, key=str, ends=lambda name: ends_run(name, 64))
    runs.pieces(stream)
    assert len(asked) == 5000
    asked.clear()
    runs.change([], ["02500x"])
    page = gzip.decompress(gzip_of(runs.pieces(stream)))
    assert page == "".join(sorted([*names, "02500x"])).encode()
    assert len(asked) < 800


@pytest.mark.parametrize("size", [0, 1, 5, 255, 70_000])
def test_the_checksum_of_a_whole_follows_from_its_parts(size: int) -> None:
    data = bytes(number % 251 for number in range(size))
    pieces = [Piece.of(b"head", zstd=False), Piece.of(data, zstd=False), Piece.of(b"", zstd=False)]
    assert gzip.decompress(gzip_of(pieces)) == b"head" + data
