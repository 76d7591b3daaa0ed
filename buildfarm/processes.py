"""What a process asks of the kernel: to end with its parent, a session to be named by, descriptors.

Every direct child of a supervising process gets a session of its own, so "everything that child
started" has a name, its session id, which outlives the child itself. Linux only (`proc(5)`).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
# Loaded at import: between fork and exec only the call itself may happen.
_prctl = ctypes.CDLL(None, use_errno=True).prctl


def die_with_parent(parent_pid: int) -> None:
    """Have the kernel kill this process when its parent ends; call it in the new process itself.

    The setting survives `exec` and is cleared by `fork` (prctl(2), PR_SET_PDEATHSIG). It fires when
    the *thread* that forked ends, so whoever forks must do it from a thread that lives as long as
    the process. Where the parent is gone already, the process ends here.
    """
    _prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def allow_all_descriptors() -> None:
    """Let this process and its children have as many open files as the system grants.

    A login's usual 1,024 are fewer than the connections that a server has to hold, and one that finds
    none left for the next connection ends.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def bound_to_this_process() -> Callable[[], None]:
    """A `preexec_fn` for `subprocess`: the child gets no blocked signals and dies with the caller."""
    parent_pid = os.getpid()

    def prepare() -> None:
        die_with_parent(parent_pid)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])

    return prepare


def session_members(session: int) -> list[int]:
    """Ids of the living processes of a session; ended ones that nobody has reaped do not count."""
    members = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_bytes()
        except OSError:
            continue  # it ended while we looked
        # proc(5): the name in parentheses may hold anything, so count fields from its end.
        state, _ppid, _group, its_session = stat[stat.rindex(b")") + 2 :].split(b" ", 4)[:4]
        if int(its_session) == session and state not in (b"Z", b"X"):
            members.append(int(entry.name))
    return members


def kill_session(session: int, *, deadline_s: float = 2.0) -> bool:
    """SIGKILL every process of a session until none is left.

    Args:
        session: the session id, which is the process id of the one that began it.
        deadline_s: seconds after which to give up, for processes the kernel cannot end now.

    Returns:
        Whether the session is empty.
    """
    end = time.monotonic() + deadline_s
    while members := session_members(session):
        for pid in members:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True
