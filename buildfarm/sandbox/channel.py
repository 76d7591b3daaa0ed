"""What a container is given and what it gives, through its only door; the peer is hostile.

Inwards goes what the farm's index and registries answer, and bytecode of the wheels among it; outwards come
finished files and one small JSON of facts. Everything is bounded while it streams. How it is spoken is in
doorserver.py.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from buildfarm import log
from buildfarm.errors import StaleAttempt, StorageFull
from buildfarm.sandbox.bytecode import Bytecode
from buildfarm.sandbox.compilecache import CompileCache
from buildfarm.sandbox.doorpaths import asked_name, is_distribution, is_wheel
from buildfarm.sandbox.doorserver import DoorServer
from buildfarm.sandbox.port import Index
from buildfarm.sandbox.spec import Limits

_log = log.get(__name__)

#: How many names that nobody has may be asked for. Each is shown to whatever index the farm follows: more
#: than this is no misspelling but a search for names to take, or a message to the outside.
MAX_UNKNOWN = 16

_TOO_LATE = "the last word was said"
_CHUNK = 256 * 1024

#: Takes the status, the headers and the body of an answer.
Sender = Callable[[int, Mapping[str, str], Iterable[bytes]], None]


@dataclass(frozen=True)
class Output:
    """A file that a container handed out, as it lies on the builder."""

    path: Path
    filename: str
    sha256: str


@dataclass
class Traffic:
    """What went through the door; read it after the container has ended."""

    outputs: list[Output] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    refusal: str | None = None
    #: Why this builder could not keep what was handed out.
    failure: str | None = None
    index_failures: int = 0
    index_refusals: int = 0
    #: Projects, crates and Go modules that were asked for and are nowhere, in the order of their asking.
    unknown: list[str] = field(default_factory=list)

    @property
    def has_ended_well(self) -> bool:
        """Whether the container's last word was that all went well; it hands out nothing after that."""
        return self.facts.get("exit_code") == 0

    @property
    def is_probing(self) -> bool:
        """Whether more unknown names were asked for than a build has reason to."""
        return len(self.unknown) > MAX_UNKNOWN


class Channel:
    """One container's door. Use it as a context manager; `traffic` tells what passed.

    Args:
        farm: answers the index requests, from several threads at once.
        directory: an existing, empty directory for the socket; it is mounted into the container.
        outputs: an existing directory, not mounted, in which finished files are put.
        limits: `output_count` and `output_bytes` are kept here, while streaming.
        cache: where compilers find what they made before; None where they have no cache.
        bytecode: what is known of wheels that pass; None where it is of no use.
        accepts: which names files may have that are handed out.
        on_facts: entered before the container's last word counts, and left after; it waits for the answer.
    """

    def __init__(
        self,
        farm: Index,
        directory: Path,
        outputs: Path,
        limits: Limits,
        cache: CompileCache | None = None,
        bytecode: Bytecode | None = None,
        *,
        accepts: Callable[[str], bool] = is_distribution,
        on_facts: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        self.traffic = Traffic()
        self.cache = cache
        self.bytecode = bytecode
        self._accepts = accepts
        self._farm = farm
        self._outputs = outputs
        self._limits = limits
        self._on_facts = on_facts
        self._lock = threading.Lock()
        self._taken = 0
        self._names: set[str] = set()
        self._known: set[str] = set()
        self._server = DoorServer(directory, self)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True)

    def __enter__(self) -> Channel:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def index(self, path: str, headers: Mapping[str, str], send: Sender) -> None:
        """Relay one GET of the index, whose path is one of `index_path`."""
        name = asked_name(path)
        if self.traffic.is_probing and name not in self._known:
            send(429, {}, [b"too many names were asked for that are not there\n"])
            return
        try:
            answer = self._farm.index_get(path, headers)
        except StaleAttempt:
            send(410, {}, [b"this attempt is no longer current\n"])
            return
        except Exception as error:  # noqa: BLE001 - the build gets an answer, the verdict the count
            _log.warning("index_unreachable", path=path, error=str(error))
            with self._lock:
                self.traffic.index_failures += 1
            send(502, {}, [b"the farm's index cannot be reached\n"])
            return
        with self._lock:
            if answer.status == 200:
                self._known.add(name)
            elif answer.status == 404 and name not in {*self._known, *self.traffic.unknown}:
                self.traffic.unknown.append(name)
            self.traffic.index_failures += answer.status >= 500
            self.traffic.index_refusals += answer.status in (401, 403, 451)
        body = answer.body
        if self.bytecode and answer.status == 200 and is_wheel(path):
            body = self.bytecode.passing(body)
        try:
            send(answer.status, answer.headers, body)
        finally:
            for one in (body, answer.body):
                if isinstance(one, Generator):
                    one.close()

    def take_facts(self, body: bytes) -> None:
        """Keep the container's last word.

        Raises:
            ValueError: it is not a JSON object.
        """
        facts = json.loads(body)
        if not isinstance(facts, dict):
            raise ValueError("facts are an object")
        with self._on_facts(), self._lock:
            self.traffic.facts = facts

    def take_output(self, filename: str, size: int, body: _Readable) -> str | None:
        """Store one finished file; the answer says why it was refused, None that it was taken.

        Raises:
            StorageFull: this builder's disk does not take it.
        """
        refusal = self._reserve(filename, size)
        if refusal is not None:
            with self._lock:
                self.traffic.refusal = self.traffic.refusal or refusal
            return refusal
        path = self._outputs / filename
        digest = hashlib.sha256()
        left = size
        try:
            with path.open("xb") as file:
                while left and (chunk := _piece(body, left)):
                    left -= len(chunk)
                    digest.update(chunk)
                    file.write(chunk)
        except OSError as error:
            path.unlink(missing_ok=True)
            while left and (chunk := _piece(body, left)):
                left -= len(chunk)  # whoever sends it reads no answer before its end
            sentence = f"The builder cannot keep {filename}: {error.strerror}."
            with self._lock:
                self.traffic.failure = sentence
            raise StorageFull(sentence, code="builder.full") from error
        if left:
            path.unlink()
            return f"{filename} ended {left} bytes early"
        with self._lock:
            if self.traffic.facts:
                return _TOO_LATE
            self.traffic.outputs.append(Output(path, filename, digest.hexdigest()))
        return None

    def _reserve(self, filename: str, size: int) -> str | None:
        if not self._accepts(filename):
            return f"{filename[:80]!r} is not the name of a wheel or an sdist"
        with self._lock:
            if self.traffic.facts:
                return _TOO_LATE
            if filename in self._names:
                return f"{filename} was handed out twice"
            if len(self._names) >= self._limits.output_count:
                return f"more than {self._limits.output_count} files were handed out"
            if self._taken + size > self._limits.output_bytes:
                return f"the files handed out are larger than {self._limits.output_bytes} bytes together"
            self._names.add(filename)
            self._taken += size
        return None


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


def _piece(body: _Readable, left: int) -> bytes:
    try:
        return body.read(min(left, _CHUNK))
    except OSError:
        return b""  # the peer went away, or says nothing
