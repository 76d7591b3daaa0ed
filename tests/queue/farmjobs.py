"""Functions for test workers, allow-listed there. They tell what happened through files."""

import os
import time
from pathlib import Path


def _folder() -> Path:
    return Path(os.environ["FARM_TEST_DIR"])


def note(work_id: str, attempt: int, hand_over: int) -> None:
    """Add one line to the record of what ran."""
    with (_folder() / "ran").open("a") as record:
        record.write(f"{work_id} {attempt} {hand_over}\n")


def hold(work_id: str, attempt: int, hand_over: int) -> None:
    """Say which process runs this, wait for permission, then note it."""
    new = _folder() / f"{work_id}.new"
    new.write_text(str(os.getpid()))
    new.rename(_folder() / f"{work_id}.pid")
    end = time.monotonic() + 60
    while not (_folder() / f"{work_id}.go").exists() and time.monotonic() < end:
        time.sleep(0.01)
    note(work_id, attempt, hand_over)


def fail(work_id: str, attempt: int, hand_over: int) -> None:
    """Note it, then fail with something secret in the message."""
    note(work_id, attempt, hand_over)
    raise RuntimeError("hunter2")


def called_back(*_arguments: object) -> None:
    """What no job may name."""
    (_folder() / "called_back").touch()
