from __future__ import annotations

import gzip
from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from hypothesis import given
from hypothesis import strategies as st

from buildfarm.index.feeds import Item, feed

AT = datetime(2026, 1, 1, tzinfo=UTC)


@given(st.text(st.characters(max_codepoint=0x7F)))
def test_a_feed_is_xml_whatever_a_summary_holds(summary: str) -> None:
    body = gzip.decompress(feed("title", "http://farm/", [Item("a 1.0", "http://farm/a", summary, AT)]))
    shown = ET.fromstring(body).findtext("channel/item/description") or ""  # noqa: S314
    kept = "".join(each for each in summary if each >= " " or each in "\t\n\r")
    assert shown == kept.replace("\r\n", "\n").replace("\r", "\n")
