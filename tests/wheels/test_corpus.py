"""The committed inputs of the fuzzer hold what every input has to hold."""

import pytest

from tests.wheels.targets import CORPUS, TARGETS

INPUTS = sorted(path for path in CORPUS.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", INPUTS, ids=[f"{path.parent.name}-{path.name}" for path in INPUTS])
def test_an_input_of_the_corpus_gives_facts_or_a_refusal(path):
    TARGETS[path.parent.name](path.read_bytes())


def test_every_target_has_inputs():
    assert {path.parent.name for path in INPUTS} == set(TARGETS)
