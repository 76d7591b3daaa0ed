"""The validator: `validate` in this process, `validate_in_sandbox` in a short-lived child."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from packaging.version import InvalidVersion, Version

from buildfarm.errors import ExternalFailure, FarmError, InvalidInput, LimitExceeded
from buildfarm.forkserver import ForkServer
from buildfarm.wheels import descriptions
from buildfarm.wheels.facts import Check, Expectation, FileFacts
from buildfarm.wheels.names import FileName, parse_filename
from buildfarm.wheels.rules import RULES_VERSION, Report, refusal, shown
from buildfarm.wheels.sdist import check_sdist
from buildfarm.wheels.stream import Budget, HashedStream, too_large
from buildfarm.wheels.tools import tools
from buildfarm.wheels.wheel import check_wheel

sandbox = ForkServer("buildfarm.wheels.checking")
#: The code of a file that could not be checked.
UNCHECKED = "file.v-01"
#: Of refusals that are no `InvalidInput`, by code.
_KINDS: Mapping[str, type[FarmError]] = {"file.f-05": LimitExceeded, UNCHECKED: ExternalFailure}


def validate(source: Path | int, expectation: Expectation) -> FileFacts:
    """Check a wheel or sdist against every rule, reading it once.

    Args:
        source: a path, or the number of an open descriptor of a regular file (left open).
        expectation: what the file has to be.

    Raises:
        InvalidInput: a rule is broken: code `file.<rule>`, facts `rule` and `entry`.
        LimitExceeded: the file is larger than `expectation.max_bytes` (file.f-05).
    """
    begun = time.monotonic()
    report = Report(expectation.origin, expectation.waived)
    name = parse_filename(expectation.filename, report)
    _check_expected(name, expectation, report)
    with _opened(source) as file:
        size = file.seek(0, os.SEEK_END)
        if size > expectation.max_bytes:
            raise too_large(expectation.max_bytes)
        file.seek(0)
        stream = HashedStream(file, expectation.max_bytes, expectation.digests)
        check = check_wheel if name.kind == "wheel" else check_sdist
        metadata = check(file, stream, name, report, Budget(size, report))
    digests = stream.digests()
    _check_digests(digests, expectation.digests)
    return FileFacts(
        filename=name.text,
        kind=name.kind,
        project=name.project,
        display_name=metadata.name,
        version=str(name.version),
        size=stream.size,
        sha256=digests["sha256"],
        requires_python=metadata.requires_python,
        metadata=metadata.data,
        metadata_sha256=hashlib.sha256(metadata.data).hexdigest(),
        metadata_version=metadata.metadata_version,
        tags=sorted(map(str, name.tags)),
        summary=metadata.summary,
        requires_dist=list(metadata.requires_dist),
        is_native=name.is_native,
        packages=list(metadata.packages),
        findings=report.findings,
        check=Check(RULES_VERSION, round((time.monotonic() - begun) * 1000), tools()),
    )


def validate_in_sandbox(path: Path, expectation: Expectation) -> FileFacts:
    """Like `validate`, in a child with no network, no rights, 256 MiB of memory and 20 s of CPU time.

    The child serves this one file. Nothing of this process's environment reaches it. Of a file of ours its
    description is rendered too, in another child (M-10).

    Raises:
        InvalidInput, LimitExceeded: as `validate`, but for V-01.
        ExternalFailure: `file.v-01`, the child crashed or ran into a limit. That may be the file's doing or
            the machine's, nobody can say, so it is no verdict to keep.
    """
    with path.open("rb") as file:
        facts = _read_answer(sandbox.ask(expectation.to_json().encode(), file.fileno()))
    if expectation.origin == "mirror":
        return facts
    return replace(facts, findings=[*facts.findings, *descriptions.judged(facts.metadata)])


def _read_answer(answer: bytes) -> FileFacts:
    try:
        fields = json.loads(answer)
        if "facts" in fields:
            return FileFacts.from_json(fields["facts"])
        error: dict[str, str] = fields["refused"]
        kind = _KINDS.get(error["code"], InvalidInput)
        refused = kind(error["message"], **{name: error[name] for name in ("code", "hint", "rule", "entry")})
    except (ValueError, KeyError, TypeError, RecursionError):
        sentence = "V-01: the file could not be checked: the checker crashed or hit its limits."
        raise ExternalFailure(sentence, code=UNCHECKED, rule="V-01") from None
    raise refused


def answer_for(descriptor: int, expectation: Expectation) -> str:
    """What the sandboxed child answers about an open file: one JSON line, facts or refusal."""
    try:
        return json.dumps({"facts": validate(descriptor, expectation).to_json()})
    except FarmError as error:
        refused = {"code": error.code, "message": error.message, "hint": error.hint}
        facts = {key: str(error.facts.get(key, "")) for key in ("rule", "entry")}
        return json.dumps({"refused": refused | facts})


def _check_digests(ours: Mapping[str, str], given: Mapping[str, str]) -> None:
    for name, text in given.items():
        if text.lower() == ours.get(name) or (name == "md5" and _from_base64(text) == ours[name]):
            continue
        raise refusal("F-03", f"the {shown(name)} digest that was sent does not agree with the file's bytes.")


def _from_base64(text: str) -> str | None:
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).hex()
    except (binascii.Error, ValueError):
        return None


def _check_expected(name: FileName, expectation: Expectation, report: Report) -> None:
    if expectation.project is not None and name.project != expectation.project:
        report.refuse("F-04", f"the file is of {name.project}, not of {shown(expectation.project)}.")
    if expectation.version is None:
        return
    try:
        expected = str(Version(expectation.version))
    except InvalidVersion:
        report.refuse("F-04", f"{shown(expectation.version)} is not a valid version.")
    if str(name.version) != expected:
        report.refuse("F-04", f"the file is of version {name.version}, not {expected}.")


@contextmanager
def _opened(source: Path | int) -> Iterator[BinaryIO]:
    if isinstance(source, int):
        with os.fdopen(os.dup(source), "rb", buffering=0) as file:
            yield file
    else:
        with source.open("rb", buffering=0) as file:
            yield file
