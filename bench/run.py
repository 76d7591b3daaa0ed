"""`python -m bench.run AREA`: run one area's benchmarks and write bench/results/AREA.json.

The file holds samples, not verdicts: `{"machine": ..., "rows": [{"name", "unit", "ours": [...],
"peer": [...], "peer_name", "ours_command", "peer_command"}]}`; medians and ratios are computed by the reader.
"""

from __future__ import annotations

import importlib
import json
import os
import platform
import statistics
import sys
from pathlib import Path

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


def main(area: str) -> None:
    """Run an area and print its medians."""
    about = machine()
    rows = importlib.import_module(f"bench.{area}").rows()
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{area}.json"
    path.write_text(json.dumps({"machine": about, "rows": rows}, indent=1) + "\n")
    print(f"\n{'what':44} {'ours':>9} {'peer':>9} {'ratio':>6}  unit   peer")
    for row in rows:
        ours = statistics.median(row["ours"])
        if row["peer"]:
            peer = statistics.median(row["peer"])
            figures = f"{ours:9.3f} {peer:9.3f} {ours / peer:6.2f}"
            print(f"{row['name']:44} {figures}  {row['unit']:5}  {row['peer_name']}")
        else:
            print(f"{row['name']:44} {ours:9.3f} {'':9} {'':6}  {row['unit']}")
    print(f"\nsamples: {path}")


if __name__ == "__main__":
    main(*sys.argv[1:] or ["farm"])
