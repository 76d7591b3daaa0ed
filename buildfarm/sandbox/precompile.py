"""Compiling what was noted, in a container that runs nothing of it; see bytecode.py."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import docker
from buildfarm import log
from buildfarm.errors import FarmError
from buildfarm.sandbox import prestart
from buildfarm.sandbox.bytecode import ROOM, store_of
from buildfarm.sandbox.channel import Channel
from buildfarm.sandbox.compilecache import trim
from buildfarm.sandbox.containers import Stop, using
from buildfarm.sandbox.engine import connect
from buildfarm.sandbox.inside.steps import NOTHING
from buildfarm.sandbox.port import IndexAnswer
from buildfarm.sandbox.prestart import Kind
from buildfarm.sandbox.spec import MIB, Limits

_log = log.get(__name__)

_PACK = "bytecode.tar"
_LIMITS = Limits(cpus=1, memory_bytes=1024 * MIB, seconds=120, output_count=1)


def compile_noted(*, docker_host: str | None, workdir: Path, instance: str) -> bool:
    """Compile one wheel that was noted; False when there is none.

    To be called when there is nothing else to do. What cannot be compiled is not tried again; what an
    engine kept from it is forgotten until it is noted again.
    """
    store = store_of(workdir)
    for noted in store.glob("noted/*/*.whl"):
        interpreter, _, image = noted.parent.name.partition(".")
        with tempfile.TemporaryDirectory(prefix="bytecode-", dir=workdir) as scratch:
            wheel = Path(scratch) / "compile.whl"
            try:
                noted.rename(wheel)
            except OSError:  # another process of this host was quicker
                continue
            kind = Kind("bytecode", f"sha256:{image}", interpreter, _LIMITS)
            packs = store / interpreter
            try:
                with connect(docker_host) as client:
                    made = _compiled(client, kind, wheel, instance)
                made.rename(packs / f"{noted.stem}.tar")
                trim(packs, ROOM)
            except (FarmError, OSError) as error:
                _log.info("bytecode_not_made", reason=str(error))
        return True
    return False


def _compiled(client: docker.APIClient, kind: Kind, wheel: Path, instance: str) -> Path:
    """The pack of a wheel; an empty one where it cannot be compiled."""
    folder = wheel.parent / "container"
    started = prestart.start_one(client, kind, folder, instance)
    ends = time.monotonic() + _LIMITS.seconds

    def should_stop() -> Stop | None:
        return "deadline" if time.monotonic() > ends else None

    outputs = prestart.directory(folder / "out")
    name = f"{instance}.{folder.parent.name}"
    with (
        using(client, started.container_id, name, _unheard) as container,
        Channel(_NoIndex(), started.door, outputs, _LIMITS, accepts=_PACK.__eq__) as channel,
    ):
        wheel.chmod(0o644)
        (started.given / wheel.name).hardlink_to(wheel)
        plan = {**NOTHING, "wheel": wheel.name}
        started.tell(plan, lambda: container.has_ended or bool(should_stop()))
        container.watch(should_stop, lambda: False)
    if channel.traffic.outputs:
        return channel.traffic.outputs[0].path
    nothing = folder / _PACK
    nothing.touch()
    return nothing


class _NoIndex:
    """What the door of such a container leads to: nothing."""

    def index_get(self, _path: str, _headers: Mapping[str, str]) -> IndexAnswer:
        """Nothing is here."""
        return IndexAnswer(404)


def _unheard(_said: bytes) -> None:
    """What it prints is nobody's."""
