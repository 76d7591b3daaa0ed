"""cibuildwheel as the peer: the same image, its fastest front end, no network, nothing of the host."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from buildfarm.sandbox.images import ImageRecord

COMMAND = (
    "cibuildwheel --only {target}-manylinux_x86_64 with build[uv], a test command, network none, our image "
    "(bench/farm/peer.py)"
)


def build(project: Path, image: str, interpreter: str, wheelhouse: Path, out: Path, test: str) -> None:
    """Build, repair and test one wheel of the unpacked source `project`.

    Raises:
        SystemExit: it failed; its output is shown.
    """
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("PIP_", "UV_"))
    } | {
        "CIBW_MANYLINUX_X86_64_IMAGE": image,
        "CIBW_BUILD_FRONTEND": "build[uv]",
        "CIBW_DEPENDENCY_VERSIONS": "latest",
        "CIBW_ARCHS": "x86_64",
        "CIBW_TEST_COMMAND": test,
        "CIBW_TEST_REQUIRES": "",
        "CIBW_BEFORE_TEST": "",
        "CIBW_CONTAINER_ENGINE": "docker; disable_host_mount: True; "
        f"create_args: --network=none --volume={wheelhouse}:{wheelhouse}:ro",
        "CIBW_ENVIRONMENT": f"PIP_NO_INDEX=1 PIP_FIND_LINKS={wheelhouse} UV_NO_INDEX=1 "
        f"UV_FIND_LINKS={wheelhouse} UV_OFFLINE=1",
    }
    only = f"{interpreter}-manylinux_x86_64"
    done = subprocess.run(
        [sys.executable, "-m", "cibuildwheel", "--only", only, "--output-dir", str(out)],
        cwd=project, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(
            f"bench: cibuildwheel failed for {project.name}:\n{done.stdout[-3000:]}{done.stderr[-2000:]}"
        )


@contextmanager
def image_of(builder: ImageRecord, wheelhouse: Path, folder: Path) -> Iterator[str]:
    """A builder image with what cibuildwheel expects in any image: two names, and `build`."""
    (interpreter,) = builder.interpreters
    context = folder / f"peer-image-{interpreter}"
    context.mkdir()
    shutil.copytree(wheelhouse, context / "wheels")
    python = f"/opt/python/{interpreter}-{interpreter}"
    (context / "Dockerfile").write_text(
        f"FROM {builder.image_id}\nUSER root\nCOPY wheels /wheels\n"
        f"RUN ln -sfn {python} /opt/python/cp39-cp39 "
        "&& printf '#!/bin/sh\\nexit 0\\n' >/usr/local/bin/manylinux-interpreters "
        "&& chmod 755 /usr/local/bin/manylinux-interpreters "
        f"&& uv pip install --python {python}/bin/python --break-system-packages "
        "--offline --no-index --find-links /wheels build[uv]\n"
    )
    name = f"buildfarm/bench-cibuildwheel:{builder.suite}"
    environment = dict(os.environ) | {"DOCKER_BUILDKIT": "0"}
    command = ["docker", "build", "--quiet", "--network", "none", "--tag", name, str(context)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"bench: the peer's image could not be made:\n{done.stdout}{done.stderr}")
    try:
        yield name
    finally:
        subprocess.run(["docker", "rmi", "--force", name], check=False, stdout=subprocess.DEVNULL)
