"""What a builder is told of a recipe: plain values under the names that the sandbox expects."""

from __future__ import annotations

from typing import Any

from buildfarm.recipes.model import Limits, Recipe
from buildfarm.recipes.plan import Target


def to_attempt_spec_fields(recipe: Recipe, target: Target) -> dict[str, Any]:
    """The recipe's share of an attempt's specification, as JSON values.

    `test` is None only where the recipe gave the test up; an empty command in it asks for the import
    check. The source distribution is made by the primary target alone, so that a build makes it once.

    Raises:
        ValueError: the target is a skipped one.
    """
    if target.skip_reason is not None:
        raise ValueError(f"{target.name} is skipped: {target.skip_reason}")
    recipe = recipe.for_target(target.name)
    build = recipe.build
    return {
        "interpreter": target.interpreter,
        "build_image": target.build_image,
        "test_image": target.test_image,
        "subdirectory": recipe.path,
        "config_settings": {
            key: value if isinstance(value, str) else list(value)
            for key, value in build.config_settings.items()
        },
        "environment": dict(build.environment),
        "system_packages": list(build.system_packages),
        "before": list(build.before),
        "build_wheel": build.wheel,
        "build_sdist": build.sdist and target.is_primary and recipe.program is None,
        "repair": build.repair if isinstance(build.repair, bool) else list(build.repair),
        "expect_native": recipe.targets.native if recipe.program is None else True,
        "test": None if recipe.test is False else recipe.test.model_dump(mode="json"),
        "limits": _limits(recipe.limits),
        **_program(recipe),
    }


def _program(recipe: Recipe) -> dict[str, Any]:
    if recipe.program is None:
        return {}
    return {"program": {"name": recipe.project, **recipe.program.model_dump(mode="json")}}


def _limits(limits: Limits) -> dict[str, int | float]:
    return {
        "memory_bytes": limits.memory,
        "cpus": limits.cpus,
        "pids": limits.pids,
        "seconds": limits.time,
        "idle_seconds": limits.idle,
        "scratch_bytes": limits.scratch,
        "log_bytes": limits.log,
        "output_bytes": limits.output,
        "output_count": limits.artifacts,
    }
