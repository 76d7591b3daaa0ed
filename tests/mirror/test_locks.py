from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.errors import InvalidInput
from buildfarm.mirror.locks import parse

A, B = "a" * 64, "b" * 64

REQUIREMENTS = f"""
# a comment
--index-url https://example.invalid/simple/
-r other.txt
flask==3.1.0 \\
    --hash=sha256:{A} \\
    --hash=sha256:{B.upper()}   # via -r in.txt
MarkupSafe[x]>=2 ; python_version > "3"
-e ./here
idna
here @ file:///tmp/here
"""

UV = f"""
version = 1
requires-python = ">=3.11"

[[package]]
name = "Idna"
version = "3.10"
source = {{ registry = "https://example.invalid/simple" }}
sdist = {{ url = "https://example.invalid/idna-3.10.tar.gz", hash = "sha256:{A}", size = 1 }}
wheels = [{{ url = "https://example.invalid/idna-3.10-py3-none-any.whl", hash = "sha256:{B}" }}]

[[package]]
name = "mine"
version = "0"
source = {{ virtual = "." }}
"""

PYLOCK = f"""
lock-version = "1.0"
created-by = "test"

[[packages]]
name = "idna"
version = "3.10"

[[packages.wheels]]
name = "idna-3.10-py3-none-any.whl"
url = "https://example.invalid/idna-3.10-py3-none-any.whl"
hashes = {{ sha256 = "{B}" }}

[[packages]]
name = "mine"

[packages.directory]
path = "."
"""


def test_requirements_give_names_versions_and_digests():
    found = parse(REQUIREMENTS)
    assert [(one.project, str(one.specifier), one.sha256) for one in found] == [
        ("flask", "==3.1.0", {A, B}),
        ("markupsafe", ">=2", frozenset()),
        ("idna", "", frozenset()),
    ]


@pytest.mark.parametrize(("text", "digests"), [(UV, {A, B}), (PYLOCK, {B})])
def test_lock_files_give_exact_versions_and_digests(text, digests):
    found = parse(text)
    assert [(one.project, str(one.specifier), one.sha256) for one in found] == [("idna", "==3.10", digests)]


@pytest.mark.parametrize(
    "text",
    [
        "flask == == 3",
        'lock-version = "1.0"\npackages = 3',
        'title = "no lock"',
        '[[package]]\nname = "x"',
        "[[package]]\nsource = 3",
    ],
)
def test_what_is_no_lock_is_refused_with_a_sentence(text):
    with pytest.raises(InvalidInput) as caught:
        parse(text)
    assert caught.value.code == "lock.syntax"


def test_an_empty_file_wants_nothing():
    assert parse("") == parse("# nothing\n") == []


@given(st.text(max_size=200) | st.sampled_from([REQUIREMENTS, UV, PYLOCK]).map(lambda text: text[::-1]))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(InvalidInput):
        parse(text)
