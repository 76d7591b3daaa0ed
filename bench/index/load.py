"""Load on a server by wrk: each case is probed first and thrown out loudly when its answer is wrong."""

from __future__ import annotations

import gzip
import hashlib
import http.client
import json
import os
import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from bench.index.process import Server

RUNS = int(os.environ.get("BENCH_RUNS", "5"))
_REPORT = Path(__file__).with_name("report.lua")

#: What pip sends for a page, and for a file or its metadata.
PAGE = {
    "Accept": "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01",
    "Accept-Encoding": "gzip, deflate",
}
#: The same of a client that knows no JSON pages.
HTML_PAGE = {"Accept": "text/html", "Accept-Encoding": "gzip, deflate"}
FILE = {"Accept": "*/*", "Accept-Encoding": "identity"}


class ThrownOut(Exception):
    """An answer is not what the case is about, so its figure would mean nothing."""


@dataclass(frozen=True)
class Answer:
    """What a server answered once."""

    status: int
    headers: Mapping[str, str]
    raw: bytes

    @property
    def body(self) -> bytes:
        """The bytes that the client has in the end."""
        return gzip.decompress(self.raw) if self.headers.get("content-encoding") == "gzip" else self.raw

    @property
    def sha256(self) -> str:
        """The digest of these bytes."""
        return hashlib.sha256(self.body).hexdigest()


@dataclass(frozen=True)
class Case:
    """One request that is repeated, and what makes its answer right."""

    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    #: How often the project's file names stand in the body, at least.
    mentions: tuple[bytes, int] = (b"", 0)
    sha256: str = ""
    encoding: str = ""
    revalidate: bool = False
    seconds: int = 1
    connections: int = 8


def fetch(server: Server, path: str, headers: Mapping[str, str]) -> Answer:
    """One request."""
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=120)
    try:
        connection.request("GET", parts.path + path, headers={**server.headers, **headers})
        answer = connection.getresponse()
        return Answer(
            answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        )
    finally:
        connection.close()


def probed(server: Server, case: Case) -> dict[str, str]:
    """The headers that the load sends, once the answer was seen to be right.

    Raises:
        ThrownOut: status, digest or contents are not what the case says.
    """
    headers = dict(case.headers)
    answer = fetch(server, case.path, headers)
    if case.revalidate:
        headers["If-None-Match"] = answer.headers.get("etag", '"none"')
        answer = fetch(server, case.path, headers)
    what, times = case.mentions
    encoding = answer.headers.get("content-encoding", "")
    wrong = ""
    if answer.status != case.status:
        wrong = f"status {answer.status} instead of {case.status}"
    elif case.encoding and encoding != case.encoding:
        wrong = f"content coding {encoding!r} instead of {case.encoding!r}"
    elif case.sha256 and answer.sha256 != case.sha256:
        wrong = f"{len(answer.body)} bytes with the digest {answer.sha256[:12]} instead of {case.sha256[:12]}"
    elif answer.body.count(what) < times:
        wrong = f"{what.decode()} is named {answer.body.count(what)} times instead of {times}"
    if wrong:
        raise ThrownOut(f"{server.name} {case.path}: {wrong}")
    return {**server.headers, **headers}


@dataclass(frozen=True)
class Load:
    """What a run of wrk saw, and what it cost the server."""

    requests: int
    size: int
    cpu_s: float
    p99_us: int

    @property
    def cpu_us(self) -> float:
        """Processor microseconds of the server for each completed request.

        Raises:
            ThrownOut: none was completed in the time.
        """
        if not self.requests:
            raise ThrownOut(f"no request was completed, for {self.cpu_s:.1f} s of CPU")
        return self.cpu_s * 1e6 / self.requests

    @property
    def cpu_s_per_gb(self) -> float:
        """Processor seconds of the server for 10**9 bytes."""
        return self.cpu_s * 1e9 / self.size


def wrk_command(server: Server, case: Case, headers: Mapping[str, str]) -> list[str]:
    """The command line of the load."""
    options = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    command = ["wrk", "-t1", f"-c{case.connections}", f"-d{case.seconds}s", "--timeout", "30s"]
    return [*command, "-s", str(_REPORT), *options, server.url + case.path]


def shown_command(server: Server, case: Case) -> str:
    """The same for a reader: no credential in it."""
    headers = {name: "..." if name == "Authorization" else value for name, value in server.headers.items()}
    if case.revalidate:
        headers["If-None-Match"] = "<the page's ETag>"
    load = shlex.join(wrk_command(server, case, {**headers, **case.headers}))
    return f"{load.replace(str(_REPORT), 'bench/index/report.lua')}  # {server.command}"


def load(server: Server, case: Case, headers: Mapping[str, str]) -> Load:
    """Run wrk once.

    Raises:
        ThrownOut: an answer was an error, or a connection broke.
    """
    before = server.cpu_s()
    done = subprocess.run(
        wrk_command(server, case, headers), capture_output=True, text=True, timeout=case.seconds + 90
    )
    cpu = server.cpu_s() - before
    counted = json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else {}
    if not counted.get("requests") and not counted.get("bytes"):
        raise ThrownOut(f"{server.name} {case.path}: wrk says {done.stdout[-500:]}{done.stderr[-500:]}")
    if counted["bad"] or counted["broken"]:
        raise ThrownOut(f"{server.name} {case.path}: {counted}")
    return Load(counted["requests"], counted["bytes"], cpu, counted["p99_us"])


def in_turn(
    ours: Callable[[], float], peer: Callable[[], float], *, runs: int = RUNS, warm_up: bool = True
) -> tuple[list[float], list[float]]:
    """Samples of both, one after the other in turn, so that the machine's noise meets both alike."""
    if warm_up:
        ours(), peer()
    pairs = [(ours(), peer()) for _ in range(runs)]
    return [one for one, _ in pairs], [other for _, other in pairs]
