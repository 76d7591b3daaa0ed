"""What an attempt's JSON may say."""

import pytest
from pydantic import ValidationError

from buildfarm.sandbox.spec import AttemptSpec, Limits

GOOD = {
    "job_id": "job_1",
    "attempt": 1,
    "target": "cp311-manylinux_2_36_x86_64",
    "interpreter": "cp311",
    "build_image": "sha256:" + "a" * 64,
    "test_image": "sha256:" + "b" * 64,
    "source_sha256": "c" * 64,
    "source_date_epoch": 0,
}


def test_a_spec_survives_json():
    spec = AttemptSpec.model_validate(GOOD)

    assert AttemptSpec.model_validate_json(spec.model_dump_json()) == spec


@pytest.mark.parametrize(
    "change",
    [
        {"build_image": "debian:12"},  # a name could be pulled or moved
        {"build_image": "sha256:" + "a" * 64 + "\n"},
        {"job_id": "../x"},
        {"attempt": 0},
        {"interpreter": "cp311; rm"},
        {"source_sha256": "C" * 64},
        {"subdirectory": "../x"},
        {"subdirectory": "/etc"},
        {"environment": {"A=B": "x"}},
        {"environment": {"A": "x\0"}},
        {"surprise": 1},
        {"limits": {"pids": 0}},
        {"test_image": None, "test": {}},  # nothing to run the test in
    ],
)
def test_a_spec_with_a_dangerous_value_is_refused(change):
    with pytest.raises(ValidationError):
        AttemptSpec.model_validate({**GOOD, **change})


def test_a_setting_of_the_backend_may_be_a_list_and_a_test_may_be_given_up():
    spec = AttemptSpec.model_validate({**GOOD, "test_image": None, "config_settings": {"a": ["x", "y"]}})

    assert spec.config_settings == {"a": ["x", "y"]}
    assert spec.test_image is None


def test_limits_have_the_documented_defaults():
    limits = Limits()

    assert (limits.memory_bytes, limits.cpus, limits.pids) == (2**31, 2.0, 512)
    assert (limits.seconds, limits.idle_seconds, limits.scratch_bytes) == (1800, 600, 2**30)
    assert (limits.log_bytes, limits.output_bytes, limits.output_count) == (2**24, 2**28, 20)
