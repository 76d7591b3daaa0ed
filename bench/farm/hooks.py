"""Two hundred deliveries a second at a web server of its own: milliseconds until each has its 202."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import func, select

from bench.farm.stand import Stand
from bench.index.process import free_port, running, wait_for
from bench.row import Row
from buildfarm import bootstrap
from buildfarm.bootstrap import Farm
from buildfarm.cli.redis_server import redis_child, redis_url, socket_file
from buildfarm.config import Settings
from buildfarm.db import migrate
from buildfarm.farm.model import Build
from buildfarm.index import channels
from buildfarm.scm import connect
from buildfarm.scm.model import Delivery
from buildfarm.sockets import short_socket_path

RATE, SECONDS, SOURCES = 200, 10, 20
#: Seconds of the same before, not counted: each of web's processes makes its queries and connections then.
WARM_UP = 1
COMMAND = (
    f"{RATE} pushes a second for {SECONDS} s at web and SQLite, from their due time, after {WARM_UP} s of"
    " them (bench/farm/hooks.py)"
)
_PAYLOAD = Path(__file__).parents[2] / "tests" / "fixtures" / "webhooks" / "github" / "push.5.json"
_PASSWORD = "bench"


def rows(stand: Stand) -> Iterator[Row]:
    """Milliseconds of the answers: all of them, and the slowest hundredth.

    The row is thrown out where a delivery was not answered with 202, was lost, or was noted twice.
    """
    folder = stand.folder / "hooks"
    folder.mkdir(parents=True)
    port = free_port()
    gunicorn = [
        sys.executable, "-m", "gunicorn", "-c", "python:webapp.serving", "--bind", f"127.0.0.1:{port}",
        "webapp.wsgi:app",
    ]  # fmt: skip
    with _redis(folder / "redis") as redis:
        farm, secrets = _farm(folder, redis)
        settings = folder / "settings.json"
        settings.write_text(farm.settings.model_dump_json())
        env = {**os.environ, "BUILDFARM_CONFIG": str(settings)}
        requests = [_request(secrets, number) for number in range(RATE * (WARM_UP + SECONDS))]
        with running(gunicorn, log=folder / "web.log", answers=f"http://127.0.0.1:{port}/healthz", env=env):
            samples = asyncio.run(_send(port, requests))[RATE * WARM_UP :]
    _none_lost_none_twice(farm, len(requests))
    yield Row("hooks.answer", "ms", samples, COMMAND, [], goal=25)
    yield Row("hooks.answer_p99", "ms", [sorted(samples)[int(0.99 * len(samples))]], COMMAND, [], goal=100)


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    """The URL of the queue server that `up` starts too."""
    child = redis_child(folder, password=_PASSWORD)
    with child.log_path.open("ab") as log:
        process = subprocess.Popen(child.argv, cwd=child.cwd, env=child.env, stdout=log, stderr=log)
    try:
        wait_for(child.ready, what="the queue server does not answer")
        yield redis_url(short_socket_path(socket_file(folder)), _PASSWORD)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _farm(folder: Path, redis: str) -> tuple[Farm, list[str]]:
    """A farm on SQLite, and the hook secrets of its sources in the order of their numbers."""
    farm = bootstrap.farm(Settings(data=folder / "farm", redis=redis))
    migrate.upgrade(farm.database)
    secrets = []
    with farm.database.begin() as session:
        channels.create_ladder(session)
        for number in range(SOURCES):
            _, made = connect.add_source(
                session, f"bench-{number}", f"https://git.example/bench/bench-{number}.git", scm="github",
                branches=["*"], tier="dev", allow_file=False, actor="bench",
            )  # fmt: skip
            secrets.append(made.secret)
    return farm, secrets


def _request(secrets: list[str], number: int) -> bytes:
    """A published push with a branch and commit of its own, signed, as it goes over the wire."""
    source, commit = number % SOURCES, f"{number + 1:040x}"
    payload = json.loads(_PAYLOAD.read_text())
    payload |= {"ref": f"refs/heads/topic-{number}", "before": "0" * 40, "after": commit, "created": True}
    payload["head_commit"] = {"id": commit, "message": "Round the rim"}
    payload["repository"]["full_name"] = f"bench/bench-{source}"
    body = json.dumps(payload).encode()
    signature = hmac.new(secrets[source].encode(), body, hashlib.sha256).hexdigest()
    head = (
        f"POST /hooks/bench-{source} HTTP/1.1\r\nHost: farm.example\r\nContent-Type: application/json\r\n"
        f"X-GitHub-Event: push\r\nX-GitHub-Delivery: bench-{number}\r\n"
        f"X-Hub-Signature-256: sha256={signature}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


async def _send(port: int, requests: list[bytes]) -> list[float]:
    """Send each when it is due by a connection of its own, as SCMs do; milliseconds from then to its 202."""
    began = time.perf_counter() + 0.5

    async def deliver(number: int, request: bytes) -> float:
        due = began + number / RATE
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        took = time.perf_counter() - due
        writer.close()
        if not head.startswith(b"HTTP/1.1 202 "):
            raise SystemExit(f"bench: hooks: {head.decode(errors='replace')}")
        return took * 1000

    return await asyncio.gather(*(deliver(number, one) for number, one in enumerate(requests)))


def _none_lost_none_twice(farm: Farm, count: int) -> None:
    with farm.database.read() as session:
        noted = session.execute(
            select(func.count(), func.count(Delivery.key.distinct())).where(Delivery.state == "accepted")
        ).one()
        built = session.execute(select(func.count(), func.count(Build.commit.distinct()))).one()
    if {*noted, *built} != {count}:
        raise SystemExit(f"bench: hooks: of {count} deliveries {noted} were noted and {built} built")
