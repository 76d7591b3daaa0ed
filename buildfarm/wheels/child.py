"""The sandboxed side: a process that has everything imported, and forks a child for each question.

Starting Python and its imports cost a hundred times what checking a small file does, so they are paid
once. What is forked answers one question and is gone: nothing of a hostile file outlives it. Network,
rights and memory are given up before the first question is seen, the rest by each child.
"""

from __future__ import annotations

import ctypes
import gc
import os
import pwd
import resource
import signal
import socket
from collections.abc import Callable, Sequence

#: What was asked, and the open files that came with it, to what is answered.
Answer = Callable[[str, Sequence[int]], str]

_MEMORY = 256 * 1024 * 1024
_CPU_SECONDS = 20
_SPOOL = 4 * 1024**3  # a program too large for memory goes to a nameless file
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38


def serve(answer: Answer) -> None:
    """Serve the socket that is standard input; what `answer` reads or loads has to be loaded before."""
    confine()
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page
    _serve(socket.socket(fileno=0), answer)


def confine() -> None:
    """Give up the network, new privileges, root's rights and all but a little memory, for good.

    The empty network namespace needs root or unprivileged user namespaces; where the kernel allows
    neither, the limits alone hold. This process holds no credential in any case.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    is_root = os.geteuid() == 0
    libc.unshare(_CLONE_NEWNET if is_root else _CLONE_NEWUSER | _CLONE_NEWNET)
    if is_root:
        nobody = pwd.getpwnam("nobody")
        os.setgroups([])
        os.setgid(nobody.pw_gid)
        os.setuid(nobody.pw_uid)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_FSIZE, _SPOOL),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 64),
    ):
        resource.setrlimit(kind, (most, most))


def _serve(requests: socket.socket, answer: Answer) -> None:
    """Fork a child for each message, which carries files and a socket for the answer; end at its end."""
    signal.signal(signal.SIGCHLD, _reap)
    while True:
        message, descriptors, _flags, _sender = socket.recv_fds(requests, 1, 2)
        if not message:
            return
        *files, line = descriptors
        if os.fork() == 0:
            requests.close()
            _answer_one(files, socket.socket(fileno=line), answer)
        for descriptor in descriptors:
            os.close(descriptor)


def _answer_one(files: Sequence[int], line: socket.socket, answer: Answer) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        gc.disable()  # the process is gone before there is anything to collect
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        handle = os.pidfd_open(os.getpid())
        socket.send_fds(line, [b"+"], [handle])
        os.close(handle)
        with line.makefile("rb") as asked:
            question = asked.read().decode()
        line.sendall(answer(question, files).encode())
    finally:
        os._exit(0)


def _reap(_signal: int, _frame: object) -> None:
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
