"""A second engine of this machine, for what one host has and another one lacks."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ENGINE = Path(__file__).parents[1] / "docker" / "engine.sh"


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
