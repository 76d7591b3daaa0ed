"""The sandboxed child: limits itself, checks the file on standard input, answers one JSON line."""

from __future__ import annotations

import ctypes
import os
import resource
import sys

from buildfarm.wheels.facts import Expectation
from buildfarm.wheels.validate import answer_for

_MEMORY = 512 * 1024 * 1024
_CPU_SECONDS = 30
_SPOOL = 4 * 1024**3  # an extension module too large for memory goes to a nameless file
_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000
_PR_SET_NO_NEW_PRIVS = 38


def confine() -> None:
    """Give up the network, new privileges and all but a little memory and time, for good.

    The empty network namespace needs root or unprivileged user namespaces; where the kernel allows
    neither, the limits alone hold. This process holds no credential in any case.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    libc.unshare(_CLONE_NEWNET if os.geteuid() == 0 else _CLONE_NEWUSER | _CLONE_NEWNET)
    for kind, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_CPU, _CPU_SECONDS),
        (resource.RLIMIT_FSIZE, _SPOOL),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NOFILE, 32),
    ):
        resource.setrlimit(kind, (most, most))


def main() -> None:
    """Answer for the file on standard input; the expectation is the only argument."""
    confine()
    sys.stdout.write(answer_for(0, Expectation.from_json(sys.argv[1])))


if __name__ == "__main__":
    main()
