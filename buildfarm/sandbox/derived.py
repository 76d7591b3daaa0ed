"""Images with further system packages: made once for each (base, set) by `docker/derive-image.sh`.

The recipe names packages of the image's own distribution; nothing of the recipe runs while they are
installed. A build finds them in its image, because it can neither be root nor reach a network.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from buildfarm.errors import EnvironmentProblem, ExternalFailure, InvalidInput
from buildfarm.sandbox.containers import Stop

_SCRIPT = Path(__file__).parents[2] / "docker" / "derive-image.sh"
_NO_SUCH_PACKAGES = 3
_LOOK_S = 0.5
#: How long the script may take to remove what it made, in seconds.
_TRAP_S = 30


def derived_image(
    base: str,
    packages: Sequence[str],
    *,
    docker_host: str | None,
    cache: Path,
    say: Callable[[str], object],
    should_stop: Callable[[], Stop | None],
) -> str | None:
    """The ID of `base` with `packages`; None when it was stopped on the way.

    Args:
        base: an image ID of the farm's.
        packages: names of packages of the image's distribution; empty: `base` itself.
        docker_host: the engine; None follows the environment.
        cache: a directory of this machine that keeps package lists.
        say: is given what a person should read, line by line.
        should_stop: asked twice a second.

    Raises:
        InvalidInput: `image.packages`, the distribution has no such packages, or not together.
        EnvironmentProblem: `image.packages_unavailable`, this machine cannot make such images.
        ExternalFailure: `image.packages_failed`, the archive or the engine did not do it now.
    """
    if not packages:
        return base
    if not _SCRIPT.is_file():
        raise EnvironmentProblem(
            "This builder cannot make images with system packages.",
            code="image.packages_unavailable",
            hint=f"{_SCRIPT.name} is missing: run the builder from a checkout.",
        )
    environment = {**os.environ, "BUILDFARM_IMAGE_CACHE": str(cache)}
    if docker_host is not None:
        environment["DOCKER_HOST"] = docker_host
    process = subprocess.Popen(
        [str(_SCRIPT), base, *packages],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        process_group=0,
    )
    with process:
        while True:
            try:
                answer, said = process.communicate(timeout=_LOOK_S)
                break
            except subprocess.TimeoutExpired:
                if should_stop():
                    _end(process)
                    return None
    lines = said.splitlines()
    for line in lines:
        say(line)
    if process.returncode == 0:
        return answer.strip()
    reason = lines[-1] if lines else f"exit code {process.returncode}"
    if process.returncode == _NO_SUCH_PACKAGES:
        raise InvalidInput(f"The image's distribution cannot install that: {reason}.", code="image.packages")
    raise ExternalFailure(f"No image with these packages was made: {reason}.", code="image.packages_failed")


def _end(process: subprocess.Popen[str]) -> None:
    """End the script and all that it started: whatever held its pipes would be waited for."""
    os.killpg(process.pid, signal.SIGTERM)  # its trap removes the container and the scratch
    try:
        process.communicate(timeout=_TRAP_S)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
