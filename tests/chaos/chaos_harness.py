"""What the chaos tests share: a whole farm to hurt, and eyes that stay on it meanwhile."""

import contextlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import requests
from chaos_repository import Repository

import docker
from buildfarm.processes import session_members
from buildfarm.sandbox.policy import LABEL_INSTANCE
from tests.ports import free_port
from tests.waiting import wait_for

BUILDFARM = Path(sys.executable).parent / "buildfarm"
#: The clocks of an impatient operator: what takes a minute at the defaults takes seconds here.
CLOCKS = {
    "BUILDFARM_SOURCES_ALLOW_FILE": "1",
    "BUILDFARM_TIMING__LEASE_S": "8",
    "BUILDFARM_TIMING__HEARTBEAT_S": "1",
    "BUILDFARM_TIMING__HANDOVER_GRACE_S": "2",
    "BUILDFARM_TIMING__BUILDER_SEEN_S": "1",
    "BUILDFARM_TIMING__KEEPER_INTERVAL_S": "1",
}
ENDS = {"published", "failed", "cancelled"}


def alive(pid: int) -> bool:
    """Whether the process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """Living children of a process."""
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(child) for child in task.read_text().split()]
    return [child for child in found if alive(child)]


def descendants(pid: int) -> list[int]:
    """Living processes below a process."""
    below = children(pid)
    return below + [deeper for child in below for deeper in descendants(child)]


def horse_of(worker: int) -> int | None:
    """The process that runs a function for this worker process now; forked, so called as its parent is."""
    own = command_line(worker)
    return next((pid for pid in children(worker) if command_line(pid) == own), None)


def command_line(pid: int) -> str:
    """How the process was started; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""


def killed(pid: int) -> bool:
    """Kill a process; False where it had ended by itself."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


def listens(port: int) -> bool:
    """Whether somebody takes connections there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Farm:
    """A farm of one process tree, started by the command that users type."""

    def __init__(
        self, folder: Path, *, builders: int = 1, options: tuple[str, ...] = (), **environment: str
    ) -> None:
        self.folder, self.data, self.builders, self.options = folder, folder / "data", builders, options
        self.port = free_port()
        self.environment = {**os.environ, **CLOCKS, **environment}
        self.process: subprocess.Popen[bytes] | None = None
        self.repositories = 0
        folder.mkdir(parents=True, exist_ok=True)

    # -- life ------------------------------------------------------------------------------------

    def start(self) -> float:
        """Start it; the seconds until it was ready."""
        ready = self.folder / "ready.json"
        ready.unlink(missing_ok=True)  # of a farm that was killed
        began = time.monotonic()
        self.process = self.launch()

        def is_ready() -> bool:
            assert self.process
            assert self.process.poll() is None, self.output()
            return ready.exists()

        wait_for(is_ready, "the farm to start")
        facts = json.loads(ready.read_text())
        self.url, self.token = facts["url"], facts["admin_token"]
        self.session = requests.Session()
        self.session.headers["Authorization"] = f"Bearer {self.token}"
        return time.monotonic() - began

    def launch(self, *more: str, port: int | None = None) -> subprocess.Popen[bytes]:
        """`buildfarm up` on this farm's folder."""
        ready, builders = str(self.folder / "ready.json"), str(self.builders)
        command = [str(BUILDFARM), "up", "--data", str(self.data), "--port", str(port or self.port)]
        command += ["--builders", builders, "--ready-file", ready, *self.options, *more]
        with (self.folder / "up.log").open("ab") as out:
            return subprocess.Popen(
                command, env=self.environment, stdout=out, stderr=out, start_new_session=True
            )

    def stop(self, number: int = signal.SIGTERM) -> tuple[int, float]:
        """End it in good order; its exit code and the seconds that took."""
        assert self.process
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(timeout=60)
        return code, time.monotonic() - began

    def kill(self) -> None:
        """SIGKILL of the parent of all."""
        assert self.process
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Whatever happened: nothing is left."""
        if self.process and self.process.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.stop()
            self.kill()

    def output(self) -> str:
        """What `up` said."""
        return (self.folder / "up.log").read_text()[-3000:]

    # -- processes -------------------------------------------------------------------------------

    def child(self, name: str) -> int:
        """The process id of a running child of `up`, waiting for one that is being started."""

        def running() -> int | None:
            entries = json.loads((self.data / "run" / "status.json").read_text())["children"]
            entry = next(entry for entry in entries if entry["name"] == name)
            return entry["pid"] if entry["state"] == "running" and alive(entry["pid"] or 0) else None

        return wait_for(running, f"the child {name}")

    def horse(self, name: str) -> int:
        """The process that runs a function for a worker."""
        return wait_for(lambda: horse_of(self.child(name)), f"the horse of {name}")

    def busy_builder(self) -> str:
        """The name of a builder that runs an attempt."""
        names = [f"builder-{slot}" for slot in range(self.builders)]
        running = lambda: next((name for name in names if horse_of(self.child(name))), None)  # noqa: E731
        return wait_for(running, "a busy builder")

    def sql(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What stands in the database; asks without taking a lock."""
        with contextlib.closing(sqlite3.connect(f"file:{self.data}/farm.db?mode=ro", uri=True)) as database:
            return database.execute(query, values).fetchall()

    def can_be_written_to(self) -> bool:
        """Whether nobody keeps the database's lock for a second."""
        with contextlib.closing(sqlite3.connect(f"{self.data}/farm.db", timeout=1)) as database:
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return False
            return True

    def everything(self) -> list[int]:
        """Every process of the tree, whatever session it is in."""
        assert self.process
        return [self.process.pid, *descendants(self.process.pid)]

    # -- the engine ------------------------------------------------------------------------------

    def containers(self, job: str | None = None) -> list[tuple[str, int]]:
        """(job, attempt) of this farm's containers that work; those that wait for an attempt have no job."""
        farm_id = (self.data / "run" / "farm-id").read_text()
        client = docker.APIClient(base_url=os.environ["DOCKER_HOST"])
        try:
            found = client.containers(all=True, filters={"label": LABEL_INSTANCE})
        finally:
            client.close()
        names = [one["Names"][0].split(".") for one in found if one["Names"]]
        # /<instance>.<job>.<attempt>.<script>; the engine names the others itself
        work = [
            (name[1], int(name[2])) for name in names if len(name) == 4 and name[0].startswith(f"/{farm_id}")
        ]
        return [one for one in work if job in (None, one[0])]

    # -- the API ---------------------------------------------------------------------------------

    def api(self, method: str, path: str, **more: Any) -> Any:
        """One request; raises for what is not 2xx."""
        answer = self.session.request(method, f"{self.url}/api/v1/{path}", timeout=60, **more)
        answer.raise_for_status()
        return answer.json()

    def get(self, path: str, **query: Any) -> Any:
        """The same, asking again while the web processes are away."""
        end = time.monotonic() + 60
        while True:
            try:
                return self.api("GET", path, params=query)
            except requests.RequestException as err:
                refused = err.response is not None and err.response.status_code < 500
                if refused or time.monotonic() > end:
                    raise
                time.sleep(0.1)

    def connect(self, name: str = "") -> "Source":
        """A new source with a repository of its own."""
        self.repositories += 1
        repository = Repository(self.folder / "git", name or f"chaos{self.repositories}")
        body = {"name": repository.name, "url": repository.url, "projects": [repository.name]}
        self.api("POST", "sources", json=body)
        return Source(self, repository)

    def journal(self, kind: str, project: str | None = None) -> list[dict[str, Any]]:
        """The journal's rows of a kind."""
        rows, after = [], 0
        while page := self.get("journal", after=after, limit=200)["items"]:
            rows += page
            after = page[-1]["serial"]
        return [row for row in rows if row["kind"] == kind and project in (None, row["project"])]

    def redis(self) -> Any:
        """A connection to the queue's server with the farm's own login."""
        import redis

        return redis.Redis.from_url(json.loads((self.data / "run" / "settings.json").read_text())["redis"])


class Source:
    """A source and its repository."""

    def __init__(self, farm: Farm, repository: Repository) -> None:
        self.farm, self.repository = farm, repository

    def build(self, seconds: float = 0.0) -> "Build":
        """Release the next version and start its build."""
        version = self.repository.release(seconds)
        body = {"source": self.repository.name, "ref": f"refs/tags/{version}"}
        answer = self.farm.api("POST", "builds", json=body)
        return Build(self, version, answer["id"])


class Build:
    """One build and the release that it shall become."""

    def __init__(self, source: Source, version: str, build_id: str) -> None:
        self.source, self.version, self.id = source, version, build_id
        self.farm = source.farm

    def show(self) -> dict[str, Any]:
        """The build now."""
        answer: dict[str, Any] = self.farm.get(f"builds/{self.id}")
        return answer

    @property
    def job(self) -> dict[str, Any]:
        """Its one job; waits until it is planned."""
        return wait_for(lambda: (self.show()["jobs"] or [None])[0], "the job to be planned")

    def at_work(self, attempt: int = 1) -> dict[str, Any]:
        """Wait until the backend prints its lines; the job."""

        def prints() -> bool:
            job = self.job
            if job["attempt"] < attempt or job["state"] != "running":
                assert job["state"] in ("queued", "running"), job
                return False
            return "line 1 of the work" in self.log(job["attempt"])

        wait_for(prints, f"attempt {attempt} to be at work", 90)
        return self.job

    def log(self, attempt: int) -> str:
        """The whole log of an attempt; empty before its first line."""
        parts, offset = [], 0
        while True:
            try:
                part = self.farm.get(f"jobs/{self.job['id']}/log", attempt=attempt, offset=offset)
            except requests.HTTPError:
                return ""
            if not part["segments"]:
                return "".join(parts)
            parts += [segment["text"] for segment in part["segments"]]
            offset = part["next"]

    def reaches(self, state: str, seconds: float = 120.0) -> dict[str, Any]:
        """Wait for a final state, which must be this one."""
        end = time.monotonic() + seconds
        while (shown := self.show())["state"] not in ENDS:
            assert time.monotonic() < end, f"waited {seconds} s for {state}: {shown}"
            time.sleep(0.1)
        assert shown["state"] == state, shown
        return shown

    def published_once(self, attempt: int | None = None, seconds: float = 120.0) -> dict[str, Any]:
        """Wait for the release; it must be whole, and in the journal exactly once."""
        shown = self.reaches("published", seconds)
        if attempt is not None:
            assert shown["jobs"][0]["attempt"] == attempt, shown["jobs"]
        rows = self.farm.journal("publish", self.source.repository.name)
        mine = [row for row in rows if row["facts"]["version"] == self.version]
        assert [row["facts"]["build"] for row in mine] == [self.id], mine
        files = self.source.repository.files(self.version)
        assert {file["filename"] for file in shown["files"]} == files
        wait_for(lambda: files <= index_files(self.farm, self.source.repository.name), "the index")
        return shown


def index_files(farm: Farm, project: str) -> set[str]:
    """The files that clients see of a project; none while the index does not answer."""
    headers = {"Accept": "application/vnd.pypi.simple.v1+json", "Authorization": f"Bearer {farm.token}"}
    try:
        answer = requests.get(f"{farm.url}/dev/simple/{project}/", headers=headers, timeout=10)
    except requests.RequestException:
        return set()
    return {file["filename"] for file in answer.json()["files"]} if answer.ok else set()


class Eyes:
    """Looks at index and logs of one build all the time; what it saw must stay true."""

    def __init__(self, build: Build) -> None:
        self.build = build
        self.seen: dict[int, str] = {}
        self.halves: list[set[str]] = []
        self.looks = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        files = self.build.source.repository.files(self.build.version)
        session = requests.Session()
        session.headers["Authorization"] = f"Bearer {self.build.farm.token}"
        offsets: dict[int, int] = {}
        while not self._over.wait(0.05):
            visible = index_files(self.build.farm, self.build.source.repository.name) & files
            if visible and visible != files:
                self.halves.append(visible)
            with contextlib.suppress(requests.RequestException, ValueError):
                root = f"{self.build.farm.url}/api/v1"
                jobs = session.get(f"{root}/builds/{self.build.id}", timeout=5).json().get("jobs") or []
                for job in jobs:
                    number = job["attempt"]
                    query = {"attempt": number, "offset": offsets.get(number, 0)}
                    answer = session.get(f"{root}/jobs/{job['id']}/log", params=query, timeout=5)
                    if answer.ok:
                        part = answer.json()
                        text = "".join(segment["text"] for segment in part["segments"])
                        self.seen[number] = self.seen.get(number, "") + text
                        offsets[number] = part["next"]
            self.looks += 1

    def __enter__(self) -> "Eyes":
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        self._thread.join(60)
        if exc[0] is not None:
            return
        assert self.looks > 3
        assert not self.halves, f"half a release was visible: {self.halves}"
        for number, text in self.seen.items():
            final = self.build.log(number)
            assert final.startswith(text), f"lines of attempt {number} were shown and are gone"
            numbers = [int(found) for found in re.findall(r"line (\d+) of the work", final)]
            assert numbers == list(range(len(numbers))), f"the log of attempt {number} has a gap"


@contextlib.contextmanager
def stopped(farm: Farm, *pids: int) -> Iterator[None]:
    """Processes that stand still for the block, none of them amid a write.

    SQLite has one lock for all: who is halted while holding it halts every writer, until it is killed.
    """
    end = time.monotonic() + 60
    _send(signal.SIGSTOP, pids)
    try:
        while not farm.can_be_written_to():
            assert time.monotonic() < end, "somebody else keeps the database locked"
            _send(signal.SIGCONT, pids)
            time.sleep(0.05)
            _send(signal.SIGSTOP, pids)
        yield
    finally:
        _send(signal.SIGCONT, pids)


def _send(which: signal.Signals, pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, which)


def everyones_containers(job: str) -> list[str]:
    """Ids of a job's containers, whichever host of this engine started them."""
    client = docker.APIClient(base_url=os.environ["DOCKER_HOST"])
    try:
        found = client.containers(all=True, filters={"label": LABEL_INSTANCE, "name": job})
    finally:
        client.close()
    return [one["Id"] for one in found]


def nothing_left(farm: Farm, pids: list[int], seconds: float = 30.0) -> float:
    """Wait until a farm that ended has left no process, listener, container or mount; the seconds it took."""
    began = time.monotonic()
    sessions = list(pids)

    def clean() -> bool:
        left = [pid for pid in pids if alive(pid)] + [pid for one in sessions for pid in session_members(one)]
        mounts = str(farm.data) in Path("/proc/self/mountinfo").read_text()
        return not left and not listens(farm.port) and not farm.containers() and not mounts

    wait_for(clean, "the farm to be gone", seconds)
    return time.monotonic() - began
