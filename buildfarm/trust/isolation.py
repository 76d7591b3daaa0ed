"""What the signer's process gives up before it reads a key: privileges, core dumps, the network.

Python offers `os.unshare` from 3.12 on and prctl not at all, hence the two calls through ctypes.
"""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
from pathlib import Path

from buildfarm.errors import EnvironmentProblem

_PR_SET_PDEATHSIG = 1
_PR_GET_PDEATHSIG = 2
_PR_SET_DUMPABLE = 4
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWNET = 0x40000000

_libc = ctypes.CDLL(None, use_errno=True)


def forbid_dumps() -> None:
    """No core dumps, no ptrace by processes of the same user, no new privileges through exec."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _checked("prctl(PR_SET_DUMPABLE)", _libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))
    _checked("prctl(PR_SET_NO_NEW_PRIVS)", _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def leave_network() -> bool:
    """Enter an empty network namespace, for which root is needed.

    Returns:
        Whether the process has no network now; in a container root may lack the right.
    """
    return os.geteuid() == 0 and _libc.unshare(_CLONE_NEWNET) == 0


def give_to(user: int, folder: Path) -> None:
    """Make a user the owner of a folder and all in it."""
    os.chown(folder, user, _group(user))
    for path in folder.rglob("*"):
        os.chown(path, user, _group(user), follow_symlinks=False)


def become(user: int) -> None:
    """Drop root for good and go on as `user`, with that user's group and no other.

    Raises:
        EnvironmentProblem: the process may not do that.
    """
    death_signal = ctypes.c_int()
    _checked("prctl(PR_GET_PDEATHSIG)", _libc.prctl(_PR_GET_PDEATHSIG, ctypes.byref(death_signal)))
    try:
        os.setgroups([])
        os.setresgid(*[_group(user)] * 3)
        os.setresuid(*[user] * 3)
        # A change of user forgets the parent-death signal that a supervisor had set (prctl(2)).
        _checked("prctl(PR_SET_PDEATHSIG)", _libc.prctl(_PR_SET_PDEATHSIG, death_signal.value, 0, 0, 0))
    except PermissionError as error:
        raise EnvironmentProblem(
            f"The signer cannot become user {user}: {error}",
            code="signer.user",
            hint="Start it as root, or leave --uid out.",
        ) from error


def _group(user: int) -> int:
    try:
        return pwd.getpwuid(user).pw_gid
    except KeyError:
        return user


def _checked(what: str, result: int) -> None:
    if result != 0:
        raise EnvironmentProblem(f"{what} failed: {os.strerror(ctypes.get_errno())}", code="signer.isolation")
