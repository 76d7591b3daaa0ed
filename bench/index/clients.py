"""Real clients on a real set of distributions: wall time of cold runs, ours and a peer in turn."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from bench.index.load import in_turn
from bench.index.process import Server
from bench.index.real import ASKED, pins
from bench.index.stand import Stand
from bench.row import Row

_PROGRAMS = Path(__file__).resolve().parents[2] / ".cache" / "clients" / "bin"
#: Wheels alone: nothing is built, so that nothing but index and client is timed.
_WHEELS = ("--only-binary", ":all:")
#: `{url}` is the index, `{pins}` the pinned set, `{asked}` the unpinned, `{target}` an empty folder.
_COMMANDS = {
    "resolve_uv": ("uv", "pip", "compile", "-q", "--no-cache", *_WHEELS, "--index-url", "{url}", "{asked}"),
    "install_uv": ("uv", "pip", "install", "-q", "--no-cache", "--target", "{target}", *_WHEELS,
                   "--index-url", "{url}", "-r", "{pins}"),
    "install_pip": ("python", "-m", "pip", "install", "-q", "--no-cache-dir", "--no-compile",
                    *_WHEELS, "--target", "{target}", "--index-url", "{url}", "-r", "{pins}"),
}  # fmt: skip


def against_static(stand: Stand, name: str, client: str, goal: float) -> Row:
    """A client on our channel, and on nginx with the same bytes."""
    index = "/dev/simple/"
    return compared(stand, name, client, goal, (stand.real.reads, index), (stand.real_static, index))


def compared(
    stand: Stand, name: str, client: str, goal: float, ours: tuple[Server, str], peer: tuple[Server, str]
) -> Row:
    """A client's wall seconds on two indexes in turn."""
    command = _COMMANDS[client]
    shown = " ".join(command)
    samples = in_turn(_sampler(stand, command, *ours), _sampler(stand, command, *peer))
    return Row(
        name, "wall s", samples[0], f"{shown}  # {ours[0].command}",
        samples[1], peer[0].name, f"{shown}  # {peer[0].command}", goal,
    )  # fmt: skip


def _sampler(stand: Stand, command: Sequence[str], server: Server, index: str) -> Callable[[], float]:
    parts = urlsplit(server.url)
    login = f"__token__:{server.password}@" if server.password else ""
    url = f"{parts.scheme}://{login}{parts.netloc}{index}"
    target = stand.folder / "target"
    pinned = stand.folder / "pins.txt"
    pinned.write_text(pins())
    words = {"url": url, "asked": ASKED, "pins": pinned, "target": target}
    filled = [part.format(**words) for part in command]

    def sample() -> float:
        shutil.rmtree(target, ignore_errors=True)
        began = time.monotonic()
        done = subprocess.run(
            [str(_PROGRAMS / filled[0]), *filled[1:]],
            env=_environment(stand.folder), capture_output=True, text=True,
        )  # fmt: skip
        wall = time.monotonic() - began
        if done.returncode:
            raise SystemExit(f"bench: {filled[0]} failed on {server.name}:\n{done.stderr[-2000:]}")
        return wall

    return sample


def _environment(home: Path) -> dict[str, str]:
    """No configuration of this machine's clients may help or hinder."""
    foreign = ("PIP_", "UV_", "BUILDFARM_", "PYTHON")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "UV_NO_CONFIG": "1",
        "HOME": str(home),
        "TMPDIR": str(home),
    }
