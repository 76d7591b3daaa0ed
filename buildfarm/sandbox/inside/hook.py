"""Call one build backend hook (PEP 517) in the project's build environment.

    python .../hook.py BACKEND BACKEND_PATH_JSON HOOK ARGUMENTS_JSON RESULT_FILE

Runs in a process of its own for each hook, as the PEP asks, with the project as working directory.
A hook that does not exist leaves `null` in the result file.
"""

from __future__ import annotations

import importlib
import json
import os
import sys


def main() -> None:
    """Import the backend as the PEP says, call the hook, write what it returned."""
    backend, backend_path, hook, arguments, result = sys.argv[1:]
    # Python put this script's directory first; a project must not import from there.
    sys.path[0:1] = [os.path.abspath(path) for path in json.loads(backend_path)]
    module, _, attribute = backend.partition(":")
    try:
        target: object = importlib.import_module(module)
        for name in attribute.split(".") if attribute else ():
            target = getattr(target, name)
    except (ImportError, AttributeError) as error:
        # Before the traceback: the log's first telling line shall name the backend.
        print(f"ERROR: the build backend {backend!r} cannot be loaded: {error}", flush=True)
        raise
    function = getattr(target, hook, None)
    sys.argv = sys.argv[:1]
    answer = function(*json.loads(arguments)) if function is not None else None
    with open(result, "w", encoding="utf-8") as file:
        json.dump(answer, file)


if __name__ == "__main__":
    main()
