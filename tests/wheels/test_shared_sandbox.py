"""One forking process for all processes of a worker."""

import os
import signal

import pytest

from buildfarm.forkserver import ForkServer

MODULE = "buildfarm.wheels.rendering"
QUESTION = b'{"description": "*a*", "content_type": "text/markdown"}'


def in_child(act):
    """What a forked process made of `act`: its pid and what it answered."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(write, repr(act()).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def sandbox():
    sandbox = ForkServer(MODULE, wall_seconds=20.0)
    yield sandbox
    sandbox.close()


def test_a_forked_process_asks_the_one_that_is_shared(sandbox):
    sandbox.share()
    answered = in_child(lambda: (sandbox.ask(QUESTION) != b"", sandbox._process is None))
    assert answered == "(True, True)"
    assert sandbox.ask(QUESTION)


def test_without_sharing_it_has_its_own(sandbox):
    assert sandbox.ask(QUESTION)
    answered = in_child(lambda: (sandbox.ask(QUESTION) != b"", sandbox._process is not None))
    assert answered == "(True, True)"


def test_a_shared_one_that_died_is_replaced_by_whoever_asks(sandbox):
    sandbox.share()
    os.kill(sandbox._process.pid, signal.SIGKILL)
    sandbox._process.wait()

    def ask():
        answer = sandbox.ask(QUESTION)
        is_own = sandbox._process is not None
        sandbox.close()
        return answer != b"", is_own

    assert in_child(ask) == "(True, True)"
