"""Which machines besides its own this host runs programs of, by an emulator that its kernel starts.

Source: the kernel's documentation, admin-guide/binfmt-misc.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from buildfarm.sandbox.images import Finding

#: One file for each registered kind of program; QEMU's are `qemu-aarch64` and so on.
REGISTERED = Path("/proc/sys/fs/binfmt_misc")
_PREFIX = "qemu-"


def emulators(registered: Path = REGISTERED) -> frozenset[str]:
    """The machines that containers of this host can run programs of.

    Only an emulator with the flag F counts: the kernel opened it when it was registered, so a container needs
    not hold it.
    """
    return frozenset(
        path.name.removeprefix(_PREFIX) for path in registered.glob(f"{_PREFIX}*") if _is_ready(path)
    )


def check_emulators(machines: Sequence[str], registered: Path = REGISTERED) -> list[Finding]:
    """A finding for each machine that this host was set up to emulate."""
    ready = emulators(registered)
    return [
        Finding(name=f"emulator of {machine}", good=True, value="registered")
        if machine in ready
        else Finding(
            name=f"emulator of {machine}",
            good=False,
            value="not registered with the flag F",
            hint="Install qemu-user-static and binfmt-support (Debian), or leave --emulate out.",
        )
        for machine in machines
    ]


def _is_ready(path: Path) -> bool:
    try:
        lines = path.read_text().splitlines()
    except OSError:
        return False
    flags = next((line.removeprefix("flags:") for line in lines if line.startswith("flags:")), "")
    return "enabled" in lines and "F" in flags
