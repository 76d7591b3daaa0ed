"""What the fetcher takes from itself before it talks to a repository."""

from __future__ import annotations

import ctypes
import os
import pwd
import resource
import signal
from pathlib import Path

from buildfarm.sources.contract import FetchLimits

_UNPRIVILEGED = "nobody"  # ssh refuses to run for a uid without a passwd entry
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38  # prctl(2)
_ADDRESS_SPACE = 16 << 30
_DESCRIPTORS = 512

_libc = ctypes.CDLL(None, use_errno=True)


def die_with_parent() -> None:
    """Have the kernel kill this process when the thread that started it ends (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def limit_resources(limits: FetchLimits) -> None:
    """Bound memory, descriptors, processor time and the size of any one file, for good."""
    bounds = {
        resource.RLIMIT_AS: _ADDRESS_SPACE,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: int(limits.seconds) + 60,
        resource.RLIMIT_NOFILE: _DESCRIPTORS,
        # The tar: the tree and the packed history beside it, and tar's own padding.
        resource.RLIMIT_FSIZE: 2 * limits.bytes + limits.files * 2048,
    }
    for kind, bound in bounds.items():
        _, hard = resource.getrlimit(kind)
        allowed = bound if hard == resource.RLIM_INFINITY else min(bound, hard)
        resource.setrlimit(kind, (allowed, allowed))


def limit_git(limits: FetchLimits) -> None:
    """Bound one git process: what it writes to one file, which holds for a pack as it arrives."""
    die_with_parent()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    bound = limits.bytes if hard == resource.RLIM_INFINITY else min(limits.bytes, hard)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bound, hard))


def unprivileged_ids(folder: Path) -> tuple[int, int] | None:
    """The uid and gid a fetcher started as root works under below this folder, or None to stay.

    git resolves the whole path of a repository, so this folder and all above must let others pass.
    """
    if os.geteuid() != 0:
        return None
    try:
        user = pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        return None
    if not all(above.stat().st_mode & 0o001 for above in (folder.resolve(), *folder.resolve().parents)):
        return None
    return user.pw_uid, user.pw_gid


def own(folder: Path, uid: int, gid: int) -> None:
    """Give a folder and all in it to a user; symbolic links are not followed."""
    for _, _, names, descriptor in os.fwalk(folder, follow_symlinks=False):
        if os.fstat(descriptor).st_uid != uid:
            os.fchown(descriptor, uid, gid)
        for name in names:
            os.chown(name, uid, gid, dir_fd=descriptor, follow_symlinks=False)


def become(uid: int, gid: int) -> None:
    """Give up root for good."""
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def no_new_privileges() -> None:
    """Let no program started from here gain rights by setuid bits or file capabilities (prctl(2))."""
    _libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
