"""The verdict table: one row for each way a container can end."""

import pytest

from buildfarm.sandbox.spec import Limits
from buildfarm.sandbox.verdict import Ending, is_native, judge, judge_shape

LIMITS = Limits(seconds=30, idle_seconds=10, pids=64)


@pytest.mark.parametrize(
    ("facts", "state", "cause", "sentence"),
    [
        ({"stopped": "cancelled", "exit_code": 137}, "cancelled", None, "cancelled"),
        ({"stopped": "deadline", "exit_code": 137}, "timed_out", "limit", "30 seconds"),
        ({"stopped": "idle", "exit_code": 137}, "timed_out", "limit", "10 seconds"),
        ({"oom_killed": True, "exit_code": 137}, "failed", "limit", "memory limit"),
        ({"oom_killed": True}, "failed", "limit", "memory limit"),
        ({"exit_code": 1, "pids_refused": 3}, "failed", "limit", "64 processes"),
        ({"missing": "no wheel", "pids_refused": 3}, "failed", "limit", "64 processes"),
        ({"exit_code": 1, "disk_full": True}, "failed", "limit", "scratch space"),
        ({"refusal": "too many"}, "failed", "limit", "too many"),
        ({"failure": "no room", "exit_code": 1}, "failed", "infrastructure", "no room"),
        ({"exit_code": 1}, "failed", "user_code", "exit code 1"),
        ({"exit_code": 1, "first_error": "a.c:1: error: x"}, "failed", "user_code", "a.c:1: error: x"),
        ({"missing": "no wheel"}, "failed", "user_code", "no wheel"),
        ({"wrong": "it is pure"}, "failed", "checks", "it is pure"),
        ({"phase": "repair", "exit_code": 1}, "failed", "checks", "repair phase"),
        ({"phase": "source", "exit_code": 2}, "failed", "infrastructure", "source phase"),
        ({"phase": "deps", "exit_code": 2, "index_failures": 1}, "failed", "infrastructure", "index"),
        ({"phase": "deps", "exit_code": 2, "index_refusals": 1}, "failed", "policy", "refused"),
        ({"phase": "deps", "exit_code": 2}, "failed", "user_code", "deps phase"),
    ],
)
def test_each_ending_has_its_state_cause_and_sentence(facts, state, cause, sentence):
    verdict = judge(Ending(**{"phase": "build", **facts}), LIMITS)

    assert verdict is not None
    assert (verdict.state, verdict.cause) == (state, cause)
    assert sentence in (verdict.first_error or "")


@pytest.mark.parametrize(
    "facts", [{}, {"pids_refused": 4}, {"disk_full": True}, {"index_failures": 1}, {"first_error": "x"}]
)
def test_a_limit_that_was_touched_and_survived_is_no_failure(facts):
    assert judge(Ending(phase="build", **facts), LIMITS) is None


NATIVE = "x-1-cp311-cp311-linux_x86_64.whl"
PURE = "x-1-py3-none-any.whl"


@pytest.mark.parametrize(
    ("names", "asked", "good"),
    [
        ([NATIVE], {"native": True}, True),
        ([PURE], {"native": True}, False),
        ([NATIVE], {"native": False}, False),
        ([PURE], {"native": None}, True),
        ([PURE, NATIVE], {"native": None}, False),
        ([], {"native": None}, False),
        (["x-1.tar.gz"], {"native": True, "wheel": False, "sdist": True}, True),
        ([NATIVE], {"native": True, "sdist": True}, False),
    ],
)
def test_a_build_must_leave_what_was_asked_for(names, asked, good):
    wrong = judge_shape(names, **{"wheel": True, "sdist": False, **asked})

    assert (wrong is None) == good


def test_a_wheel_with_one_platform_free_tag_is_not_native():
    assert is_native(NATIVE)
    assert not is_native("x-1-py2.py3-none-any.whl")
