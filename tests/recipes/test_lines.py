import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.recipes.lines import key_lines

DOCUMENT = '''\
# a comment with [brackets] and = signs
title = "x"  # another
"quoted.key" = 'lit # eral'
a.b.c = 1

[table]
text = """
fake = 1
[fake]
""" # after
raw = \'\'\'
[also.fake]\'\'\'
list = [
  "one", # ]
  [2, 3],
  { x = 1, "y z" = [ 4 ] },
]
date = 1979-05-27 07:32:00

[[things]]
name = 1
[things.inner]
deep = true

[[things]]
name = 2
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        (("title",), 2),
        (("quoted.key",), 3),
        (("a", "b", "c"), 4),
        (("table",), 6),
        (("table", "text"), 7),
        (("table", "raw"), 11),
        (("table", "list"), 13),
        (("table", "list", 0), 14),
        (("table", "list", 1, 1), 15),
        (("table", "list", 2, "x"), 16),
        (("table", "list", 2, "y z", 0), 16),
        (("table", "date"), 18),
        (("things",), 20),
        (("things", 0, "name"), 21),
        (("things", 0, "inner", "deep"), 23),
        (("things", 1, "name"), 26),
    ],
)
def test_each_key_has_its_line(path, line):
    assert key_lines(DOCUMENT)[path] == line


def test_text_that_only_looks_like_a_key_is_none():
    assert not {("fake",), ("table", "fake"), ("also",)} & set(key_lines(DOCUMENT))


def test_windows_line_ends_count_once():
    assert key_lines("a = 1\r\n\r\nb = 2\r\n")[("b",)] == 3


@pytest.mark.parametrize(
    "text", ['a = """"quotes""""\nb = 1', "a = '''''x'''''\nb = 1", 'a = """\\"""""\nb = 1']
)
def test_quotes_beside_the_end_of_a_text_belong_to_it(text):
    tomllib.loads(text)
    assert key_lines(text)[("b",)] == 2


NAMES = st.text(alphabet="ab-_1", min_size=1, max_size=4) | st.text(
    alphabet='a".# =\\[é', min_size=1, max_size=4
)
TEXTS = st.text(alphabet="ab#[]{}=,.'\" \\\t", max_size=8)


def basic(text):
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\t", "\\t") + '"'


VALUES = st.recursive(
    st.integers().map(str)
    | TEXTS.map(basic)
    | st.just("'''\n# [x]\ny = 1\n'''")
    | st.just("1979-05-27 07:32:00"),
    lambda inner: st.lists(inner, max_size=3).map(lambda items: "[\n" + " ,# ]\n".join(items) + "\n]"),
    max_leaves=5,
)


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(NAMES, st.lists(st.tuples(NAMES, VALUES), max_size=4, unique_by=lambda pair: pair[0])),
        max_size=4,
        unique_by=lambda table: table[0],
    )
)
def test_the_scanner_sees_the_keys_that_tomllib_sees_where_they_were_written(tables):
    text, expected = "# top\n", {}
    for table, pairs in tables:
        expected[(table,)] = text.count("\n") + 1
        text += f"[ {basic(table)} ] # [no]\n"
        for name, value in pairs:
            expected[(table, name)] = text.count("\n") + 1
            text += f"{basic(name)}={value}\n"
    data = tomllib.loads(text)
    lines = key_lines(text)
    assert {path: line for path, line in lines.items() if len(path) <= 2} == expected
    assert {path for path in lines if len(path) == 1} == {(key,) for key in data}


@settings(max_examples=150)
@given(st.text(alphabet="ab.=[]{}\"'#\n\\ ,1", max_size=30))
def test_whatever_tomllib_takes_the_scanner_takes_and_finds_every_key(text):
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    assert paths(data) <= set(key_lines(text))


def paths(value, at=()):
    found = set()
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found |= {(*at, key)} | paths(inner, (*at, key))
    return found
