"""`buildfarm mirror export|import`: what of a mirror goes to a site without a network, in a folder."""

from __future__ import annotations

import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

import click

from buildfarm.cli.client import Client, from_environment
from buildfarm.cli.output import Columns, json_option, plain, print_facts, print_part
from buildfarm.cli.prefetch import MISSED, fetch
from buildfarm.errors import FarmError, NotFound
from buildfarm.mirror.folder import BundleFolder
from buildfarm.mirror.manifest import Carried
from buildfarm.trust import pin, root

#: How long the farm's signer is waited for, and how often it is asked, seconds.
_PATIENCE_S, _PAUSE_S = 60.0, 0.5
_EXPORTED: Columns = {
    "folder": "folder",
    "projects": "projects",
    "files": "files",
    "bytes": "bytes",
    "manifest": "sha256",
    "journal row": "serial",
}
_IMPORTED: Columns = {
    "written by": "origin",
    "manifest": "sha256",
    "projects": "projects",
    "changed": "changed",
    "new files": "new_files",
    "files here before": "old_files",
    "new advisories": "advisories",
}
_PASSED_OVER: Columns = {"project": "project", "rule": "rule", "why": "sentence"}
#: The rule that passes a project over which is meant to be the farm's own.
_OURS = "name-is-ours"


@click.command(name="export")
@click.argument("channel")
@click.option(
    "--out",
    "path",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to write; a second export into it copies only files that are new.",
)
@click.option(
    "--requirements",
    "--lock",
    "lock",
    type=click.File(encoding="utf-8"),
    help="Fetch and take along what this requirements.txt, uv.lock or pylock.toml needs.",
)
@click.option("--all", "everything", is_flag=True, help="Take along every upstream file that is here.")
@json_option
def export_command(
    channel: str, path: Path, lock: IO[str] | None, *, everything: bool, as_json: bool
) -> None:
    """Write a signed bundle of what CHANNEL has of upstream, for a site without a network.

    The channel's policy holds for what goes along. Exit code 1 when something that is needed does not.
    """
    if (lock is None) == (not everything):
        raise click.UsageError("Give either --lock FILE or --all.")
    farm, text, missed = from_environment(), None, []
    if lock is not None:
        text = lock.read()
        plan = farm.post("channels", channel, "prefetch", body={"text": text})
        missed = plan["missed"] + fetch(farm, channel, plan["files"], quiet=as_json)
    made = farm.post("channels", channel, "exports", body={"text": text})
    _write(farm, channel, made["serial"], BundleFolder(path))
    facts = made | {"folder": str(path), "missed": missed}
    print_facts(facts, _EXPORTED, as_json=as_json)
    if not as_json:
        print_part("Missing", missed, MISSED)
    raise SystemExit(1 if missed else 0)


@click.command(name="import")
@click.argument("channel")
@click.argument("path", metavar="BUNDLE", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--trust",
    "trusted",
    required=True,
    type=click.Path(path_type=Path),
    help="The trusted_root.json of the farm that wrote it, whose digest you have compared.",
)
@json_option
def import_command(channel: str, path: Path, trusted: Path, *, as_json: bool) -> None:
    """Take a bundle into the mirror behind CHANNEL.

    Everything is checked before anything is taken in; a second run takes in what is not here yet. Exit
    code 1 when the bundle is not what its farm signed, or something of it could not be taken in.
    """
    farm, pinned, folder = from_environment(), pin.given(trusted), BundleFolder(path)
    folder.demand_root(pinned)
    folder.demand_whole(pinned.root)
    taken = farm.send_lines("channels", channel, "imports", lines=folder.lines(pinned))
    passed_over = {one["project"] for one in taken["passed_over"]}
    new = old = 0
    failed: list[dict[str, str]] = []
    for carried in folder.projects():
        if carried.page.name not in passed_over:
            sent, had = _send_files(farm, folder, carried, failed)
            new, old = new + sent, old + had
            # Renders the page now that all files are here, for whoever comes first.
            farm.pass_over(f"/{channel}/simple/{carried.page.name}/")
    facts = taken | {"new_files": new, "old_files": old, "failed": failed}
    print_facts(facts, _IMPORTED, as_json=as_json)
    if not as_json:
        print_part("Passed over", taken["passed_over"], _PASSED_OVER)
        print_part("Not taken in", failed, MISSED)
    in_vain = [one for one in taken["passed_over"] if one["rule"] != _OURS] + failed
    raise SystemExit(1 if in_vain else 0)


def _write(farm: Client, channel: str, serial: int, folder: BundleFolder) -> None:
    folder.make()
    farm.save(f"/api/v1/mirror/exports/{serial}/manifest", folder.manifest)
    for carried in folder.projects():
        for file in carried.files:
            if not folder.has(file):
                url = f"/{channel}/files/{carried.page.name}/{quote(file.filename)}"
                farm.save(url, folder.file(file))
    farm.save(f"/tuf/targets/{root.TRUSTED_ROOT}", folder.trusted_root)
    folder.evidence.write_text(_awaited(farm, serial))
    folder.demand_whole(root.load(folder.trusted_root))


def _awaited(farm: Client, serial: int) -> str:
    """The evidence of an export, once the signer has seen its row."""
    deadline = time.monotonic() + _PATIENCE_S
    while True:
        try:
            return str(farm.get("mirror", "exports", str(serial))["evidence"])
        except NotFound as err:
            if err.code != "export.unsigned" or time.monotonic() > deadline:
                raise
        time.sleep(_PAUSE_S)


def _send_files(
    farm: Client, folder: BundleFolder, carried: Carried, failed: list[dict[str, str]]
) -> tuple[int, int]:
    """Send what the farm does not hold yet; how many files it took, how many it had."""
    name = carried.page.name
    here = {one["filename"] for one in farm.get("mirror", "projects", name)["held"] if one["is_here"]}
    missing = [file for file in carried.files if file.filename not in here]
    sent = 0
    for file in missing:
        try:
            farm.send_file("mirror", "projects", name, "files", file.filename, file=folder.file(file))
        except FarmError as err:
            facts = {"project": name, "filename": file.filename, "rule": err.code, "sentence": err.message}
            failed.append(facts)
        else:
            sent += 1
            click.echo(plain(file.filename), err=True)
    return sent, len(carried.page.files) - len(missing)
