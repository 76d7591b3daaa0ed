"""Call hooks of one build backend (PEP 517) in the project's build environment.

    python .../hook.py BACKEND BACKEND_PATH_JSON STATUS_FD

Each line of standard input is `[HOOK, ARGUMENTS, RESULT_FILE]` as JSON, and the exit code of each call is
written to the descriptor as a line. Every hook has a process of its own, as the PEP asks, with the
project as working directory; it is forked from one that has imported the backend, which takes most
backends longer than the hook. A hook that does not exist leaves `null` in the result file.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import sys


def _backend(name: str, backend_path: str) -> object:
    """The backend object, found as the PEP says."""
    # Python put this script's directory first; a project must not import from there.
    sys.path[0:1] = [os.path.abspath(path) for path in json.loads(backend_path)]
    module, _, attribute = name.partition(":")
    try:
        backend: object = importlib.import_module(module)
        for part in attribute.split(".") if attribute else ():
            backend = getattr(backend, part)
    except (ImportError, AttributeError) as error:
        # Before the traceback: the log's first telling line shall name the backend.
        print(f"ERROR: the build backend {name!r} cannot be loaded: {error}", flush=True)
        raise
    return backend


def _call(backend: object, hook: str, arguments: list[object], result: str) -> None:
    function = getattr(backend, hook, None)
    answer = function(*arguments) if function is not None else None
    with open(result, "w", encoding="utf-8") as file:
        json.dump(answer, file)


def main() -> None:
    """Import the backend, then fork for each line."""
    name, backend_path, status = sys.argv[1:]
    backend = _backend(name, backend_path)
    sys.argv = sys.argv[:1]
    requests = os.fdopen(os.dup(0), encoding="utf-8")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    for line in requests:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if child == 0:
            os.close(int(status))
            requests.close()
            atexit._clear()  # what the import left to be done at the end is not for each hook to do
            importlib.invalidate_caches()
            _call(backend, *json.loads(line))
            return
        _, how = os.waitpid(child, 0)
        os.write(int(status), b"%d\n" % os.waitstatus_to_exitcode(how))


if __name__ == "__main__":
    main()
