"""The verdict table: one row for each way a container can end."""

import pytest

from buildfarm.sandbox.firsterror import Telling
from buildfarm.sandbox.spec import Limits
from buildfarm.sandbox.verdict import Ending, Verdict, is_native, judge, judge_platform, judge_shape

LIMITS = Limits(seconds=30, idle_seconds=10, pids=64)


BAD_C = Telling("a.c:1: error: x", 7, "compile")
NO_CRATE = Telling("error: failed to get `x`", 9, "dependency-resolution")


@pytest.mark.parametrize(
    ("facts", "state", "failure_class", "sentence"),
    [
        ({"stopped": "cancelled", "exit_code": 137}, "cancelled", None, "cancelled"),
        ({"stopped": "deadline", "exit_code": 137}, "timed_out", "timeout", "30 seconds"),
        ({"stopped": "idle", "exit_code": 137}, "timed_out", "idle", "10 seconds"),
        (
            {"stopped": "probing", "unknown": ["a", "b"]},
            "failed",
            "probing",
            "2 names that are not there: a, b.",
        ),
        (
            {"stopped": "probing", "unknown": list("abcdefg")},
            "failed",
            "probing",
            "a, b, c, d, e and 2 more.",
        ),
        ({"oom_killed": True, "exit_code": 137}, "failed", "out-of-memory", "memory limit"),
        ({"oom_killed": True}, "failed", "out-of-memory", "memory limit"),
        ({"exit_code": 1, "pids_refused": 3}, "failed", "processes", "64 processes"),
        ({"missing": "no wheel", "pids_refused": 3}, "failed", "processes", "64 processes"),
        ({"exit_code": 1, "disk_full": True}, "failed", "disk-full", "scratch space"),
        ({"exit_code": 1, "disk_full": True, "telling": BAD_C}, "failed", "disk-full", "a.c:1: error: x"),
        ({"refusal": "too many"}, "failed", "output", "too many"),
        ({"failure": "no room", "exit_code": 1}, "failed", "farm", "no room"),
        ({"exit_code": 1}, "failed", "build", "exit code 1"),
        ({"exit_code": 1, "telling": BAD_C}, "failed", "compile", "a.c:1: error: x"),
        ({"missing": "no wheel"}, "failed", "build", "no wheel"),
        ({"wrong": "it is pure"}, "failed", "shape", "it is pure"),
        ({"phase": "repair", "exit_code": 1}, "failed", "repair", "repair phase"),
        ({"phase": "repair", "missing": "0 wheels"}, "failed", "repair", "0 wheels"),
        ({"phase": "test", "exit_code": 1}, "failed", "test", "test phase"),
        ({"phase": "source", "exit_code": 2}, "failed", "source", "source phase"),
        ({"phase": "deps", "exit_code": 2, "index_failures": 1}, "failed", "farm", "index"),
        ({"exit_code": 1, "index_failures": 1, "telling": NO_CRATE}, "failed", "farm", "index"),
        ({"exit_code": 1, "telling": NO_CRATE}, "failed", "dependency-resolution", "failed to get"),
        ({"exit_code": 1, "index_failures": 1, "telling": BAD_C}, "failed", "compile", "a.c:1: error: x"),
        ({"phase": "deps", "exit_code": 2, "index_refusals": 1}, "failed", "dependency-refused", "refused"),
        ({"phase": "deps", "exit_code": 2}, "failed", "build", "deps phase"),
    ],
)
def test_each_ending_has_its_state_class_and_sentence(facts, state, failure_class, sentence):
    verdict = judge(Ending(**{"phase": "build", **facts}), LIMITS)

    assert verdict is not None
    assert (verdict.state, verdict.failure_class) == (state, failure_class)
    assert sentence in (verdict.first_error or "")
    told = (one.number for one in (BAD_C, NO_CRATE) if one.line in (verdict.first_error or ""))
    assert verdict.error_line == next(told, None)


def test_the_class_says_whose_fault_it_is():
    assert Verdict("failed", "compile", None).cause == "user_code"
    assert Verdict("failed", "disk-full", None).cause == "limit"
    assert Verdict("cancelled", None, None).cause is None


@pytest.mark.parametrize(
    "facts", [{}, {"pids_refused": 4}, {"disk_full": True}, {"index_failures": 1}, {"telling": BAD_C}]
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


@pytest.mark.parametrize(
    ("platform", "wrong"),
    [
        ("manylinux2014_x86_64.manylinux_2_17_x86_64", None),
        ("manylinux1_x86_64.manylinux_2_5_x86_64", None),
        ("linux_x86_64", None),
        ("manylinux_2_34_x86_64", "needs a newer C library"),
        ("manylinux2014_aarch64.manylinux_2_17_aarch64", "is for another machine"),
        ("linux_aarch64", "is for another machine"),
    ],
)
def test_a_wheel_runs_where_its_target_says(platform, wrong):
    told = judge_platform(f"green-1.0-cp311-cp311-{platform}.whl", "cp311-manylinux_2_17_x86_64")
    assert told is None if wrong is None else wrong in told
