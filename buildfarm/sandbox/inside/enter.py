"""What a container starts, with the name of a script; its plan comes as /in/plan.json."""

from __future__ import annotations

import importlib
import json
import os
import sys
import time

from buildfarm.sandbox.inside import door, steps

_PLAN = "/in/plan.json"


def main() -> None:
    """Open the door, run the phase, say the last word; the exit code is the phase's."""
    os.dup2(1, 2)  # one stream keeps the order of what is printed
    os.umask(0o022)
    door.open_port()
    while not os.path.exists(_PLAN):  # the container is started ahead of its use
        time.sleep(0.02)
    with open(_PLAN, encoding="utf-8") as file:
        plan = json.load(file)
    code, facts = 0, {}
    try:
        script = importlib.import_module(f"buildfarm.sandbox.inside.{sys.argv[1]}")
        facts = script.main(plan, steps.clean_environment(plan))
    except steps.FailedError as failed:
        code = failed.code
    except RuntimeError as error:
        print(f"ERROR: {error}", flush=True)
        code = 1
    door.put_facts(facts)
    sys.exit(code)
