"""What a container starts, with the name of a script; its plan comes through the pipe /in/plan."""

from __future__ import annotations

import importlib
import json
import os
import sys

from buildfarm.sandbox.inside import door, steps

_PLAN = "/in/plan"
_BROKEN = "/in/broken"


def main() -> None:
    """Make ready, wait for the plan, run the phase, say the last word; the exit code is the phase's.

    The container is started ahead of its use: what a script's `prepare` does needs nothing of the attempt.
    Where it fails, the image is broken, and the container waits at the other pipe, without a plan: so the
    builder knows that it was no code of a stranger, and listens when it is told why.
    """
    os.dup2(1, 2)  # one stream keeps the order of what is printed
    os.umask(0o022)
    script = importlib.import_module(f"buildfarm.sandbox.inside.{sys.argv[1]}")
    try:
        steps.write_cargo_config()
        script.prepare()
        door.open_port()
    except Exception as error:  # noqa: BLE001 - whatever it is, there is nothing to go on with
        with open(_BROKEN, encoding="utf-8"):  # opens when there is somebody who listens
            pass
        print(f"ERROR: the image is not as it should be: {error}", flush=True)
        os._exit(1)
    with open(_PLAN, encoding="utf-8") as pipe:  # opens when there is somebody who writes
        plan = json.load(pipe)
    code, facts = 0, {}
    try:
        facts = script.main(plan, steps.clean_environment(plan))
    except steps.FailedError as failed:
        code = failed.code
    except RuntimeError as error:
        print(f"ERROR: {error}", flush=True)
        code = 1
    print(steps.OVER, flush=True)
    door.put_facts({**facts, "exit_code": code})
    os._exit(code)  # the interpreter's own end would take longer than the last word
