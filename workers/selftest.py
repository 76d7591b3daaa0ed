"""What a builder examines of itself before it looks for work, and again from time to time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence

from buildfarm.errors import FarmError
from buildfarm.sandbox.emulation import check_emulators
from buildfarm.sandbox.images import Finding, check_engine, missing_images
from workers.builder_config import BuilderConfig
from workers.supply import Supply

#: An attempt's sources, logs and files pass through the work folder.
_ROOM_BYTES = 256 << 20
#: Times of log lines are the builder's; beyond this they could not be read beside the farm's.
_SKEW_S = 30.0
#: So many missing images are named.
_TOLD = 5


def examine(own: BuilderConfig, *, skew_s: float, images: Sequence[str], supply: Supply) -> list[Finding]:
    """Clock, disk, engine and images of this host; fit for work when every finding is good.

    Args:
        own: the builder's configuration.
        skew_s: how far this host's clock is ahead of the farm's, seconds.
        images: ids of the images that the farm's builds for this builder may name.
        supply: set to work on those that are missing.
    """
    report = check_engine(own.docker_host)
    findings = [_clock(skew_s), _disk(own), *check_emulators(own.emulates), *report.findings]
    return [*findings, _images(own, images, supply)] if report.usable else findings


def _clock(skew_s: float) -> Finding:
    good = abs(skew_s) <= _SKEW_S
    hint = "" if good else "Synchronise this host's clock (chrony, systemd-timesyncd)."
    return Finding(name="farm clock", good=good, value=f"{skew_s:+.1f} s from the farm's", hint=hint)


def _disk(own: BuilderConfig) -> Finding:
    try:
        own.workdir.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(own.workdir).free
    except OSError as err:
        why = f"{own.workdir}: {err.strerror}"
        return Finding(name="disk", good=False, value=why, hint="Choose another work folder.")
    good = free >= _ROOM_BYTES
    hint = "" if good else f"Make {_ROOM_BYTES >> 20} MiB of room for {own.workdir}."
    return Finding(name="disk", good=good, value=f"{free >> 20} MiB free", hint=hint)


def _images(own: BuilderConfig, images: Sequence[str], supply: Supply) -> Finding:
    try:
        supply.tend(images)
        missing = missing_images(own.docker_host, images)
    except FarmError as err:
        return Finding(name="images", good=False, value=err.message, hint=err.hint)
    if not missing:
        return Finding(name="images", good=True, value=f"all {len(images)} of the farm's are here")
    ids = ", ".join(image.removeprefix("sha256:")[:12] for image in missing[:_TOLD])
    ids += f" and {len(missing) - _TOLD} more" if len(missing) > _TOLD else ""
    value, hint = f"missing: {ids}", "It takes work when they are here."
    if doing := supply.doing:
        value = f"{value}; {doing}"
    elif supply.failure:
        value, hint = f"{value}. {supply.failure.message}", supply.failure.hint or hint
    return Finding(name="images", good=False, value=value, hint=hint)
