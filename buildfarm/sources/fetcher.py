"""Asking the fetcher: hand it the order, wait with a deadline, and make its answer a snapshot or an error."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from buildfarm import log
from buildfarm.errors import Conflict, ExternalFailure, FarmError
from buildfarm.forkserver import ForkServer
from buildfarm.sources import faults
from buildfarm.sources.contract import FetchRequest, Found, Held, Order, Snapshot, order_for
from buildfarm.sources.rules import checked_commit, checked_fetched_ref, checked_ref, checked_url

#: The fetcher ends itself at its deadline; this much later it is ended.
_GRACE_SECONDS = 5.0
_LOCK_POLL_SECONDS = 0.05

#: Forks a process for each order.
sandbox = ForkServer(
    "buildfarm.sources.child",
    environment={"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"},
)


def fetch_snapshot(request: FetchRequest, into: Path) -> Snapshot:
    """Fetch one commit and keep it as one tar.

    Args:
        request: Which commit of which repository, and the bounds.
        into: The tar to write; it must not exist, and exists afterwards only on success.

    Raises:
        InvalidInput: `source.url_refused`, `source.ref_refused`, `source.commit_refused`,
            `source.credential_refused`, `source.redirected`, `source.unsound`, `source.not_a_commit`,
            `source.nothing_asked`.
        NotFound: `source.ref_unknown`, `source.commit_unknown`, `source.no_repository`.
        Conflict: `source.tag_moved`, `source.commit_gone`; `source.path_taken` when `into` exists.
        Forbidden: `source.authentication`.
        LimitExceeded: `source.too_large`, `source.too_many_files`, `source.file_too_large`.
        IntegrityFailure: `source.host_key`.
        EnvironmentProblem: `source.tls`, `source.disk_full`, `source.owner`, `source.no_git`.
        ExternalFailure: `source.unreachable`, `source.timeout`, `source.busy`, `source.git_failed`,
            `source.fetcher_died`: trying again later may help.
    """
    _check(request)
    _make_folder(request.mirror_dir)
    with _locked(request) as lock_fd, _scratch(request, "fetch-") as scratch:
        try:
            out_fd = os.open(into, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        except FileExistsError:
            raise Conflict("The snapshot's path is taken.", code="source.path_taken") from None
        try:
            with os.fdopen(out_fd, "rb") as out:
                answer = _ask(order_for("snapshot", request, scratch=scratch), out_fd, lock_fd)
                found = _understood(answer)
                # The fetcher is not asked what it wrote: it may have been taken over.
                size = out.seek(0, os.SEEK_END)
                out.seek(0)
                digest = hashlib.file_digest(out, "sha256").hexdigest()
        except BaseException:
            into.unlink(missing_ok=True)
            raise
    return Snapshot(**found.model_dump(), sha256=digest, size=size, path=into)


def list_refs(request: FetchRequest) -> dict[str, Held]:
    """The repository's branches and tags now, each with what it holds.

    Names that `rules.checked_ref` refuses are left out. Ref and commit of the request are not used.

    Raises:
        LimitExceeded: `source.too_many_refs`, above `limits.files`.
        FarmError: As `fetch_snapshot`, where they apply.
    """
    _check(request)
    _make_folder(request.mirror_dir)
    with _scratch(request, "refs-") as scratch:
        answer = _ask(order_for("refs", request, scratch=scratch))
    refs = answer.get("refs")
    if not isinstance(refs, dict):
        raise _nonsense()
    try:
        return {ref: Held.model_validate(held) for ref, held in refs.items() if _is_sound(ref)}
    except ValidationError:
        raise _nonsense() from None


def _is_sound(ref: str) -> bool:
    try:
        checked_ref(ref)
    except FarmError:
        return False
    return True


def _check(request: FetchRequest) -> None:
    checked_url(request.url, allow_file=request.allow_file)
    if request.ref:
        checked_fetched_ref(request.ref)
    if request.commit is not None:
        checked_commit(request.commit)


def _make_folder(folder: Path) -> None:
    # Others may pass through, as the fetcher's own user must, but not look around.
    folder.mkdir(mode=0o711, parents=True, exist_ok=True)


@contextmanager
def _locked(request: FetchRequest) -> Iterator[int]:
    """Hold the mirror's lock; the descriptor is inherited, so it is held while any git still runs."""
    deadline = time.monotonic() + request.limits.seconds
    descriptor = os.open(request.mirror_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    raise ExternalFailure(
                        "Another fetch of this source has not ended in time.", code="source.busy"
                    ) from None
                time.sleep(_LOCK_POLL_SECONDS)
        for leftover in request.mirror_dir.glob("fetch-*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _scratch(request: FetchRequest, prefix: Literal["fetch-", "refs-"]) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=request.mirror_dir)).resolve()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _ask(order: Order, *files: int) -> dict[str, object]:
    patience = order.request.limits.seconds + _GRACE_SECONDS
    deadline = time.monotonic() + patience
    told = sandbox.ask(order.model_dump_json().encode(), *files, wall_seconds=patience)
    if not told and time.monotonic() >= deadline:
        raise ExternalFailure(
            "Fetching the repository took longer than allowed.",
            code="source.timeout",
            seconds=order.request.limits.seconds,
        )
    try:
        answer = json.loads(told)
    except ValueError:
        raise ExternalFailure("The fetcher ended without an answer.", code="source.fetcher_died") from None
    if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
        error = faults.from_wire(answer["error"])
        error.facts = {name: log.mask(str(value)) for name, value in error.facts.items()}
        raise error
    if not isinstance(answer, dict) or not isinstance(answer.get("ok"), dict):
        raise _nonsense()
    return dict(answer["ok"])


def _understood(answer: dict[str, object]) -> Found:
    try:
        return Found.model_validate_json(json.dumps(answer))
    except ValidationError:
        raise _nonsense() from None


def _nonsense() -> ExternalFailure:
    return ExternalFailure("The fetcher's answer makes no sense.", code="source.fetcher_died")
