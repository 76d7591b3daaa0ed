"""The files of an upload session (PEP 694): announced, received, completed or given up."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import IntegrityError

from buildfarm import clock
from buildfarm.access.rules import Principal
from buildfarm.errors import Conflict, FarmError, InvalidInput, LimitExceeded, NotFound
from buildfarm.ids import new_id
from buildfarm.index.model import File
from buildfarm.index.session_model import UploadFile, UploadSession
from buildfarm.index.sessions import Sessions, hold
from buildfarm.index.spelling import version_key
from buildfarm.storage.blobs import Incoming
from buildfarm.wheels.names import parse_filename
from buildfarm.wheels.rules import Report

MECHANISM = "http-post-bytes"
#: Algorithms of which one must be given (PEP 694); others of hashlib are compared as well.
_SECURE = frozenset({"sha256", "sha384", "sha512", "sha3_256", "sha3_384", "sha3_512", "blake2b", "blake2s"})
_KNOWN = _SECURE | {"md5", "sha1", "sha224", "sha3_224"}
#: Files of one session, whatever becomes of them.
_MOST = 2_000


@dataclass(frozen=True)
class Announcement:
    """What a client says of a file before it sends it; `hashes` are hexadecimal, by algorithm."""

    filename: str
    size: int
    hashes: Mapping[str, str]
    mechanism: str


@dataclass(frozen=True)
class StagedFiles:
    """The use cases; may be shared by threads. Each asks anew whether the principal may."""

    sessions: Sessions

    def announce(self, channel: str, principal: Principal, token: str, what: Announcement) -> UploadFile:
        """Begin a file.

        Raises:
            InvalidInput: `file.<rule>`; `session.hashes`; `session.other_release`.
            LimitExceeded: `file.f-05`.
            Conflict: `file.exists`, published or in this session.
        """
        limit = self.sessions.reception.settings.limits.upload_bytes
        if not 0 < what.size <= limit:
            raise LimitExceeded(f"A file of this index may have 1 to {limit} bytes.", code="file.f-05")
        _check_hashes(what.hashes)
        parsed = parse_filename(what.filename, Report(origin="upload"))
        try:
            with self.sessions.reception.database.begin() as session:
                held = hold(session, channel, principal, token)
                if (parsed.project, version_key(str(parsed.version))) != (held.project, held.key):
                    raise InvalidInput(
                        f"{what.filename} is no file of {held.project} {held.version}.",
                        code="session.other_release",
                    )
                if session.get(File, what.filename):
                    raise Conflict(
                        f"File already exists: {what.filename} was published before.",
                        code="file.exists",
                        hint="A file name means the same bytes for ever; release a new version.",
                    )
                if len(held.files) >= _MOST:
                    raise LimitExceeded(f"A session has at most {_MOST} files.", code="session.files")
                file = UploadFile(
                    id=new_id("upf"),
                    session_id=held.id,
                    filename=what.filename,
                    size=what.size,
                    hashes=dict(what.hashes),
                    status="pending",
                    created_at=clock.now(),
                )
                session.add(file)
        except IntegrityError as err:
            raise Conflict(
                f"File already exists: {what.filename} is in this session.",
                code="file.exists",
                hint="Delete it there first.",
            ) from err
        return file

    def get(
        self, channel: str, principal: Principal, token: str, file_id: str
    ) -> tuple[UploadSession, UploadFile]:
        """One file and its session.

        Raises:
            NotFound: `session.unknown`, `session.unknown_file`.
        """
        found = self.sessions.get(channel, principal, token)
        return found, _file_of(found, file_id)

    @contextmanager
    def receiving(self, channel: str, principal: Principal, token: str, file_id: str) -> Iterator[Incoming]:
        """Where the bytes of a pending file go; kept when the block ends well.

        Raises:
            Conflict: `session.file_ended`.
            LimitExceeded: `blob.too_large`, more than announced.
        """
        _found, file = self.get(channel, principal, token, file_id)
        _demand_pending(file)
        with self.sessions.staging.incoming(file.id, max_bytes=file.size) as content:
            yield content
            content.sync()
            with self.sessions.reception.database.begin() as session:
                _demand_pending(_file_of(hold(session, channel, principal, token), file_id))
                content.keep()

    def attest(self, channel: str, principal: Principal, token: str, file_id: str, text: str) -> None:
        """Note the attestations of a pending file; they are verified when it is completed."""
        with self.sessions.reception.database.begin() as session:
            file = _file_of(hold(session, channel, principal, token), file_id)
            _demand_pending(file)
            file.attestations = text

    def complete(self, channel: str, principal: Principal, token: str, file_id: str) -> UploadFile:
        """Check a received file by every rule; what fails is in the state `error` from then on.

        Raises:
            InvalidInput: `file.<rule>`, `session.incomplete`, `upload.attestations`; the file is in error.
            Conflict: `session.file_ended`.
            ExternalFailure: `file.v-01`, the check crashed or ran out of time; the file is pending still.
        """
        found, file = self.get(channel, principal, token, file_id)
        _demand_pending(file)
        path = self.sessions.staging.path(file.id)
        seen = _inode(path)
        facts: str | None = None
        refusal: FarmError | None = None
        try:
            facts = self._checked(found, file, path)
        except (InvalidInput, LimitExceeded) as err:
            refusal = err
        with self.sessions.reception.database.begin() as session:
            fresh = _file_of(hold(session, channel, principal, token), file_id)
            _demand_pending(fresh)
            if _inode(path) != seen:
                raise Conflict("Other bytes came in meanwhile.", code="session.changed")
            fresh.status = "error" if refusal else "completed"
            fresh.facts, fresh.notice = facts, refusal.message if refusal else None
        if refusal:
            self.sessions.staging.drop(file.id)
            raise refusal
        return fresh

    def delete(self, channel: str, principal: Principal, token: str, file_id: str) -> None:
        """Give a file up, in whatever state it is; another of its name may come."""
        with self.sessions.reception.database.begin() as session:
            _file_of(hold(session, channel, principal, token), file_id).status = "canceled"
        self.sessions.staging.drop(file_id)

    def _checked(self, found: UploadSession, file: UploadFile, path: Path) -> str:
        desk = self.sessions.reception
        if not path.is_file() or path.stat().st_size != file.size:
            raise InvalidInput(
                f"{file.filename} was announced with {file.size} bytes, which did not come.",
                code="session.incomplete",
                hint="Delete the file and begin it anew.",
            )
        for algorithm, digest in file.hashes.items():
            with path.open("rb") as content:
                if hashlib.file_digest(content, algorithm).hexdigest() != digest:
                    raise InvalidInput(
                        f"F-03: the {algorithm} digest of {file.filename} does not agree with its bytes.",
                        code="file.f-03",
                    )
        facts = desk.check(path, file.filename, project=found.project, version=None, digests={})
        if file.attestations:
            desk.statements.prove(file.attestations, file.filename, facts.sha256)
        return facts.to_json()


def _check_hashes(hashes: Mapping[str, str]) -> None:
    if unknown := sorted(set(hashes) - _KNOWN):
        raise InvalidInput(f"No hash is called {unknown[0][:40]!r} here.", code="session.hashes")
    if not _SECURE & set(hashes):
        raise InvalidInput("At least one secure hash is needed, such as sha256.", code="session.hashes")
    for algorithm, digest in hashes.items():
        if not re.fullmatch(f"[0-9a-f]{{{hashlib.new(algorithm).digest_size * 2}}}", digest):
            raise InvalidInput(f"That is no {algorithm} digest in hexadecimal.", code="session.hashes")


def _inode(path: Path) -> int | None:
    return path.stat().st_ino if path.is_file() else None


def _file_of(found: UploadSession, file_id: str) -> UploadFile:
    for file in found.files:
        if file.id == file_id:
            return file
    raise NotFound("The session has no such file.", code="session.unknown_file")


def _demand_pending(file: UploadFile) -> None:
    if file.status != "pending":
        raise Conflict(f"{file.filename} is {file.status} already.", code="session.file_ended")
