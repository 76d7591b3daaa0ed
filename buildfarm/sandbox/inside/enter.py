"""What a container starts, with the name of a script; its plan comes through the pipe /in/plan."""

from __future__ import annotations

import importlib
import json
import os
import sys

from buildfarm.sandbox.inside import door, steps

_PLAN = "/in/plan"


def main() -> None:
    """Make ready, wait for the plan, run the phase, say the last word; the exit code is the phase's.

    The container is started ahead of its use: what a script's `prepare` does needs nothing of the attempt.
    """
    os.dup2(1, 2)  # one stream keeps the order of what is printed
    os.umask(0o022)
    script = importlib.import_module(f"buildfarm.sandbox.inside.{sys.argv[1]}")
    broken: Exception | None = None
    try:
        steps.write_cargo_config()
        script.prepare()
    except Exception as error:  # noqa: BLE001 - nobody listens yet: it is told when the plan is there
        broken = error
    door.open_port()
    with open(_PLAN, encoding="utf-8") as pipe:  # opens when there is somebody who writes
        plan = json.load(pipe)
    code, facts = 0, {}
    try:
        if broken is not None:
            raise RuntimeError(f"the image is not as it should be: {broken}")
        facts = script.main(plan, steps.clean_environment(plan))
    except steps.FailedError as failed:
        code = failed.code
    except RuntimeError as error:
        print(f"ERROR: {error}", flush=True)
        code = 1
    print(steps.OVER, flush=True)
    door.put_facts({**facts, "exit_code": code})
    os._exit(code)  # the interpreter's own end would take longer than the last word
