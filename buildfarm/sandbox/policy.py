"""The container policy as data: what every container of the farm is, whatever it runs.

No network, read-only root, no capability, no new privileges, the system calls of docker/seccomp*.json,
uid 1000, no swap, bounded memory, processes and scratch; nothing of the host is writable. What stops
which attack: docs/isolation.md. reference: OCI runtime spec 1.0, Docker Engine API 1.41 `HostConfig`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from docker.types import LogConfig, Mount, Ulimit

from buildfarm.sandbox.spec import MIB, Limits
from buildfarm.shipped import shipped

USER = "1000:1000"
SOCKET_DIR = "/run/farm"
INPUT_DIR = "/in"
SCRIPTS_DIR = "/farm"

LABEL_INSTANCE = "buildfarm.instance"


def _tmpfs(size: int, mode: str = "0755") -> str:
    # exec: configure scripts, meson and test suites run what they have just compiled.
    return f"rw,exec,nosuid,nodev,size={size},uid=1000,gid=1000,mode={mode}"


def _read(name: str) -> Any:  # noqa: ANN401 - a document or a list
    return json.loads((shipped("docker") / name).read_text(encoding="utf-8"))


@cache
def _seccomp(machine: str) -> str:
    # The engine takes the text itself, so it need not see our files. Whoever reads it reads the file.
    profile = _read("seccomp.json")
    if machine == "i686":
        profile["archMap"] = [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
        ]
        profile["syscalls"] += _read("seccomp-i686.json")
    return json.dumps(profile)


def host_config(limits: Limits, *, machine: str, cpus: float, mounts: Mapping[str, Path]) -> dict[str, Any]:
    """Keyword arguments of `APIClient.create_host_config` for one container.

    Args:
        limits: what the attempt may use.
        machine: what the image's label says it is for; `i686` alone may make 32-bit calls.
        cpus: CPUs to grant, at most those of the machine.
        mounts: path in the container -> directory on the host, all read-only.
    """
    return {
        "network_mode": "none",
        "read_only": True,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges:true", f"seccomp={_seccomp(machine)}"],
        "pids_limit": limits.pids,
        "mem_limit": limits.memory_bytes,
        "memswap_limit": limits.memory_bytes,  # equal: no swap
        "nano_cpus": int(cpus * 1e9),
        "ulimits": [
            Ulimit(name="nofile", soft=4096, hard=4096),
            Ulimit(name="core", soft=0, hard=0),
        ],
        "shm_size": 64 * MIB,
        "ipc_mode": "private",
        "init": True,  # reaps zombies, and passes on signals that a bare PID 1 would ignore
        "log_config": LogConfig(type="none"),
        "tmpfs": {
            "/work": _tmpfs(limits.scratch_bytes),
            "/src": _tmpfs(limits.scratch_bytes),
            "/tmp": _tmpfs(limits.scratch_bytes, "1777"),  # noqa: S108 - inside the container
            "/home/builder": _tmpfs(limits.scratch_bytes),
        },
        "mounts": [
            Mount(target=target, source=str(source), type="bind", read_only=True, propagation="rprivate")
            for target, source in mounts.items()
        ],
    }
