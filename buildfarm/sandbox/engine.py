"""The one way to an engine, and the one place where its errors become ours."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import docker.errors
import requests

import docker
from buildfarm.errors import EnvironmentProblem, ExternalFailure

_HINT = "Run `buildfarm doctor` on the builder; `docker/engine.sh start` starts a private engine."


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turn the SDK's and the transport's errors into a FarmError that says what was being done.

    Raises:
        EnvironmentProblem: the image is not in the engine (`engine.image_missing`).
        ExternalFailure: the engine does not answer (`engine.down`) or refuses (`engine.refused`).
    """
    try:
        yield
    except docker.errors.ImageNotFound as error:
        raise EnvironmentProblem(
            f"The image needed for {doing} is not in the engine.",
            code="engine.image_missing",
            hint="Run docker/build-images.sh, or `buildfarm doctor` on the builder.",
        ) from error
    except docker.errors.APIError as error:
        reason = str(error.explanation or error).strip().splitlines()[0]
        raise ExternalFailure(
            f"The engine refused {doing}: {reason}", code="engine.refused", hint=_HINT
        ) from error
    except (docker.errors.DockerException, requests.RequestException, OSError) as error:
        raise ExternalFailure(
            f"The engine did not answer while {doing}.", code="engine.down", hint=_HINT
        ) from error


@contextmanager
def connect(docker_host: str | None, *, timeout: int = 60) -> Iterator[docker.APIClient]:
    """A client of the engine at `docker_host`, or of the one the environment names.

    Args:
        docker_host: for example `unix:///var/run/docker.sock`; None follows DOCKER_HOST and its
            TLS variables, as the docker client does.
        timeout: seconds to wait for an answer.

    Raises:
        ExternalFailure: no engine answers there.
    """
    with engine_errors("connecting"):
        if docker_host is None:
            client = docker.from_env(timeout=timeout).api
        else:
            client = docker.APIClient(base_url=docker_host, timeout=timeout)
    try:
        yield client
    finally:
        client.close()
