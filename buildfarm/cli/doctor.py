"""`buildfarm doctor`: can this machine run a farm, is the one in this environment well, and what to do."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import requests
from sqlalchemy.exc import SQLAlchemyError

from buildfarm import bootstrap, clock, config
from buildfarm.cli.output import json_option
from buildfarm.cli.redis_server import find_server
from buildfarm.config import Settings
from buildfarm.db import migrate
from buildfarm.db.engine import Database
from buildfarm.errors import FarmError
from buildfarm.index.pagetree import PageTree
from buildfarm.index.prove import differences
from buildfarm.sandbox.images import check_engine, list_images
from buildfarm.scm.answers.show import backlog
from buildfarm.scm.hooking.show import unwell
from buildfarm.scm.instep import late_sources

#: Below this a build may well not fit.
_FREE_BYTES = 5 * 2**30
#: What an SCM has not been told for so long, it is not told in time.
_ANSWERS_OLD_S = 600.0
_REMEDIES = {
    "journal": "The record was changed behind the farm's back: restore a backup.",
    "database": "Rows were changed behind the farm's back: restore a backup.",
    "blobs": "Restore the blob from a backup, under its digest.",
    "pages": "Remove the file `serial` in the page folder: every page is rendered anew.",
}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: good, or what to do about it."""

    name: str
    good: bool
    value: str
    hint: str = ""


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=None, help="The farm's data folder.")
@click.option(
    "--index", "of_index", is_flag=True, help="Prove instead that journal, database, blobs and pages agree."
)
@json_option
def doctor(data: Path | None, *, of_index: bool, as_json: bool) -> None:
    """Check whether this machine can run a farm; exit code 1 when something is not as it should be."""
    settings = config.load(**({"data": data} if data else {}))
    findings = list(_index(settings) if of_index else _findings(settings))
    if as_json:
        click.echo(json.dumps({"findings": [asdict(finding) for finding in findings]}, indent=2))
    else:
        for finding in findings:
            click.echo(f"{'✓' if finding.good else '✗'} {finding.name}: {finding.value}")
            if finding.hint and not finding.good:
                click.echo(f"    {finding.hint}")
    raise SystemExit(0 if all(finding.good for finding in findings) else 1)


def _index(settings: Settings) -> Iterator[Finding]:
    """Every disagreement of the index, or one line that says that there is none."""
    farm = bootstrap.farm(settings)
    found = False
    for each in differences(farm.database, farm.blobs, PageTree(settings.pages_dir), settings):
        found = True
        yield Finding(each.where, False, each.what, _REMEDIES[each.where])
    if not found:
        yield Finding("index", True, "journal, database, blobs and pages agree")


def _findings(settings: Settings) -> Iterator[Finding]:
    yield from _engine()
    yield _attempted("queue server", _queue_server, "")
    yield _git()
    yield from _data(settings)
    if url := os.environ.get("BUILDFARM_URL"):
        yield from _farm(url.rstrip("/"))


def _engine() -> Iterator[Finding]:
    docker_host = os.environ.get("DOCKER_HOST")
    report = check_engine(docker_host)
    for found in report.findings:
        yield Finding(found.name, found.good, found.value, found.hint)
    if report.usable:
        images = list_images(docker_host)
        names = ", ".join(sorted({f"{image.platform} {image.role}" for image in images}))
        yield Finding("builder images", bool(images), names or "none", "docker/build-images.sh makes them.")
    else:
        hint = "docker/engine.sh start starts a private one; give the farm its address in DOCKER_HOST."
        yield Finding("builds", False, "cannot run without a usable engine", hint)


def _queue_server() -> str:
    program = find_server()
    return f"{program.path} {'.'.join(map(str, program.version))}"


def _git() -> Finding:
    path = shutil.which("git")
    if path is None:
        return Finding("git", False, "not found", "Install git.")
    said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False, timeout=10)
    return Finding("git", said.returncode == 0, said.stdout.strip())


def _data(settings: Settings) -> Iterator[Finding]:
    place = settings.data.absolute()
    existing = next(folder for folder in (place, *place.parents) if folder.is_dir())
    writable = os.access(existing, os.W_OK)
    yield Finding("data folder", writable, str(place), "Choose another with --data, or mend its rights.")
    free = shutil.disk_usage(existing).free
    yield Finding(
        "disk",
        free > _FREE_BYTES,
        f"{free / 2**30:.1f} GiB free",
        "Builds and blobs need room: 5 GiB at least.",
    )
    if settings.database or (place / "farm.db").is_file():
        yield _attempted("database", lambda: _revision(settings), "")
        yield from _in_step(settings)
        yield _outbox(settings)


def _outbox(settings: Settings) -> Finding:
    """Whether what SCMs are to be told reaches them."""
    hint = "`buildfarm source show NAME` and the build's page say what waits; docs/answers.md what to do."
    database = Database(settings.database_url)
    try:
        with database.read() as session:
            found = backlog(session)
    except (FarmError, SQLAlchemyError):
        return Finding("answers to SCMs", True, "not looked at: the database is not up to date")
    finally:
        database.close()
    waits = f"{found.waiting} waiting, for {found.oldest_s / 60:.0f} min at the most"
    said = "; ".join((waits if found.waiting else "none waiting", *found.troubles))
    return Finding("answers to SCMs", found.oldest_s < _ANSWERS_OLD_S, said, hint)


def _revision(settings: Settings) -> str:
    database = Database(settings.database_url)
    try:
        current, head = migrate.revisions(database)
    finally:
        database.close()
    state = (
        "up to date" if current == head else f"this release is at {head}; `buildfarm up` brings it up to date"
    )
    return f"revision {current}, {state}"


def _in_step(settings: Settings) -> Iterator[Finding]:
    """Sources whose repositories could not be compared with what was built for long."""
    database = Database(settings.database_url)
    try:
        current, head = migrate.revisions(database)
        if current != head:
            return
        with database.read() as session:
            late = late_sources(session, clock.now(), settings.timing.sweep_s)
            hooks = unwell(session)
    finally:
        database.close()
    hint = "Each one's page says more; while no keeper runs none is looked at."
    for name, step in late.items():
        since = f"since {clock.iso_seconds(step.in_step_at)}" if step.in_step_at else "so far"
        yield Finding(
            f"source {name}", False, f"not in step {since}: {step.problem or 'nobody looked'}", hint
        )
    if not late:
        yield Finding("sources", True, "all in step with their SCMs")
    for name, problem in hooks.items():
        yield Finding(
            f"hook of {name}", False, problem, f"`buildfarm source hook repair {name}` makes it so."
        )


def _farm(url: str) -> Iterator[Finding]:
    looks = {
        "web": "/healthz",
        "ready": "/readyz",
        "trusted root": "/tuf/targets/trusted_root.json",
    }
    for name, path in looks.items():
        try:
            answer = requests.get(url + path, timeout=5)
            detail = "" if answer.ok else f" {answer.text.strip()[:200]}"
            good, value = answer.ok, f"{answer.status_code}{detail}"
        except requests.RequestException as err:
            good, value = False, type(err).__name__
        yield Finding(
            f"{name} {url}{path}", good, value, "See the farm's logs, and run/status.json in its data folder."
        )


def _attempted(name: str, look: Callable[[], str], hint: str) -> Finding:
    try:
        return Finding(name, True, look())
    except FarmError as err:
        return Finding(name, False, err.message, err.hint or hint)
