"""The guard alone: what it reads, and whom it ends."""

import subprocess
import sys

from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.cli.guard import Guard, watch
from buildfarm.processes import kill_session, session_members


def sleeper() -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)


def test_open_sessions_are_those_begun_and_not_over():
    assert watch(["+10\n", "+11\n", "-10\n", "+12\n"]) == {11, 12}


def test_half_a_line_of_a_dying_supervisor_is_not_obeyed():
    # `+1234` cut to `+12` would name somebody else's session.
    assert watch(["+10\n", "+12"]) == {10}


@settings(max_examples=200)
@given(st.lists(st.text(max_size=8)))
def test_no_line_upsets_it(lines):
    assert all(session >= 0 for session in watch(lines))


def test_it_kills_the_open_sessions_when_the_pipe_ends_and_leaves_the_released():
    covered, released = sleeper(), sleeper()
    try:
        guard = Guard()
        guard.cover(covered.pid)
        guard.cover(released.pid)
        guard.release(released.pid)
        guard.close()
        assert covered.wait(60) == -9
        assert released.poll() is None
    finally:
        for process in (covered, released):
            process.kill()
            process.wait()


def test_an_ended_process_that_nobody_reaped_does_not_count_as_a_member():
    process = sleeper()
    assert session_members(process.pid) == [process.pid]
    assert kill_session(process.pid)
    assert session_members(process.pid) == []
    assert process.wait(60) == -9
