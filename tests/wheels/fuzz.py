"""`make fuzz`: inputs that reach new lines of the validator, SECONDS for each target (default 60).

    python -m tests.wheels.fuzz            every target, one after the other
    python -m tests.wheels.fuzz zip FILE   one target, once

New inputs go to `.cache/fuzz/TARGET`; an input that breaks a promise is written to `.cache/fuzz/` and
belongs, once mended, into `tests/wheels/corpus/TARGET`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["buildfarm.wheels", "packaging.metadata", "tarfile", "zipfile"]):
    from tests.wheels.targets import CORPUS, TARGETS

FOUND = Path(".cache/fuzz")
MOST_BYTES, MOST_RUNS = 16_384, 2_000_000


def main() -> None:
    """Run one target in this process, or each in one of its own."""
    if len(sys.argv) > 1:
        name = sys.argv.pop(1)
        atheris.Setup(sys.argv, TARGETS[name])
        atheris.Fuzz()
    seconds = int(os.environ.get("SECONDS_EACH", "60"))
    failed = [name for name in TARGETS if not fuzz(name, seconds)]
    sys.exit(f"fuzzing broke: {', '.join(failed)}" if failed else 0)


def fuzz(name: str, seconds: int) -> bool:
    """Whether a target held for that long; the new inputs are kept apart from the committed ones."""
    (FOUND / name).mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={seconds}", f"-runs={MOST_RUNS}", f"-max_len={MOST_BYTES}", "-timeout=10"]
    options += ["-rss_limit_mb=1024", "-print_final_stats=1", f"-artifact_prefix={FOUND}/{name}-"]
    command = [sys.executable, "-m", "tests.wheels.fuzz", name, *options, FOUND / name, CORPUS / name]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    said = ended.stderr.splitlines()
    runs = next((line.split()[-1] for line in said if "number_of_executed_units" in line), "0")
    covered = next((line.split("cov: ")[1].split()[0] for line in reversed(said) if "cov: " in line), "0")
    print(f"{name}: {runs} runs in {seconds} s, {covered} places, exit {ended.returncode}", flush=True)
    if ended.returncode:
        print(ended.stdout[-3000:], ended.stderr[-3000:], sep="\n")
    return ended.returncode == 0


if __name__ == "__main__":
    main()
