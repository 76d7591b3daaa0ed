"""`python -m bench.run AREA [--only ROW ...]`: run one area's benchmarks, write bench/results/AREA.json.

The file holds samples, not verdicts: `{"machine": ..., "rows": [{"name", "unit", "ours": [...],
"peer": [...], "peer_name", "ours_command", "peer_command", "goal"}]}`; medians and ratios are computed by
the reader. It is written anew after every row, so what an interrupted run measured is kept. With `--only`
the table is printed and the file left as it is.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import signal
from pathlib import Path

from bench.row import HEADING, Row

RESULTS = Path(__file__).parent / "results"


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    model = next(
        (
            line.split(":", 1)[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    return {
        "cpu": model,
        "cpus": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average_at_start": os.getloadavg()[0],
    }


def main() -> None:
    """Run an area; every row is printed when it is there."""
    parser = argparse.ArgumentParser(prog="python -m bench.run", description=__doc__)
    parser.add_argument("area", nargs="?", default="farm", choices=("farm", "index"))
    parser.add_argument("--only", nargs="+", default=[], metavar="ROW", help="these rows; writes no file")
    asked = parser.parse_args()
    # Whoever ends this ends the servers that it started as well; SystemExit is for a row that is thrown out.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    about, rows = machine(), list[Row]()
    path = RESULTS / f"{asked.area}.json"
    print(HEADING, flush=True)
    for row in importlib.import_module(f"bench.{asked.area}").rows(asked.only):
        print(row.line(), flush=True)
        rows.append(row)
        if not asked.only:
            RESULTS.mkdir(exist_ok=True)
            document = {"machine": about, "rows": [one.as_json() for one in rows]}
            path.write_text(json.dumps(document, indent=1) + "\n")
    if not asked.only:
        print(f"\nsamples: {path}")


if __name__ == "__main__":
    main()
