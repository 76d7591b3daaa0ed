"""Upstream files: fetched once however many ask, checked while they stream, never whole before they are good.

Whoever asks first fetches, into a temporary file of the blob store, under a lock that all processes of
the host see; everybody else reads along from that file. The last byte is held back until digest, size
and every rule of the validator agree: a client never has a whole file that was not checked.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from buildfarm import clock, log
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import ExternalFailure, Forbidden, IntegrityFailure, InvalidInput
from buildfarm.journal.record import record
from buildfarm.mirror.client import Client
from buildfarm.mirror.model import UpstreamFile
from buildfarm.mirror.page import MirrorFile
from buildfarm.mirror.tally import Tally
from buildfarm.storage.blobs import Blobs, Incoming
from buildfarm.wheels.facts import Expectation, FileFacts
from buildfarm.wheels.validate import UNCHECKED, validate_in_sandbox

FILE_BYTES = 8 * 2**30
_CHUNK = 1 << 18
#: How often a process looks at a file that another one fetches, seconds.
_POLL_S = 0.005
#: How long a file that could not be checked is not tried again, seconds: each try is a download and a check.
_UNCHECKED_S = 60.0
_log = log.get(__name__)


class Growing:
    """A file on its way from upstream; any number of threads read along."""

    def __init__(self, blobs: Blobs, size: int | None) -> None:
        self._blobs = blobs
        #: Bytes of the whole file, None when only upstream knows.
        self.size = size
        self._change = threading.Condition()
        self._path: Path | None = None
        self._received = 0
        self._outcome: UpstreamFile | BaseException | None = None

    def advance(self, path: Path, received: int) -> None:
        """So many bytes are readable at `path`."""
        with self._change:
            self._path, self._received = path, received
            self._change.notify_all()

    def finish(self, outcome: UpstreamFile | BaseException) -> None:
        """The file is good and kept, or it is not."""
        with self._change:
            self._outcome = outcome
            self._change.notify_all()

    def whole(self) -> UpstreamFile:
        """Wait for the end.

        Raises:
            FarmError: why there is no such file.
        """
        with self._change:
            self._change.wait_for(lambda: self._outcome)
        return self._good()

    def begin(self) -> IO[bytes] | None:
        """Wait for the first byte; where to read along, or None when the file is whole already.

        Raises:
            FarmError: why there is no such file.
        """
        with self._change:
            self._change.wait_for(lambda: self._outcome or (self._received and self.size))
            if self._outcome is None and self._path:
                try:
                    return self._path.open("rb", buffering=0)
                except FileNotFoundError:
                    self._change.wait_for(lambda: self._outcome)
        self._good()
        return None

    def chunks(self, source: IO[bytes]) -> Iterator[bytes]:
        """All bytes, as they come; the last one only when the file is good.

        Raises:
            FarmError: it is not; what was read is to be thrown away.
        """
        sent = 0
        with source:
            while sent < (self.size or 0):
                readable = self._readable(sent, source)
                chunk = source.read(min(_CHUNK, readable - sent))
                if not chunk:
                    raise _broken_off()
                sent += len(chunk)
                yield chunk

    def _readable(self, sent: int, source: IO[bytes]) -> int:
        size = self.size or 0
        with self._change:
            self._change.wait_for(lambda: self._outcome or min(self._received, size - 1) > sent)
            if self._outcome is None:
                return min(self._received, size - 1)
        kept = self._blobs.path(self._good().sha256)
        if os.fstat(source.fileno()).st_ino != kept.stat().st_ino:
            raise _broken_off()  # what was read along was another try than the one that turned out well
        return size

    def _good(self) -> UpstreamFile:
        if isinstance(self._outcome, BaseException):
            raise self._outcome
        assert self._outcome is not None  # noqa: S101 - every caller waited for it
        return self._outcome


class Files:
    """The files of the upstream indexes; may be shared by threads."""

    def __init__(
        self, database: Database, blobs: Blobs, client: Client, tally: Tally, settings: Settings
    ) -> None:
        self._database, self._blobs, self._client, self._tally = database, blobs, client, tally
        self._settings = settings
        self._lock = threading.Lock()
        self._growing: dict[str, Growing] = {}
        #: Until when files that could not be checked are left alone, by name.
        self._unchecked: dict[str, float] = {}

    def known(self, filename: str) -> UpstreamFile | None:
        """What is known of a file that was fetched once; its bytes may have been evicted."""
        with self._database.read() as session:
            return session.get(UpstreamFile, filename)

    def held(self, filename: str) -> UpstreamFile | None:
        """A file that is good and here.

        Raises:
            Forbidden: `mirror.refused`, the validator refused it.
        """
        known = self.known(filename)
        if known and known.refused:
            raise _refused(known.refused)
        if known is None or not self._blobs.has(known.sha256):
            return None
        self._tally.used(filename)
        return known

    def fetch(self, project: str, row: MirrorFile) -> Growing:
        """Begin to fetch a file, or join whoever does.

        Raises:
            ExternalFailure: `file.v-01`, it could not be checked a moment ago.
        """
        with self._lock:
            if self._unchecked.get(row.filename, 0.0) > time.monotonic():
                raise ExternalFailure(
                    f"V-01: {row.filename} could not be checked a moment ago.",
                    code=UNCHECKED, hint="Ask again in a minute.", rule="V-01",
                )  # fmt: skip
            growing = self._growing.get(row.filename)
            if growing is None:
                growing = self._growing[row.filename] = Growing(self._blobs, row.size)
                work = threading.Thread(target=self._work, args=(project, row, growing), daemon=True)
                work.start()
            return growing

    def _work(self, project: str, row: MirrorFile, growing: Growing) -> None:
        try:
            outcome: UpstreamFile | BaseException = self._locked(project, row, growing)
        except BaseException as err:  # noqa: BLE001 - it is raised where somebody waits
            outcome = err
        with self._lock:
            del self._growing[row.filename]
            if isinstance(outcome, ExternalFailure) and outcome.code == UNCHECKED:
                self._unchecked[row.filename] = time.monotonic() + _UNCHECKED_S
        growing.finish(outcome)

    def _locked(self, project: str, row: MirrorFile, growing: Growing) -> UpstreamFile:
        with self._slot(row.filename) as lock:
            _await_turn(lock, row.filename, growing)
            if held := self.held(row.filename):
                return held  # another process fetched it while this one waited
            try:
                return self._fetched(project, row, growing, lock)
            finally:
                lock.truncate(0)

    def _slot(self, filename: str) -> IO[str]:
        """The file whose lock a name is fetched under."""
        folder = self._settings.mirror_dir / "fetching"
        folder.mkdir(parents=True, exist_ok=True)
        # The lock's file stays: taking it away would let two processes hold locks of one name.
        return (folder / hashlib.sha256(filename.encode()).hexdigest()[:3]).open("a+")

    def _fetched(self, project: str, row: MirrorFile, growing: Growing, lock: IO[str]) -> UpstreamFile:
        known = self.known(row.filename)
        size = row.size
        begun = time.monotonic()
        with (
            self._client.file(row.url) as (announced, chunks),
            self._blobs.incoming(max_bytes=size or FILE_BYTES) as incoming,
        ):
            if size is not None and announced not in {None, size}:
                raise IntegrityFailure(
                    f"The upstream index says that {row.filename} has {size} bytes and sends {announced}.",
                    code="mirror.size",
                )
            lock.write(f"{row.filename}\n{incoming.path}\n")
            lock.flush()
            for chunk in chunks:
                incoming.write(chunk)
                incoming.flush()
                growing.advance(incoming.path, incoming.size)
            file = self._kept(project, row, incoming, known)
        _log.info("mirror.fetched", filename=row.filename, bytes=file.size, seconds=time.monotonic() - begun)
        return file

    def take_in(self, project: str, row: MirrorFile, chunks: Iterable[bytes]) -> UpstreamFile:
        """Keep a file that a bundle brought, checked like one that upstream sent.

        Raises:
            Forbidden: `mirror.refused`, the validator refuses it.
            IntegrityFailure: `blob.digest`, these are not the bytes that the page announces.
            LimitExceeded: `blob.too_large`.
            ExternalFailure: `file.v-01`, the check crashed or ran out of time.
        """
        with self._slot(row.filename) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if held := self.held(row.filename):
                return held
            with self._blobs.incoming(max_bytes=row.size or FILE_BYTES) as incoming:
                for chunk in chunks:
                    incoming.write(chunk)
                return self._kept(project, row, incoming, self.known(row.filename))

    def _kept(
        self, project: str, row: MirrorFile, incoming: Incoming, known: UpstreamFile | None
    ) -> UpstreamFile:
        file = self._checked(project, row, incoming, known)
        if file.refused is None:
            incoming.keep(file.sha256)
        self._remember(file, row)
        if file.refused:
            raise _refused(file.refused)
        return file

    def _checked(
        self, project: str, row: MirrorFile, incoming: Incoming, known: UpstreamFile | None
    ) -> UpstreamFile:
        sha256, wanted = incoming.flush(), known.sha256 if known else row.sha256
        if wanted is not None and sha256 != wanted:
            raise IntegrityFailure(
                f"The bytes of {row.filename} have the digest {sha256}, announced was {wanted}.",
                code="blob.digest",
            )
        now = clock.now()
        file = UpstreamFile(
            filename=row.filename, project=project, sha256=sha256, size=incoming.size, url=row.url,
            seen_at=known.seen_at if known else now, last_used_at=now, stored_at=now,
        )  # fmt: skip
        try:
            facts = validate_in_sandbox(
                incoming.path, Expectation(row.filename, project, None, FILE_BYTES, origin="mirror")
            )
            _demand_same_metadata(row, facts)
        except InvalidInput as err:
            file.note_refused(err)
            file.stored_at = None
        else:
            file.note_accepted(facts)
            if facts.kind == "wheel":
                file.metadata_sha256 = self._blobs.put_bytes(facts.metadata)
        return file

    def _remember(self, file: UpstreamFile, row: MirrorFile) -> None:
        """Journal the first sight of the digest; a later fetch only says that the bytes are back."""
        if file.refused:
            _log.error("mirror.refused", filename=file.filename, reason=file.refused)
        with self._database.begin() as session:
            facts: dict[str, Any] = {"filename": file.filename, "sha256": file.sha256}
            if file.refused:
                record(session, "mirror.refuse", project=file.project, rule=file.refused_by, **facts)
            elif session.get(UpstreamFile, file.filename) is None:
                record(session, "mirror.first_sight", url=row.url, **facts)
            session.merge(file)


def _await_turn(lock: IO[str], filename: str, growing: Growing) -> None:
    """Take the lock; as long as another process holds it for the same file, show how its copy grows."""
    path: Path | None = None
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            named, _, text = lock.read().partition("\n")
            path = Path(text.strip()) if named == filename and text.endswith("\n") else path
            if path:
                _look(path, growing)
            time.sleep(_POLL_S)
        else:
            return


def _look(path: Path, growing: Growing) -> None:
    try:
        received = path.stat().st_size
    except FileNotFoundError:
        return
    growing.advance(path, received)


def _demand_same_metadata(row: MirrorFile, facts: FileFacts) -> None:
    if facts.kind == "wheel" and row.metadata_sha256 not in {None, facts.metadata_sha256}:
        raise InvalidInput(
            f"The metadata that upstream shows beside {row.filename} is not the metadata inside it.",
            code="mirror.metadata",
            rule="mirror.metadata",
        )


def _broken_off() -> ExternalFailure:
    return ExternalFailure("The file broke off on its way from upstream.", code="mirror.unreachable")


def _refused(sentence: str) -> Forbidden:
    return Forbidden(f"This index does not pass the file on. {sentence}", code="mirror.refused")
