"""The closed list of what goes wrong: for each class whose fault it is and what to do next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from buildfarm.sandbox.spec import Cause, FailureClass


@dataclass(frozen=True)
class Failure:
    """Whose fault a failure of this class is, and the next step in one sentence."""

    cause: Cause
    next_step: str


FAILURES: Mapping[FailureClass, Failure] = {
    "dependency-resolution": Failure(
        "user_code", "Correct the requirement that is named, or bring the missing version into the index."
    ),
    "dependency-build": Failure(
        "user_code",
        "Require a version of the named dependency that has a wheel for this target, or build one.",
    ),
    "missing-module": Failure(
        "user_code", "Add what holds the named module to `requires` under `[build-system]` in pyproject.toml."
    ),
    "missing-header": Failure(
        "user_code",
        "Name the package that has the header in the recipe's `build.system_packages`, or ship the header.",
    ),
    "missing-library": Failure(
        "user_code", "Name the development package of the library in the recipe's `build.system_packages`."
    ),
    "missing-program": Failure(
        "user_code",
        "Add what brings the program to `requires` under `[build-system]`, or to `build.system_packages`.",
    ),
    "system-package": Failure(
        "user_code", "Correct the recipe's `system_packages`: they are names of the image's distribution."
    ),
    "metadata": Failure(
        "user_code", "Correct the project's own configuration (pyproject.toml, setup.cfg) as the line says."
    ),
    "backend": Failure(
        "user_code",
        "Correct `build-backend` in pyproject.toml, or add the project that holds it to `requires`.",
    ),
    "configure": Failure(
        "user_code", "Read on below the quoted line: the project's configure step says what it misses."
    ),
    "compile": Failure("user_code", "Correct the source where the line says; the other targets may pass it."),
    "link": Failure(
        "user_code", "Name the library that defines the symbol to the linker, after what uses it."
    ),
    "network-attempted": Failure(
        "user_code", "Put what the build tries to fetch into the source or the index: builds have no network."
    ),
    "build": Failure(
        "user_code", "Read the log from the quoted line on, or run it yourself: `buildfarm job reproduce`."
    ),
    "import": Failure(
        "user_code",
        "Put the named module into the wheel, its dependencies, or the recipe's test requirements.",
    ),
    "test": Failure(
        "user_code", "Run the test against the wheel in a clean environment, without the source beside it."
    ),
    "repair": Failure(
        "checks", "Build in an older image, or link statically what is named, so that the wheel fits its tag."
    ),
    "shape": Failure(
        "checks", "Make the build leave what the recipe expects of it, or correct what the recipe expects."
    ),
    "out-of-memory": Failure(
        "limit", "Raise `memory` among the recipe's limits, or run fewer compilers at once."
    ),
    "timeout": Failure("limit", "Raise `time` among the recipe's limits, or see which phase takes so long."),
    "idle": Failure("limit", "See what ran last: it hangs, or it has to print something while it works."),
    "disk-full": Failure(
        "limit", "Raise `scratch` among the recipe's limits, and `memory` with it, as scratch lies in memory."
    ),
    "processes": Failure("limit", "Raise `pids` among the recipe's limits, or run fewer processes at once."),
    "output": Failure(
        "limit", "Raise `output` or `artifacts` among the recipe's limits, or leave things out."
    ),
    "dependency-refused": Failure(
        "policy", "Require another version, or ask an administrator to let it pass or to name the registry."
    ),
    "probing": Failure(
        "policy", "See in the log which names were asked for and by what: no build needs so many wrong ones."
    ),
    "source": Failure("infrastructure", "Start the build again; an administrator checks the farm's storage."),
    "engine": Failure("infrastructure", "An administrator runs `buildfarm doctor` on the builder's machine."),
    "farm": Failure("infrastructure", "Start the build again once the farm and its upstream answer."),
    "lost": Failure("infrastructure", "Start the build again; an administrator sees why the builder died."),
}
