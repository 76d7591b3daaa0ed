"""Runs a supervisor as a program: `python tree.py SPEC.json`; events go to standard output as JSON lines."""

import json
import os
import signal
import sys
from pathlib import Path

from buildfarm.cli.supervise import Child, Supervisor
from buildfarm.errors import EnvironmentProblem


def child(folder: Path, name: str, spec: dict) -> Child:
    ready_file = spec.get("ready_file")
    return Child(
        name=name,
        argv=[sys.executable, "-c", spec["code"]],
        env=dict(os.environ, **spec.get("env", {})),
        cwd=folder,
        log_path=folder / "logs" / f"{name}.log",
        order=spec.get("order", 0),
        ready=(lambda: (folder / ready_file).exists()) if ready_file else None,
        stop_signal=signal.Signals(spec.get("stop_signal", signal.SIGTERM)),
        stop_grace_s=spec.get("grace", 10.0),
    )


def main() -> int:
    spec_file = Path(sys.argv[1])
    folder = spec_file.parent
    children = [child(folder, name, spec) for name, spec in json.loads(spec_file.read_text()).items()]

    def report(event: str, facts: dict) -> None:
        print(json.dumps({"event": event, **facts}), flush=True)

    supervisor = Supervisor(children, on_event=report, status_path=folder / "status.json")
    try:
        supervisor.start(deadline_s=float(os.environ.get("DEADLINE", "60")))
    except EnvironmentProblem as problem:
        report("refused", {"message": problem.message, "code": problem.code, "log": problem.facts.get("log")})
        return 2
    report("up", {})
    return supervisor.run()


if __name__ == "__main__":
    sys.exit(main())
