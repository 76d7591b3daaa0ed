"""Which images an engine holds, and whether the engine is fit for building."""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import datetime

from pydantic import BaseModel, ConfigDict

import docker
from buildfarm.errors import FarmError
from buildfarm.sandbox.engine import connect, engine_errors

_PREFIX = "org.buildfarm."
_MAX_CLOCK_SKEW = 5.0


class ImageRecord(BaseModel):
    """One image of the farm as its labels describe it; `image_id` is what job records name.

    `platform` is what it builds for, its own unless its `toolchain` compiles for another; `machine` what it
    runs on.
    `libc` is the C library and its version: `glibc 2.36`, `musl 1.2`.
    """

    model_config = ConfigDict(frozen=True)

    platform: str
    suite: str
    role: str
    image_id: str
    interpreters: list[str]
    libc: str
    recipe: str
    packages: str
    toolchain: str | None
    machine: str


class Finding(BaseModel):
    """One thing `buildfarm doctor` shows: good, or what to do about it."""

    model_config = ConfigDict(frozen=True)

    name: str
    good: bool
    value: str
    hint: str = ""


class EngineReport(BaseModel):
    """What was found out about an engine; `usable` when builds can run on it."""

    model_config = ConfigDict(frozen=True)

    usable: bool
    findings: list[Finding]


def list_images(docker_host: str | None) -> list[ImageRecord]:
    """The farm's images in the engine, newest first for each suite and role.

    Raises:
        ExternalFailure: the engine does not answer.
    """
    with connect(docker_host) as client, engine_errors("listing images"):
        found = client.images(filters={"label": f"{_PREFIX}recipe"})
    records = []
    for image in sorted(found, key=lambda image: -int(image["Created"])):
        label = {key.removeprefix(_PREFIX): value for key, value in image["Labels"].items()}
        if "derived" in label:  # made for one set of system packages; recipes never name it
            continue
        records.append(
            ImageRecord(
                platform=label.get("target") or _platform(label),
                suite=label["suite"],
                role=label["role"],
                image_id=image["Id"],
                interpreters=label["interpreters"].split(),
                libc=_libc(label),
                recipe=label["recipe"],
                packages=label["packages"],
                toolchain=label.get("toolchain"),
                machine=label["arch"],
            )
        )
    return sorted(records, key=lambda record: (record.suite, record.role))


def _libc(label: dict[str, str]) -> str:
    return f"glibc {label['glibc']}" if "glibc" in label else f"musl {label['musl']}"


def _platform(label: dict[str, str]) -> str:
    """The platform of wheels that the image builds (PEP 600, PEP 656)."""
    libc, version = _libc(label).split()
    kind = {"glibc": "manylinux", "musl": "musllinux"}[libc]
    return f"{kind}_{version.replace('.', '_')}_{label['arch']}"


def newest_images(docker_host: str | None) -> list[ImageRecord]:
    """One image for each platform, role and set of interpreters, the newest.

    Raises:
        ExternalFailure: the engine does not answer.
    """
    newest: dict[tuple[str, str, str], ImageRecord] = {}
    for image in list_images(docker_host):
        newest.setdefault((image.platform, image.role, " ".join(image.interpreters)), image)
    return list(newest.values())


def missing_images(docker_host: str | None, image_ids: Sequence[str]) -> list[str]:
    """Those of the images that the engine does not hold.

    Raises:
        ExternalFailure: the engine does not answer.
    """
    with connect(docker_host, timeout=10) as client, engine_errors("listing images"):
        held = {image["Id"] for image in client.images(all=True)}
    return [image_id for image_id in image_ids if image_id not in held]


def engine_memory(docker_host: str | None) -> int | None:
    """Bytes of memory that containers may have together; None while the engine is away.

    What the engine's host has, less a share that the host needs itself.
    """
    try:
        with connect(docker_host, timeout=10) as client, engine_errors("asking for its memory"):
            total = int(client.info()["MemTotal"])
    except FarmError:
        return None
    return total - max(total // 8, 512 << 20)


def check_engine(docker_host: str | None) -> EngineReport:
    """Ask an engine what a builder needs to know; never raises for an engine that is away."""
    try:
        with connect(docker_host, timeout=10) as client, engine_errors("asking for its state"):
            findings = _examine(client)
    except FarmError as error:
        findings = [Finding(name="engine", good=False, value=error.message, hint=error.hint)]
        return EngineReport(usable=False, findings=findings)
    musts = {"engine", "memory limit", "pids limit", "seccomp"}
    return EngineReport(
        usable=all(finding.good for finding in findings if finding.name in musts), findings=findings
    )


def _examine(client: docker.APIClient) -> list[Finding]:
    info = client.info()
    security = " ".join(info.get("SecurityOptions") or [])
    remapped = "name=userns" in security or "name=rootless" in security
    status = dict(info.get("DriverStatus") or [])
    quota = info["Driver"] in ("btrfs", "zfs") or status.get("Backing Filesystem") == "xfs"
    skew = time.time() - datetime.fromisoformat(info["SystemTime"]).timestamp()
    return [
        Finding(name="engine", good=True, value=str(info["ServerVersion"])),
        Finding(name="kernel", good=True, value=str(info["KernelVersion"])),
        Finding(name="cgroup version", good=True, value=str(info.get("CgroupVersion", "1"))),
        Finding(
            name="memory limit",
            good=bool(info["MemoryLimit"]),
            value="enforced" if info["MemoryLimit"] else "not enforced",
            hint="" if info["MemoryLimit"] else "Enable the memory cgroup controller of this host.",
        ),
        Finding(
            name="pids limit",
            good=bool(info.get("PidsLimit")),
            value="enforced" if info.get("PidsLimit") else "not enforced",
            hint="" if info.get("PidsLimit") else "Enable the pids cgroup controller of this host.",
        ),
        Finding(
            name="seccomp",
            good="seccomp" in security,
            value="on" if "seccomp" in security else "off",
            hint="" if "seccomp" in security else "Builds need a kernel and an engine with seccomp filters.",
        ),
        Finding(
            name="user namespaces",
            good=True,
            value="on" if remapped else "off",
            hint="" if remapped else "With `userns-remap` whoever leaves a container is nobody outside.",
        ),
        Finding(
            name="storage",
            good=True,
            value=f"{info['Driver']} on {status.get('Backing Filesystem', 'an unknown file system')}",
            hint="" if quota else "No disk quota here: scratch is memory-backed and counts as memory.",
        ),
        Finding(
            name="clock",
            good=abs(skew) < _MAX_CLOCK_SKEW,
            value=f"{skew:+.1f} s from the engine's",
            hint="" if abs(skew) < _MAX_CLOCK_SKEW else "Synchronise the clocks of builder and engine.",
        ),
    ]
