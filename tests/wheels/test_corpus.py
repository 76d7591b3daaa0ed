"""The committed inputs of the fuzzer hold what every input has to hold."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.wheels.targets import CORPUS, TARGETS

INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", INPUTS, ids=[f"{path.parent.name}-{path.name}" for path in INPUTS])
def test_an_input_of_the_corpus_gives_facts_or_a_refusal(path):
    TARGETS[path.parent.name](path.read_bytes())


PIECE = st.sampled_from([b"", b"\0", b"\xff", b"PK\1\2", b"PK\3\4", b"PK\5\6", b"../", b"/", b"path=x\n"])
EDIT = st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 4), PIECE | st.binary(max_size=4))


@settings(max_examples=150)
@given(path=st.sampled_from(INPUTS), edits=st.lists(EDIT, max_size=3))
def test_an_edited_input_gives_facts_that_two_readers_share_or_a_refusal(path, edits):
    data = path.read_bytes()
    for where, cut, piece in edits:
        at = int(where * len(data))
        data = data[:at] + piece + data[at + cut :]
    TARGETS[path.parent.name](data)


def test_every_target_has_inputs():
    assert {path.parent.name for path in INPUTS} == set(TARGETS)
