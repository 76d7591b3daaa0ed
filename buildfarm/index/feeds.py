"""RSS 2.0 feeds as bytes: of a project's releases, of a channel's newest releases and projects."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from xml.sax.saxutils import escape

from buildfarm.index.runs import Piece, gzip_of

#: XML 1.0 has no way to write most control characters.
_UNWRITABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")


@dataclass(frozen=True)
class Item:
    """One entry; `link` is where a person reads on."""

    title: str
    link: str
    description: str
    at: datetime


def feed(title: str, link: str, items: Iterable[Item]) -> bytes:
    """The feed, gzip; the same items give the same bytes."""
    lines = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<rss version="2.0">',
        "<channel>",
        f"<title>{_text(title)}</title>",
        f"<link>{_text(link)}</link>",
        f"<description>{_text(title)}</description>",
        "<language>en</language>",
    ]
    for item in items:
        lines += [
            "<item>",
            f"<title>{_text(item.title)}</title>",
            f"<link>{_text(item.link)}</link>",
            f'<guid isPermaLink="true">{_text(item.link)}</guid>',
            f"<description>{_text(item.description)}</description>",
            f"<pubDate>{format_datetime(item.at.astimezone(UTC), usegmt=True)}</pubDate>",
            "</item>",
        ]
    lines += ["</channel>", "</rss>", ""]
    return gzip_of([Piece.of("\n".join(lines).encode("utf-8", "replace"), zstd=False)])


def _text(text: str) -> str:
    return escape(_UNWRITABLE.sub("", text))
