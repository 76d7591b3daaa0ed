"""What a host of builds may have beside its own: a second, empty engine; another machine's programs."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from buildfarm.sandbox.emulation import emulators

ENGINE = Path(__file__).parents[1] / "docker" / "engine.sh"
EMULATE = ENGINE.with_name("emulate.sh")


@contextmanager
def emulated_arm64() -> Iterator[None]:
    """Programs of arm64 run here, by an emulator that is taken out again unless it was there before."""
    is_there = "aarch64" in emulators()
    done = subprocess.run([EMULATE, "on", "arm64"], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(done.stderr)
    try:
        yield
    finally:
        if not is_there:
            subprocess.run([EMULATE, "off", "arm64"], check=True)


@contextmanager
def empty_engine() -> Iterator[str]:
    """Where an engine answers that holds nothing; it is gone with its images at the end of the block."""
    environment = {name: value for name, value in os.environ.items() if name != "DOCKER_HOST"}
    folder = tempfile.mkdtemp(prefix="bf-")

    def script(verb: str) -> str:
        done = subprocess.run([ENGINE, verb, folder], env=environment, stdout=subprocess.PIPE, text=True)
        return done.stdout.strip()

    host = script("start")
    if folder not in host:
        pytest.skip("this machine's own engine answers, and docker/engine.sh starts none beside it")
    try:
        yield host
    finally:
        script("stop")
        shutil.rmtree(folder)
