"""Machines: what runs on which, and how an attempt is executed. Pure.

Names of machines are those of wheels' platform tags (PEP 600): `x86_64`, `i686`, `aarch64`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

#: An emulated attempt may take so many times as long, and keep silent as many times as long (ADR 0019).
PATIENCE = 10
_KINDS = ("manylinux", "musllinux")
_CROSS = "cross"
_ALSO_RUNS = {"x86_64": ("i686",)}


class Execution(StrEnum):
    """How an attempt is executed: by the processor, by an emulator, or built for another machine.

    What is built for another machine is tested by an emulator of that machine.
    """

    NATIVE = "native"
    EMULATED = "emulated"
    CROSS = "cross"


def machine_of(platform: str) -> str:
    """`x86_64` of `manylinux_2_28_x86_64`, and of the family `manylinux-x86_64`."""
    return platform.partition("-")[2] or platform.split("_", 3)[-1]


def native_to(machine: str) -> tuple[str, ...]:
    """The machines whose programs this one runs by itself, itself first."""
    return machine, *_ALSO_RUNS.get(machine, ())


def runners(machine: str) -> tuple[str, ...]:
    """The machines that run this one's programs by themselves."""
    return machine, *(host for host, others in _ALSO_RUNS.items() if machine in others)


def families(machine: str, emulates: Iterable[str] = ()) -> tuple[str, ...]:
    """What a host builds for, as build queues name it; what it must emulate comes last."""
    foreign = [one for one in dict.fromkeys(emulates) if one not in native_to(machine)]
    runs = [f"{kind}-{one}" for one in (*native_to(machine), *foreign) for kind in _KINDS]
    return (*runs, *(f"{_CROSS}-{one}" for one in foreign))


def crossing_to(platform: str) -> str:
    """The family of what is built natively for a platform of another machine: `cross-aarch64`."""
    return f"{_CROSS}-{machine_of(platform)}"


def executed(family: str, machine: str | None) -> Execution:
    """How a host executes an attempt of this family; a machine that was never told counts as right."""
    if family.startswith(f"{_CROSS}-"):
        return Execution.CROSS
    is_native = machine is None or machine_of(family) in native_to(machine)
    return Execution.NATIVE if is_native else Execution.EMULATED


def with_patience(limits: Mapping[str, Any], execution: Execution) -> dict[str, Any]:
    """The limits of an attempt, as its spec names them: an emulator gets more time, and nothing else."""
    if execution is Execution.NATIVE:
        return dict(limits)
    return {
        name: value * PATIENCE if name in ("seconds", "idle_seconds") else value
        for name, value in limits.items()
    }
