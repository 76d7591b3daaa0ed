"""Log lines become HTML that cannot be anything but text and colours."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from webapp.pages import ansi

SPAN = re.compile(r'</?span(?: class="[a-z0-9 ]+")?>')
PIECES = st.sampled_from(
    [
        "\x1b[31m",
        "\x1b[0m",
        "\x1b[1;38;5;9m",
        "\x1b[38;2;1;2;3m",
        "\x1b[38;5m",
        "\x1b[K",
        "\x1b]0;title\x07",
        "\x1b]8;;",
        "\x1b",
        "\x9b31m",
        "\x1b[",
        "\x1bM",
        "\r",
        "\t",
        "<b>",
        "&lt;",
        '"',
        "\u202e",
        "m",
        "\x08",
    ]
)
TEXT = st.text(st.characters(exclude_characters="\n"), max_size=8)
LINES = st.lists(PIECES | TEXT, max_size=12).map("".join)


class Reader(HTMLParser):
    """Collects tags and text as a browser would."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.open = "", 0

    def handle_starttag(self, tag, attrs):
        assert tag == "span"
        assert [name for name, _ in attrs] == ["class"]
        self.open += 1

    def handle_endtag(self, tag):
        self.open -= 1

    def handle_data(self, data):
        self.text += data


@settings(max_examples=400)
@given(LINES)
def test_html_holds_only_spans_and_its_text_is_the_stripped_line(line):
    html = ansi.html(line)
    assert "<" not in SPAN.sub("", html)
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.text == ansi.strip(line)
    assert reader.open == 0


@settings(max_examples=400)
@given(LINES)
def test_a_stripped_line_holds_nothing_a_terminal_acts_on(line):
    stripped = ansi.strip(line)
    assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", stripped)
    assert ansi.strip(stripped) == stripped


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["C"]), max_size=40))
def test_plain_text_stays_as_it_is(line):
    assert ansi.strip(line) == line


@pytest.mark.parametrize(
    ("line", "html"),
    [
        ("\x1b[31mred\x1b[0m plain", '<span class="c31">red</span> plain'),
        ("\x1b[1;91mx\x1b[22my", '<span class="bold c91">x</span><span class="c91">y</span>'),
        ("\x1b[mnone\x1b[38;5;2mgreen", 'none<span class="c32">green</span>'),
        ("\x1b[38;5;9mbright\x1b[39m.", '<span class="c91">bright</span>.'),
        ("\x1b[38;2;255;0;0;1mbold", '<span class="bold">bold</span>'),
        ("\x1b[48;5;1mback", "back"),
        ("10%\r50%\r100%", "100%"),
        ("done\r", "done"),
        ("\x1b]0;evil title\x07text", "text"),
        ("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b[2J\x1b[1;1Hcleared", "cleared"),
        ("<script>", "&lt;script&gt;"),
    ],
)
def test_what_a_sequence_becomes(line, html):
    assert ansi.html(line) == html
