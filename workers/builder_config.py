"""What a builder is given: one JSON file, and nothing of the control zone's settings."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from buildfarm.errors import EnvironmentProblem

VARIABLE = "BUILDER_CONFIG"


class BuilderConfig(BaseModel):
    """The farm's URL, the builder's token, its Redis login, its engine, its queues by urgency.

    `slots` is how many such processes this host runs for the builder, `emulates` are the machines besides its
    own that it builds for.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    farm_url: str
    token: str
    redis: str
    redis_user: str
    docker_host: str | None
    workdir: Path
    instance: str
    queues: tuple[str, ...]
    slots: int
    emulates: tuple[str, ...] = ()


def load() -> BuilderConfig:
    """The configuration that the variable `BUILDER_CONFIG` names.

    Raises:
        EnvironmentProblem: `builder.config`.
    """
    path = os.environ.get(VARIABLE, "")
    try:
        return BuilderConfig.model_validate_json(Path(path).read_bytes())
    except (OSError, ValidationError) as err:
        raise EnvironmentProblem(
            f"The builder's configuration {path!r} cannot be used: {err}", code="builder.config"
        ) from err
