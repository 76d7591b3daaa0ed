"""The sandbox of what reads hostile files: forked processes without network, rights and much memory.

All that is given up before the first question is seen, but for the processor time, which each child has anew.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from collections.abc import Sequence

from buildfarm import forked

_MEMORY = 256 * 1024 * 1024
_CPU_SECONDS = 20
_SPOOL = 4 * 1024**3  # a program too large for memory goes to a nameless file
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38


def serve(answer: forked.Answer) -> None:
    """Serve the socket that is standard input; what `answer` reads or loads has to be loaded before."""

    def bounded(question: str, files: Sequence[int]) -> str:
        resource.setrlimit(resource.RLIMIT_CPU, (_CPU_SECONDS, _CPU_SECONDS))
        return answer(question, files)

    confine()
    forked.serve(bounded)


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
