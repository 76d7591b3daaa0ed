#!/usr/bin/env python3
"""Announce every pushed ref to a build farm: a git post-receive hook for any git server.

Install this file as hooks/post-receive (executable) of the bare repository and put
buildfarm-hook.json, mode 0600, beside it. A push is written to buildfarm-spool/ in the repository
before anything is sent, so a farm that is down, slow or moved loses nothing and holds up nobody:
what could not be sent goes with the next push, or with `post-receive --flush` from cron.

Needs Python 3.8 or later on a POSIX system, git, and nothing else. A push never fails because of it.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import getpass
import hashlib
import hmac
import http.client
import json
import os
import queue
import ssl
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urljoin, urlsplit

CONFIG = "buildfarm-hook.json"
SPOOL = "buildfarm-spool"
#: Seconds one request may take, and all requests of one push together.
REQUEST_TIMEOUT = 10.0
PUSH_PATIENCE = 3.0
_ANSWER_LIMIT = 64 * 1024
_MESSAGE_LIMIT = 4000
# Ends the lines that the sending thread hands over.
_FINISHED = None
# Answers after which the same delivery may be taken later: a secret being changed, a busy farm.
_TRY_AGAIN = (401, 408, 429)


class Config(NamedTuple):
    """Where to send and with which key to sign."""

    url: str
    key: bytes
    ca_file: str | None


class Answer(NamedTuple):
    """What the farm said; `status` 0 when it could not be reached."""

    status: int
    text: str
    data: dict[str, Any]


def say(text: str) -> None:
    """Show one line to the pusher, without anything that could steer a terminal."""
    clean = "".join(character if character.isprintable() else " " for character in text)
    with contextlib.suppress(OSError):  # the pusher hung up; the work goes on
        os.write(1, f"buildfarm: {clean[:300]}\n".encode("utf-8", "replace"))


def git_dir() -> Path:
    """The repository: git says so to hooks; under cron it is the folder above hooks/."""
    named = os.environ.get("GIT_DIR")
    return Path(named).absolute() if named else Path(__file__).absolute().parent.parent


def read_config() -> Config:
    """The settings beside this file."""
    path = Path(__file__).absolute().with_name(CONFIG)
    data = json.loads(path.read_text(encoding="utf-8"))
    if path.stat().st_mode & 0o077:
        say(f"{CONFIG} can be read by others; its owner should run chmod 600 on it")
    token = data["signing_token"]
    return Config(data["url"], base64.b64decode(token[len("whsec_") :]), data.get("ca_file"))


def payloads(lines: list[str], repository: Path) -> Iterator[dict[str, Any]]:
    """One payload for each `old new ref` line that git gives to the hook."""
    updates = [line.split(" ", 2) for line in lines if line]
    commits = read_commits([new for _, new, _ in updates])
    path = repository.resolve()
    name = os.environ.get("GL_REPO") or (path.stem if path.suffix == ".git" else path.name)
    for old, new, ref in updates:
        commit, message = commits.get(new, (None, ""))
        yield {
            "type": "push",
            "ref": ref,
            "before": old,
            "after": new,
            "commit": commit,
            "repository": name,
            "actor": actor(),
            "title": message.strip().partition("\n")[0],
            "message": message[:_MESSAGE_LIMIT],
        }


def actor() -> str:
    """Who pushed, as gitolite, the web server or the system knows them."""
    try:
        return os.environ.get("GL_USER") or os.environ.get("REMOTE_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        return str(os.getuid())


def read_commits(objects: list[str]) -> dict[str, tuple[str, str]]:
    """Object id -> (commit it leads to, its message), read with one git process."""
    wanted = [each for each in objects if each.strip("0")]
    asked = "".join(f"{each}^{{commit}}\n" for each in wanted).encode()
    done = subprocess.run(["git", "cat-file", "--batch"], input=asked, stdout=subprocess.PIPE, check=False)
    found, rest = {}, done.stdout
    for each in wanted:
        head, _, rest = rest.partition(b"\n")
        fields = head.split()
        if len(fields) != 3 or fields[1] != b"commit":
            continue  # a tag of a tree or a blob
        size = int(fields[2])
        _, _, message = rest[:size].partition(b"\n\n")
        found[each] = (fields[0].decode("ascii"), message.decode("utf-8", "replace"))
        rest = rest[size + 1 :]
    return found


def spool(folder: Path, bodies: Iterator[dict[str, Any]]) -> None:
    """Write the deliveries so that a crash right after cannot lose them."""
    written = []
    for number, body in enumerate(bodies):
        record = {"id": f"msg_{uuid.uuid4().hex}", "body": json.dumps(body)}
        path = folder / f"{time.time_ns():020d}-{number:06d}-{record['id']}.json"
        temporary = path.with_suffix(".new")
        with temporary.open("w", encoding="utf-8") as file:
            json.dump(record, file)
            file.flush()
            if number < 20:
                os.fsync(file.fileno())
        temporary.rename(path)
        written.append(path)
    if len(written) > 20:
        os.sync()  # a mirrored repository has thousands of refs; one wait for all of them
    sync_folder(folder)


def sync_folder(folder: Path) -> None:
    """Make renames in a folder durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, repository: Path) -> Path:
    """A folder as shared as the repository: several system users may push to it."""
    if not folder.is_dir():
        folder.mkdir(exist_ok=True)
        folder.chmod(repository.stat().st_mode & 0o2777)
    return folder


def waiting(folder: Path) -> list[Path]:
    """What is still to be sent, oldest first."""
    return sorted(folder.glob("*.json"))


def post(config: Config, delivery_id: str, body: bytes, timeout: float) -> Answer:
    """Sign now, since the farm refuses old timestamps, and send. The id stays: it makes repeats harmless."""
    timestamp = str(int(time.time()))
    signed = f"{delivery_id}.{timestamp}.".encode() + body
    signature = base64.b64encode(hmac.new(config.key, signed, hashlib.sha256).digest()).decode("ascii")
    target = urlsplit(config.url)
    if target.scheme == "https":
        context = ssl.create_default_context(cafile=config.ca_file)
        link: http.client.HTTPConnection = http.client.HTTPSConnection(
            target.netloc, timeout=timeout, context=context
        )
    else:
        link = http.client.HTTPConnection(target.netloc, timeout=timeout)
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "buildfarm-post-receive",
        "webhook-id": delivery_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }
    try:
        link.request("POST", target.path + (f"?{target.query}" if target.query else ""), body, headers)
        response = link.getresponse()
        text = response.read(_ANSWER_LIMIT)
        status = response.status
    except (OSError, http.client.HTTPException) as problem:
        return Answer(0, f"the farm cannot be reached ({problem})", {})
    finally:
        link.close()
    try:
        data = json.loads(text)
    except ValueError:
        data = None
    data = data if isinstance(data, dict) else {}
    # A receipt has a `message`, a refusal a `detail` (RFC 9457).
    words = data.get("message") or data.get("detail") or f"the farm answered {status}"
    return Answer(status, str(words), data)


def lines_for(config: Config, ref: str, answer: Answer) -> Iterator[str]:
    """What the pusher should read after a delivery was taken."""
    builds = answer.data.get("builds")
    named = (
        [build.get("url") for build in builds if isinstance(build, dict)] if isinstance(builds, list) else []
    )
    links = [link for link in named if isinstance(link, str)]
    for link in links:
        yield f"{ref}: {urljoin(config.url, link)}"
    if not links:
        yield f"{ref}: {answer.text}"


def deliver(folder: Path, patience: float | None, tell: Callable[[str], None]) -> str:
    """Send what waits, oldest first; returns why something is left, or nothing."""
    config = read_config()
    lock = os.open(folder, os.O_RDONLY)
    try:
        end = None if patience is None else time.monotonic() + patience
        if not locked(lock, end):
            return "another push or flush is sending"
        for path in waiting(folder):
            left = REQUEST_TIMEOUT if end is None else min(REQUEST_TIMEOUT, end - time.monotonic())
            if left <= 0:
                return "there was too much for one push"
            try:
                record = json.loads(path.read_text(encoding="utf-8"))
                ref = json.loads(record["body"])["ref"]
            except (ValueError, KeyError):
                path.rename(refused_folder(folder) / path.name)
                tell(f"{path.name} is damaged and was set aside")
                continue
            answer = post(config, record["id"], record["body"].encode(), left)
            if 200 <= answer.status < 300:
                path.unlink()
                for line in lines_for(config, ref, answer):
                    tell(line)
            elif 400 <= answer.status < 500 and answer.status not in _TRY_AGAIN:
                refuse(folder, path, record, answer)
                tell(f"{ref}: refused: {answer.text}")
            else:
                return answer.text
    finally:
        os.close(lock)
    return ""


def locked(handle: int, end: float | None) -> bool:
    """Take the spool. A push waits for its turn, so that its own delivery goes too; cron comes again."""
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if end is None or time.monotonic() >= end:
                return False
            time.sleep(0.05)
        else:
            return True


def refused_folder(folder: Path) -> Path:
    """Where deliveries go that will never be sent again."""
    return make_folder(folder / "refused", folder)


def refuse(folder: Path, path: Path, record: dict[str, Any], answer: Answer) -> None:
    """Keep what the farm will never take, with its reason, out of the way of the rest."""
    record["status"], record["reason"] = answer.status, answer.text
    (refused_folder(folder) / path.name).write_text(json.dumps(record), encoding="utf-8")
    path.unlink()


def send(folder: Path, patience: float | None) -> str:
    """Deliver, holding the pusher for `patience` seconds at most, whatever DNS or the farm do."""
    told: queue.Queue[str | None] = queue.Queue()
    why: list[str] = []

    def work() -> None:
        try:
            why.append(deliver(folder, patience, told.put))
        except Exception as problem:  # noqa: BLE001 - shown by the thread that waits
            why.append(f"{type(problem).__name__}: {problem}")
        told.put(_FINISHED)

    # A daemon thread: it is left behind when patience ends, and its delivery stays in the spool.
    threading.Thread(target=work, daemon=True).start()
    end = None if patience is None else time.monotonic() + patience
    while True:
        try:
            line = told.get(timeout=None if end is None else max(0.0, end - time.monotonic()))
        except queue.Empty:
            return "the farm did not answer in time"
        if line is _FINISHED:
            return why[0]
        say(line)


def main(arguments: list[str]) -> int:
    """Run as a hook, or with --flush under cron. The exit code is 1 only when a flush leaves something."""
    flush = "--flush" in arguments
    try:
        repository = git_dir()
        folder = make_folder(repository / SPOOL, repository)
        if not flush:
            lines = sys.stdin.buffer.read().decode("utf-8", "surrogateescape").split("\n")
            spool(folder, payloads(lines, repository))
        why = send(folder, None if flush else PUSH_PATIENCE) if waiting(folder) else ""
        left = len(waiting(folder))
    except Exception as problem:  # noqa: BLE001 - a push must not fail because of this hook
        say(f"could not announce this push ({type(problem).__name__}: {problem})")
        return int(flush)
    if left:
        say(f"queued, will retry with the next push ({left} waiting: {why})")
    return int(flush and left > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
