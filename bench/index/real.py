"""The real set: projects whose closure clients resolve and install, pinned with hashes in real.txt."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

#: What is asked for, and the whole closure.
ASKED = Path(__file__).with_name("real.in")
_LOCKED = Path(__file__).with_name("real.txt")
_KEPT = Path(__file__).resolve().parents[2] / ".cache" / "bench" / "real"


def fetch() -> list[Path]:
    """The wheels of the set, from the index that this machine's pip is configured for; kept in .cache."""
    _KEPT.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--require-hashes",
         "--only-binary", ":all:", "--dest", str(_KEPT), "-r", str(_LOCKED)],
        check=True, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return sorted(_KEPT.glob("*.whl"))


def pins() -> str:
    """The set as names and versions alone: the lines of a requirements file."""
    return "".join(line.split(" ")[0] + "\n" for line in _LOCKED.read_text().splitlines() if "==" in line)
