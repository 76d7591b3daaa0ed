"""The forked side: a process that has everything imported, and forks a child for each question.

Starting Python and its imports often cost more than the work, so they are paid once. What is forked answers
one question and is gone: nothing of what hostile input did to it outlives it. What it leaves behind in
its process group is killed, and so is everything when the asking process ends. A stop that is meant for the
asking process and reaches the whole group changes nothing here: that process may end its work first.
"""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import select
import signal
import socket
from collections.abc import Callable, Sequence

from buildfarm.processes import die_with_parent

#: What was asked, and the open files that came with it, to what is answered.
Answer = Callable[[str, Sequence[int]], str]

_MOST_FILES = 2
_STOPS = (signal.SIGTERM, signal.SIGINT)


def serve(answer: Answer) -> None:
    """Serve the socket that is standard input; what `answer` reads or loads has to be loaded before."""
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page
    signal.signal(signal.SIGCHLD, _reap)
    for number in _STOPS:
        signal.signal(number, signal.SIG_IGN)
    requests, own_pid = socket.socket(fileno=os.dup(0)), os.getpid()
    with open(os.devnull) as nothing:  # or a child would open something else there
        os.dup2(nothing.fileno(), 0)
    while True:
        message, descriptors, _flags, _sender = socket.recv_fds(requests, 1, _MOST_FILES + 2)
        if not message:
            return
        *files, line, life = descriptors
        if os.fork() == 0:
            requests.close()
            _answer_one(own_pid, files, socket.socket(fileno=line), life, answer)
        for descriptor in descriptors:
            os.close(descriptor)


def _answer_one(server: int, files: Sequence[int], line: socket.socket, life: int, answer: Answer) -> None:
    try:
        for number in (signal.SIGCHLD, *_STOPS):
            signal.signal(number, signal.SIG_DFL)
        gc.disable()  # the process is gone before there is anything to collect
        os.setsid()
        die_with_parent(server)
        _die_with_asker(life)
        handle = os.pidfd_open(os.getpid())
        socket.send_fds(line, [b"+"], [handle])
        os.close(handle)
        with line.makefile("rb") as asked:
            question = asked.read().decode()
        line.sendall(answer(question, files).encode())
    finally:
        os._exit(0)


def _die_with_asker(life: int) -> None:
    """Have SIGIO, which ends a process, when whoever asked is gone and closes the other end of a pipe.

    Nothing is ever written to it: of a socket SIGIO may also tell what came before, after it was read.
    """
    fcntl.fcntl(life, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(life, fcntl.F_SETFL, fcntl.fcntl(life, fcntl.F_GETFL) | os.O_ASYNC)
    gone = select.poll()
    gone.register(life, 0)
    if gone.poll(0):  # POLLHUP, which is told unasked
        os._exit(0)


def _reap(_signal: int, _frame: object) -> None:
    """Take note of children that ended; their numbers name their groups until then, and no others."""
    try:
        while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(ended.si_pid, signal.SIGKILL)
            os.waitpid(ended.si_pid, 0)
    except ChildProcessError:
        pass
