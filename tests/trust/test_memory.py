from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from buildfarm.errors import EnvironmentProblem, IntegrityFailure
from buildfarm.journal import merkle
from buildfarm.trust.memory import CheckpointMemory
from buildfarm.trust.note import Checkpoint

LOG = bytes(32)


@pytest.fixture
def log(kit):
    return kit.Log()


@pytest.fixture
def memory(tmp_path):
    return CheckpointMemory(tmp_path / "state" / "checkpoints.json")


def states(log, *sizes):
    found = {}
    while log.size < max(sizes):
        log.append(b"row %d" % log.size)
        found[log.size] = Checkpoint("farm.example/log", log.size, log.root)
    return [found[size] for size in sizes]


def prover(log):
    return lambda old, new: merkle.consistency_proof(old, new, log.get)


def test_growth_is_remembered_across_processes(memory, log, tmp_path):
    three, nine = states(log, 3, 9)
    assert "first" in memory.see(LOG, three)
    assert "grown from 3 to 9" in memory.see(LOG, nine, prover(log))
    again = CheckpointMemory(tmp_path / "state" / "checkpoints.json")
    assert "same" in again.see(LOG, nine)
    assert "older" in again.see(LOG, three, prover(log))


def test_another_root_at_the_same_size_is_a_fork(memory, log):
    (three,) = states(log, 3)
    memory.see(LOG, three)
    with pytest.raises(IntegrityFailure) as refused:
        memory.see(LOG, Checkpoint(three.origin, 3, bytes(32)))
    assert refused.value.code == "memory.fork"
    assert refused.value.facts["expected"] != refused.value.facts["got"]


def test_growth_out_of_another_history_is_a_fork(memory, log, kit):
    (three,) = states(log, 3)
    memory.see(LOG, three)
    other = kit.Log()
    other.append(b"forged")
    (nine,) = states(other, 9)
    with pytest.raises(IntegrityFailure):
        memory.see(LOG, nine, prover(other))
    assert "same" in memory.see(LOG, three)


def test_an_older_state_of_another_history_is_a_fork(memory, log, kit):
    (nine,) = states(log, 9)
    memory.see(LOG, nine)
    other = kit.Log()
    other.append(b"forged")
    (three,) = states(other, 3)
    with pytest.raises(IntegrityFailure):
        memory.see(LOG, three, prover(log))


def test_a_head_that_shrank_is_a_rollback(memory, log):
    three, nine = states(log, 3, 9)
    memory.head(LOG, nine)
    with pytest.raises(IntegrityFailure) as refused:
        memory.head(LOG, three, prover(log))
    assert refused.value.code == "memory.rollback"
    assert "same" in memory.head(LOG, nine)


def test_logs_are_remembered_apart(memory, log):
    (three,) = states(log, 3)
    memory.see(LOG, three)
    assert "first" in memory.see(b"\x01" * 32, Checkpoint("other/log", 1, bytes(32)))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60) | st.sampled_from([b"[]", b'{"a": 1}', b'{"a": {"size": "x"}}', b"null"]))
def test_a_garbage_state_file_says_what_to_do(memory, log, tmp_path, data):
    (tmp_path / "state").mkdir(exist_ok=True)
    (tmp_path / "state" / "checkpoints.json").write_bytes(data)
    with pytest.raises(EnvironmentProblem) as refused:
        memory.see(LOG, Checkpoint("farm.example/log", 1, bytes(32)))
    assert "delete it" in refused.value.hint
