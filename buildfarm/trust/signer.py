"""The signer's process: `python -m buildfarm.trust.signer --data DIR --socket PATH --url PUBLIC_URL`.

One unix socket, four verbs. Whoever connects is asked for by the kernel (SO_PEERCRED) and must be
root, the signer's own user, or a user named by `--allow-uid`. It opens no other connection; started by
root it has no network to open one on.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import selectors
import signal
import socket
import struct
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

# cryptography imports it when a first signature is made: too late for a user to whom its folder is closed.
import cryptography.hazmat.backends.openssl.backend  # noqa: F401
from pydantic import ValidationError

from buildfarm import log
from buildfarm.errors import EnvironmentProblem, FarmError, Forbidden, InvalidInput
from buildfarm.trust import isolation, wire
from buildfarm.trust.facts import BuildFacts, ReproductionFacts
from buildfarm.trust.messages import CheckpointRequest
from buildfarm.trust.vault import Vault

_log = log.get(__name__)
_CREDENTIALS = struct.Struct("3i")
#: Connections served at once; the control zone has a handful of publishers.
_AT_ONCE = 32
#: Seconds a peer may keep a connection without sending or taking anything.
_PATIENCE = 30.0


class Service:
    """Serves the vault's verbs on a listening socket until told to stop."""

    def __init__(self, vault: Vault, listener: socket.socket, users: frozenset[int], network: bool) -> None:
        self._vault, self._listener, self._users, self._network = vault, listener, users, network
        self._slots = threading.BoundedSemaphore(_AT_ONCE)

    def run(self, stop: socket.socket) -> None:
        """Serve until `stop` becomes readable."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(stop, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _events in selector.select()]
                if stop in ready:
                    return
                self._slots.acquire()
                connection, _address = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.settimeout(_PATIENCE)
            self._demand_known_peer(connection)
            while (message := wire.receive(connection)) is not None:
                wire.send(connection, self._answer(*message))
        except OSError:
            pass  # the peer went away or fell silent: it asks again
        except FarmError as error:
            _log.warning("signer.refused", code=error.code, reason=error.message)
            with contextlib.suppress(OSError):
                wire.send(connection, wire.failure(error))
        finally:
            connection.close()
            self._slots.release()

    def _demand_known_peer(self, connection: socket.socket) -> None:
        peer = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        _pid, user, _group = _CREDENTIALS.unpack(peer)
        if user not in self._users:
            raise Forbidden(f"User {user} may not use the signer.", code="signer.peer")

    def _answer(self, message: dict[str, Any], file: int | None) -> dict[str, Any]:
        verb = message.get("verb")
        try:
            match verb:
                case "attest" if file is not None:
                    answer: dict[str, Any] = self._attest(message, file)
                case "checkpoint":
                    request = CheckpointRequest.model_validate_json(_text(message, "request"))
                    answer = self._vault.checkpoint(request).as_json()
                case "health" | "rotate":
                    state = self._vault.rotate() if verb == "rotate" else self._vault.health()
                    answer = {**state, "network": self._network, "uid": os.geteuid()}
                case _:
                    raise InvalidInput(
                        "The signer knows the verbs attest (with a file), checkpoint, health and rotate.",
                        code="signer.verb",
                    )
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            return self._refused(
                verb, InvalidInput(f"{place}: {first['msg']}".removeprefix(": "), code="signer.facts")
            )
        except FarmError as error:
            return self._refused(verb, error)
        finally:
            if file is not None:
                os.close(file)
        _log.info("signer.answered", verb=verb)
        return answer

    def _attest(self, message: dict[str, Any], file: int) -> dict[str, Any]:
        if "reproduction" in message:
            facts: BuildFacts = ReproductionFacts.model_validate_json(_text(message, "reproduction"))
        else:
            facts = BuildFacts.model_validate_json(_text(message, "facts"))
        return self._vault.attest(facts, file).as_json()

    def _refused(self, verb: object, error: FarmError) -> dict[str, Any]:
        _log.warning("signer.refused", verb=str(verb), code=error.code, reason=error.message)
        return wire.failure(error)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the signer until SIGTERM or SIGINT."""
    options = _options(arguments)
    log.configure("signer")
    stop, wake = socket.socketpair()
    wake.setblocking(False)
    signal.set_wakeup_fd(wake.fileno())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: None)
    try:
        with _opened(options) as service:
            _log.info("signer.ready", url=options.url)
            service.run(stop)
    except FarmError as error:
        _log.error("signer.cannot_start", code=error.code, reason=str(error))
        return 2 if isinstance(error, EnvironmentProblem) else 1
    return 0


@contextlib.contextmanager
def _opened(options: argparse.Namespace) -> Iterator[Service]:
    os.umask(0o077)
    isolation.forbid_dumps()
    path = options.socket.absolute()
    with _only_signer_of(options.data.absolute()) as folder:
        listener = _bind(path, open_to_others=bool(options.allow_uid))
        socket_folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # From here on paths are relative: once the user has changed, the folders above may be closed.
            os.fchdir(folder)
            isolated = isolation.leave_network()
            if options.uid is not None:
                isolation.give_to(options.uid, Path())
                isolation.become(options.uid)
                isolation.forbid_dumps()  # a change of user makes a process dumpable again
            users = frozenset({0, os.geteuid(), *options.allow_uid})
            with contextlib.closing(Vault(Path(), options.url)) as vault:
                yield Service(vault, listener, users, network=not isolated)
        finally:
            listener.close()
            with contextlib.suppress(OSError):
                os.unlink(path.name, dir_fd=socket_folder)
            os.close(socket_folder)


@contextlib.contextmanager
def _only_signer_of(data: Path) -> Iterator[int]:
    """The data directory's descriptor, locked: two signers would be two truths about one log."""
    data.mkdir(mode=0o700, parents=True, exist_ok=True)
    data.chmod(data.stat().st_mode & 0o711)  # an operator may let others pass through to public/
    folder = os.open(data, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(folder)
        raise EnvironmentProblem(
            f"Another signer is running on {data}.",
            code="signer.busy",
            hint="There is one signer per farm; stop the other one first.",
        ) from error
    try:
        yield folder
    finally:
        os.close(folder)


def _bind(path: Path, *, open_to_others: bool) -> socket.socket:
    """A listening socket at `path`, bound by a bare name: the whole path may exceed 107 bytes (unix(7))."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.chdir(path.parent)
        fresh = f".{os.getpid()}.sock"
        listener.bind(fresh)
        # The check of the peer is the guard; the mode only lets those others reach it.
        os.chmod(fresh, 0o666 if open_to_others else 0o600)
        listener.listen(_AT_ONCE)
        # Whoever sees the socket can connect to it: the answer comes when the keys have been read.
        os.rename(fresh, path.name)
    except OSError as error:
        listener.close()
        raise EnvironmentProblem(
            f"The signer's socket {path} cannot be made: {error}", code="signer.socket"
        ) from error
    return listener


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="buildfarm.trust.signer", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="directory of keys and record (mode 0700)")
    parser.add_argument("--socket", type=Path, required=True, help="path of the unix socket")
    parser.add_argument("--url", type=_url, required=True, help="the farm's public URL")
    parser.add_argument("--uid", type=int, help="user to become after start as root")
    parser.add_argument("--allow-uid", type=int, action="append", default=[], help="another user served")
    return parser.parse_args(arguments)


def _url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        msg = f"{text} is no http or https URL"
        raise argparse.ArgumentTypeError(msg)
    return text.rstrip("/")


def _text(message: dict[str, Any], key: str) -> str:
    value = message.get(key)
    if not isinstance(value, str):
        raise InvalidInput(f"The message has no {key}.", code="signer.message")
    return value


if __name__ == "__main__":
    sys.exit(main())
