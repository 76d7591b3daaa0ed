"""Programs that are no Python projects, as wheels that install their commands."""

import zipfile
from io import BytesIO

import pytest

pytestmark = pytest.mark.engine

GREET = {
    "Makefile": "src/greet: src/greet.c\n\t$(CC) -O2 -o $@ $<\n",
    "src/greet.c": '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }\n',
}
PROGRAM = {"name": "acme-greet", "version": "1.2", "build": ["make"], "commands": {"greet": "src/greet"}}


def test_a_program_becomes_a_wheel_whose_command_runs(attempt):
    test = {"command": ["sh", "-c", 'test "$(greet)" = hello']}
    outcome, farm = attempt(GREET, program=PROGRAM, expect_native=True, test=test)
    assert outcome.state == "succeeded", farm.log
    ((name, wheel),) = farm.artifacts.items()
    assert name.startswith("acme_greet-1.2-py3-none-manylinux_2_")
    with zipfile.ZipFile(BytesIO(wheel)) as archive:
        assert archive.testzip() is None
        (script,) = (one for one in archive.infolist() if one.filename.endswith("/scripts/greet"))
        assert script.external_attr >> 16 & 0o111
        assert b"Name: acme-greet\nVersion: 1.2\n" in archive.read("acme_greet-1.2.dist-info/METADATA")
    _, again = attempt(GREET, program=PROGRAM, expect_native=True)
    assert again.artifacts == farm.artifacts


def test_a_program_that_is_not_made_is_named(attempt):
    lost = {**PROGRAM, "commands": {"greet": "greet"}}
    outcome, _farm = attempt(GREET, program=lost)
    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "user_code", "build")
    assert "left no file 'greet' for the command 'greet'" in outcome.first_error


def test_a_program_of_a_script_is_no_platform_wheel(attempt):
    script = {"Makefile": "all:\n\tprintf '#!/bin/sh\\n' >greet\n"}
    outcome, _farm = attempt(script, program={**PROGRAM, "commands": {"greet": "greet"}}, expect_native=True)
    assert (outcome.state, outcome.cause) == ("failed", "checks")
