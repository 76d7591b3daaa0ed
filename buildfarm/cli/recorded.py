"""A run of a recorded attempt on this machine: the same plan, source, images and dependencies."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import requests
from pydantic import ValidationError

from buildfarm.cli.client import Client
from buildfarm.cli.output import log_text
from buildfarm.errors import Conflict, EnvironmentProblem, InvalidInput
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.images import missing_images
from buildfarm.sandbox.janitor import start_janitor
from buildfarm.sandbox.port import IndexAnswer
from buildfarm.sandbox.spec import AttemptOutcome, AttemptSpec

_CHUNK = 1 << 18
#: Header of the farm's answers that names what the attempt did not read.
_UNRECORDED = "X-Buildfarm-Unrecorded"
_PASSED = ("content-type", "content-length", "content-range", "accept-ranges", "etag", "cache-control")
#: What says how an attempt ended; a builder's own sentence may name times and paths.
_ENDING = ("state", "failure_class", "phase")


class RecordedFarm:
    """The farm as the attempt saw it, for a run that the farm knows nothing of.

    Implements `buildfarm.sandbox.port.FarmPort`. `made` are the finished files by name with their SHA-256;
    `unpinned` what this run read of the index though the attempt did not: projects, files of registries.
    """

    def __init__(self, client: Client, job_id: str, attempt: int, folder: Path) -> None:
        self._client = client
        self._root = f"/api/v1/jobs/{job_id}/attempts/{attempt}"
        self._folder = folder
        self._size = 0
        self.made: dict[str, str] = {}
        self.unpinned: set[str] = set()

    def fetch_source(self, into: Path) -> None:
        """Write the snapshot to `into`, and keep a copy for the person."""
        self._client.save(f"{self._root}/source", into)
        shutil.copy(into, self._folder / "source.tar")

    def heartbeat(self, phase: str, container_id: str | None) -> bool:
        """Nobody calls a run off but the person who started it, by a signal."""
        return True

    def append_log(self, _offset: int, _phase: str, text: str, _times_ms: list[int]) -> int:
        """Keep the lines, and show them on standard error."""
        with (self._folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(text)
        click.echo(log_text(text) if sys.stderr.isatty() else text, nl=False, err=True, color=True)
        self._size += len(text.encode())
        return self._size

    def put_artifact(self, path: Path, filename: str, sha256: str) -> None:
        """Keep a finished file."""
        dist = self._folder / "dist"
        dist.mkdir(exist_ok=True)
        shutil.copy(path, dist / filename)
        self.made[filename] = sha256

    def index_get(self, path: str, headers: Mapping[str, str]) -> IndexAnswer:
        """Relay a GET of a page or file."""
        answer = self._client.relay(f"{self._root}/index{path}", headers)
        if unrecorded := answer.headers.get(_UNRECORDED):
            self.unpinned.add(unrecorded)
        passed = {name: value for name, value in answer.headers.items() if name.lower() in _PASSED}
        return IndexAnswer(answer.status_code, passed, _body(answer))


def run(client: Client, job_id: str, attempt: int, plan: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Run the attempt on the engine that the environment names, and hold its end against the farm's.

    Finished files (`dist`), log and source snapshot are left in `folder`, which must be new or empty.

    Raises:
        Conflict: `reproduce.folder`, it is not empty.
        InvalidInput: `reproduce.plan`, the plan is one of another version of this program.
        EnvironmentProblem: `engine.image_missing`; `builder.workdir`, the folder cannot be written to.
        ExternalFailure: the engine, or the farm, does not answer.
    """
    spec = _spec(plan)
    if missing := missing_images(None, [image for image in (spec.build_image, spec.test_image) if image]):
        raise EnvironmentProblem(
            f"The engine here does not have the image {missing[0]}.",
            code="engine.image_missing",
            hint="Bring it from the builder's machine: `docker save` there, `docker load` here.",
        )
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise Conflict(f"{folder} is not empty.", code="reproduce.folder", hint="Name another with --into.")
    farm = RecordedFarm(client, job_id, attempt, folder)
    instance = f"reproduce-{os.getpid()}"
    work = folder / "work"
    janitor = start_janitor(None, instance, work)
    try:
        outcome = run_attempt(spec, farm, docker_host=None, workdir=work, instance=instance)
    finally:
        janitor.stop()
        shutil.rmtree(work, ignore_errors=True)
    return _held_against(plan, outcome, farm) | {"folder": str(folder)}


def _spec(plan: Mapping[str, Any]) -> AttemptSpec:
    try:
        return AttemptSpec.model_validate(plan["spec"])
    except ValidationError as err:
        where = ".".join(str(part) for part in err.errors()[0]["loc"])
        raise InvalidInput(
            f"The plan of this attempt cannot be followed here: {where}: {err.errors()[0]['msg']}.",
            code="reproduce.plan",
            hint="Use the version of buildfarm that the farm runs.",
        ) from err


def _held_against(plan: Mapping[str, Any], outcome: AttemptOutcome, farm: RecordedFarm) -> dict[str, Any]:
    now = outcome.model_dump(mode="json")
    before = {one["filename"]: one["sha256"] for one in plan["artifacts"]}
    files = [
        {"filename": name, "then": before.get(name), "now": farm.made.get(name)}
        for name in sorted({*before, *farm.made})
    ]
    told = (*_ENDING, "cause", "first_error")
    return {
        "alike": before == farm.made and all(plan[key] == now[key] for key in _ENDING),
        "then": {key: plan[key] for key in told},
        "now": {key: now[key] for key in told},
        "files": files,
        "unpinned": sorted(farm.unpinned),
    }


def _body(answer: requests.Response) -> Iterator[bytes]:
    # raw: the bytes as they came, whatever encoding the headers name
    with answer:
        yield from answer.raw.stream(_CHUNK, decode_content=False)
