"""`buildfarm verify`: what a file was built from, and whether that can be proved.

Exit codes: 0 everything verified, 1 a check failed, 2 some file has no provenance, 3 it cannot be
decided (no trusted root, no index, no network).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

from buildfarm.cli import pinned
from buildfarm.errors import EnvironmentProblem, FarmError, IntegrityFailure, InvalidInput, NotFound
from buildfarm.trust import pin
from buildfarm.trust.evidence import project_of
from buildfarm.trust.remote import BUNDLE_SUFFIX, REPRODUCED_SUFFIX, RemoteIndex
from buildfarm.trust.report import Check, Origin, Policy, Report
from buildfarm.trust.verify import verify_bundle, verify_reproduction
from buildfarm.trust.watch import LogWatch

_OK, _FAILED, _NO_PROVENANCE, _UNDECIDED = range(4)
_RELEASE = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s/]+)")


@dataclass(frozen=True)
class _File:
    """A file to verify; its bytes are read when the verification asks for the digest."""

    filename: str
    content: Path | str
    bundle: bytes | None
    #: Bundles about second builds, one a line.
    reproductions: bytes = b""


@dataclass(frozen=True)
class _Verdict:
    """What became of one file."""

    filename: str
    code: int
    message: str = ""
    hint: str = ""
    checks: tuple[Check, ...] = ()
    origin: Origin | None = None
    reproduced: tuple[Origin, ...] = ()


@dataclass
class _Outcome:
    """What is printed in the end."""

    verdicts: list[_Verdict] = field(default_factory=list)
    root: pin.Pinned | None = None
    error: FarmError | None = None

    @property
    def code(self) -> int:
        codes = {verdict.code for verdict in self.verdicts}
        if self.error is not None:
            codes.add(_UNDECIDED)
        return next((code for code in (_FAILED, _NO_PROVENANCE, _UNDECIDED) if code in codes), _OK)


@click.command()
@click.argument("what", metavar="FILE|PROJECT==VERSION")
@click.option(
    "--index", "index_url", metavar="URL", help="Channel to ask; the default is BUILDFARM_URL's dev."
)
@click.option(
    "--root", "root_path", type=click.Path(path_type=Path), help="Trusted root, instead of the pinned one."
)
@click.option(
    "--bundle", "bundle_path", type=click.Path(path_type=Path), help="Bundle, where it is not beside FILE."
)
@click.option("--offline", is_flag=True, help="Open no connection.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
@click.pass_context
def verify(
    context: click.Context,
    what: str,
    index_url: str | None,
    root_path: Path | None,
    bundle_path: Path | None,
    offline: bool,
    as_json: bool,
) -> None:
    """Verify where a file, or every file of a release, comes from.

    FILE is proved by the bundle beside it (FILE.sigstore.json), or else by the index's. The first use
    pins the farm's trusted root; compare the digest that is shown then with your administrator's.

    Exit codes: 0 verified, 1 a check failed, 2 no provenance, 3 it cannot be decided.
    """
    index = pinned.index(index_url)
    asked = None if offline else index
    outcome = _Outcome()
    try:
        outcome.root = pinned.trusted_root(root_path, index, offline=offline)
        watch = LogWatch(pinned.memory(), outcome.root.root, asked)
        issuers = outcome.root.root.homes | ({index.farm_url} if index else set())
        for file in _files(what, bundle_path, asked):
            outcome.verdicts.append(_judge(file, outcome.root, Policy(issuers), watch))
    except FarmError as error:
        outcome.error = error
    if as_json:
        click.echo(json.dumps(_as_json(outcome), indent=1))
    else:
        _print(outcome)
    context.exit(outcome.code)


def _files(what: str, bundle_path: Path | None, index: RemoteIndex | None) -> Iterator[_File]:
    path, release = Path(what), _RELEASE.fullmatch(what)
    if path.is_file():
        beside = path.with_name(path.name + REPRODUCED_SUFFIX)
        again = beside.read_bytes() if beside.is_file() else b""
        yield _File(path.name, path, _bundle_of(path, bundle_path, index), again)
    elif release is None:
        raise InvalidInput(
            f"{what} is neither a file nor PROJECT==VERSION.", code="verify.what", hint="Check the spelling."
        )
    elif index is None:
        raise EnvironmentProblem(
            f"The files of {what} are known to the index only, which is not to be asked.",
            code="verify.offline",
            hint="Leave --offline out and name the index, or give the files one by one.",
        )
    else:
        yield from _release(index, release[1], release[2])


def _release(index: RemoteIndex, project: str, version: str) -> Iterator[_File]:
    try:
        wanted = Version(version)
    except InvalidVersion as error:
        raise InvalidInput(f"{version} is no version.", code="verify.what") from error
    listed = [each for each in index.files(project) if _version(each.filename) == wanted]
    if not listed:
        raise NotFound(
            f"The index has no file of {project} {version}.",
            code="verify.release",
            hint="Check name, version and channel (--index).",
        )
    for each in listed:
        yield _File(each.filename, index.sha256(each), index.bundle(each), index.reproductions(each))


def _version(filename: str) -> Version | None:
    try:
        if filename.endswith(".whl"):
            return parse_wheel_filename(filename)[1]
        return parse_sdist_filename(filename)[1]
    except (InvalidWheelFilename, InvalidSdistFilename):
        return None


def _bundle_of(path: Path, bundle_path: Path | None, index: RemoteIndex | None) -> bytes | None:
    beside = bundle_path or path.with_name(path.name + BUNDLE_SUFFIX)
    try:
        return beside.read_bytes()
    except FileNotFoundError:
        if bundle_path is None:
            return _bundle_from_index(path.name, index)
        raise InvalidInput(f"There is no bundle {bundle_path}.", code="verify.bundle") from None
    except OSError as error:
        raise InvalidInput(f"{beside} cannot be read: {error.strerror}", code="verify.bundle") from error


def _bundle_from_index(filename: str, index: RemoteIndex | None) -> bytes | None:
    if index is None:
        return None
    try:
        project = project_of(filename)
    except IntegrityFailure:
        return None
    listed = next((each for each in index.files(project) if each.filename == filename), None)
    return index.bundle(listed) if listed else None


def _judge(file: _File, trusted: pin.Pinned, policy: Policy, watch: LogWatch) -> _Verdict:
    if file.bundle is None:
        return _Verdict(
            file.filename,
            _NO_PROVENANCE,
            "There is no statement about this file.",
            "It was uploaded or built before statements were made; or name the index that has one (--index).",
        )
    report = verify_bundle(file.bundle, file.content, file.filename, trusted.root, policy)
    checks = report.checks
    if report.ok and report.checkpoint is not None:
        checks += (watch.check(report.log_id, report.checkpoint),)
    again = [
        verify_reproduction(each, report.sha256, file.filename, trusted.root, policy)
        for each in file.reproductions.splitlines()
    ]
    checks += tuple(_reproduced(each, watch) for each in again)
    verified = all(check.ok for check in checks)
    return _Verdict(
        file.filename,
        _OK if verified else _FAILED,
        checks=checks,
        origin=report.origin if verified else None,
        reproduced=tuple(each.origin for each in again if each.origin) if verified else (),
    )


def _reproduced(report: Report, watch: LogWatch) -> Check:
    """One line about a statement on a second build."""
    failed = [check for check in report.checks if not check.ok]
    if not failed and report.checkpoint is not None:
        failed = [check for check in (watch.check(report.log_id, report.checkpoint),) if not check.ok]
    if failed:
        why = f"a statement on a second build fails {failed[0].name}: {failed[0].detail}"
        return Check("reproduced", False, why, failed[0].expected, failed[0].got, failed[0].hint)
    return Check("reproduced", ok=True, detail=f"by {report.origin.host}" if report.origin else "")


def _as_json(outcome: _Outcome) -> dict[str, Any]:
    names = ("verified", "failed", "no-provenance", "undecided")
    error, trusted = outcome.error, outcome.root
    return {
        "ok": outcome.code == _OK,
        "exit_code": outcome.code,
        "root": None if trusted is None else {"path": str(trusted.path), "sha256": trusted.sha256},
        "files": [
            {
                "filename": verdict.filename,
                "status": names[verdict.code],
                "message": verdict.message,
                "hint": verdict.hint,
                "checks": [check.as_json() for check in verdict.checks],
                "origin": None if verdict.origin is None else asdict(verdict.origin),
                "reproduced": [asdict(each) for each in verdict.reproduced],
            }
            for verdict in outcome.verdicts
        ],
        "error": None
        if error is None
        else {"code": error.code, "message": error.message, "hint": error.hint},
    }


def _print(outcome: _Outcome) -> None:
    for verdict in outcome.verdicts:
        click.echo(_plain(verdict.filename))
        for check in verdict.checks:
            _print_check(check)
        if verdict.message:
            click.echo(f"  ✗ {_plain(verdict.message)}\n    next: {_plain(verdict.hint)}")
        if verdict.origin is not None:
            _print_origin(verdict.origin)
    if (error := outcome.error) is not None:
        click.echo(f"✗ {_plain(error.message)}", err=True)
        for name in ("expected", "got"):
            if value := error.facts.get(name):
                click.echo(f"  {name}: {_plain(str(value))}", err=True)
        if error.hint:
            click.echo(f"  next: {_plain(error.hint)}", err=True)


def _print_check(check: Check) -> None:
    mark = "✗" if not check.ok else "✓" if check.checked else "-"
    click.echo(f"  {mark} {check.name}: {_plain(check.detail)}")
    for name, value in (("expected", check.expected), ("got", check.got), ("next", check.hint)):
        if value and not check.ok:
            click.echo(f"      {name}: {_plain(value)}")


def _print_origin(origin: Origin) -> None:
    plural = "y" if origin.dependencies == 1 else "ies"
    for name, value in (
        ("built from", f"{origin.source_uri} at {origin.ref}"),
        ("commit", origin.commit),
        ("for", origin.target),
        ("by", origin.builder),
        ("host", origin.host),
        ("with", f"{origin.dependencies} build dependenc{plural}"),
        ("signed", f"{origin.signed_at}, entry {origin.log_index} of the log"),
    ):
        click.echo(f"  {name:<10} {_plain(value)}")


def _plain(text: str) -> str:
    """The text without control characters: a bundle must not write to a terminal what it likes."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
