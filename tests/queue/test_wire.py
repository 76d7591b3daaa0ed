"""The serializer: what was written is read, and nothing else."""

import json
import os
import pickle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import InvalidInput
from buildfarm.farm.wire import RUN_BUILD, RUN_TASK, RefusedPayload, Wire, job_kind, rq_job_id
from buildfarm.ids import new_id

wire = Wire([RUN_TASK, RUN_BUILD])
GOOD = [RUN_TASK, None, ["job_06v9k3m2x0q4tz7w", 1, 2], {}]


def test_what_was_written_is_read():
    work_id = new_id("job")
    data = wire.dumps((RUN_BUILD, None, (work_id, 3, 1), {}))
    assert json.loads(data) == [RUN_BUILD, None, [work_id, 3, 1], {}]
    assert wire.loads(data) == (RUN_BUILD, None, (work_id, 3, 1), {})


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param(["os.system", None, GOOD[2], {}], id="a function off the list"),
        pytest.param([RUN_TASK + " ", None, GOOD[2], {}], id="nearly a function of the list"),
        pytest.param([RUN_TASK, {}, GOOD[2], {}], id="an instance"),
        pytest.param([RUN_TASK, None, GOOD[2], {"timeout": 1}], id="keywords"),
        pytest.param([RUN_TASK, None, GOOD[2], []], id="keywords of another kind"),
        pytest.param([RUN_TASK, None, [*GOOD[2], 1], {}], id="an argument too many"),
        pytest.param([RUN_TASK, None, GOOD[2][:2], {}], id="an argument too few"),
        pytest.param([RUN_TASK, None, ["../../etc/passwd", 1, 1], {}], id="an id out of its grammar"),
        pytest.param([RUN_TASK, None, ["job_06v9k3m2x0q4tz7w\n", 1, 1], {}], id="an id and a line end"),
        pytest.param([RUN_TASK, None, ["job_" + "0" * 31, 1, 1], {}], id="an id too long"),
        pytest.param([RUN_TASK, None, [GOOD[2][0], True, 1], {}], id="a boolean count"),
        pytest.param([RUN_TASK, None, [GOOD[2][0], 1.0, 1], {}], id="a fractional count"),
        pytest.param([RUN_TASK, None, [GOOD[2][0], -1, 1], {}], id="a negative count"),
        pytest.param([RUN_TASK, None, [GOOD[2][0], 1, 10**9], {}], id="a count beyond reason"),
        pytest.param({"function": RUN_TASK}, id="an object"),
        pytest.param([*GOOD, 1], id="an element too many"),
    ],
)
def test_a_payload_out_of_the_grammar_is_refused(payload):
    with pytest.raises(RefusedPayload):
        wire.loads(json.dumps(payload).encode())


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


def test_a_pickle_is_refused_and_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RefusedPayload):
        wire.loads(pickle.dumps(Bomb()))
    assert list(tmp_path.iterdir()) == []


def test_a_long_payload_is_refused_before_it_is_parsed():
    with pytest.raises(RefusedPayload, match="too long"):
        wire.loads(b"[" * 513)


def test_what_a_worker_would_refuse_is_not_written():
    with pytest.raises(RefusedPayload):
        wire.dumps(("os.system", None, ("job_06v9k3m2x0q4tz7w", 1, 1), {}))


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=600), st.text(max_size=200).map(str.encode)))
def test_any_bytes_are_refused_with_a_typed_error(data):
    with pytest.raises(RefusedPayload):
        wire.loads(data)


@settings(max_examples=300)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner)
    ),
    st.integers(0, 4),
)
def test_a_good_payload_with_one_part_changed_is_refused_or_equal(value, place):
    payload = [*GOOD[:2], list(GOOD[2]), GOOD[3]]
    payload[2 if place == 4 else place] = value
    try:
        assert wire.loads(json.dumps(payload).encode())[0] in wire.allowed
    except RefusedPayload:
        return
    assert payload[1] is None
    assert len(payload[2]) == 3


def test_job_ids_begin_with_the_kind_of_their_queue():
    assert rq_job_id("fetch", "dlv_0000000000", 1, 2) == "task_dlv_0000000000_1_2"
    queue = "build.manylinux-x86_64.dev.interactive"
    assert rq_job_id(queue, "job_0000000000", 1, 2) == "build-manylinux-x86_64-dev_job_0000000000_1_2"


@pytest.mark.parametrize(
    "queue", ["default", "build.x", "build.a-b.dev.slow", "build.a-b.root.interactive", "fetch\n", ""]
)
def test_an_unknown_queue_is_refused(queue):
    with pytest.raises(InvalidInput) as caught:
        rq_job_id(queue, "job_0000000000", 1, 1)
    assert caught.value.code == "queue.unknown"


PREFIX = st.from_regex(r"build\.[a-z0-9]{1,4}-[a-z0-9_]{1,6}\.(release|dev|untrusted)", fullmatch=True)


@settings(max_examples=300)
@given(PREFIX, PREFIX)
def test_the_job_ids_of_one_prefix_are_never_in_the_pattern_of_another(one, other):
    if one != other:
        assert not rq_job_id(f"{one}.interactive", "job_0000000000", 1, 1).startswith(job_kind(other) + "_")
