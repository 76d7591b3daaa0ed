"""What several rooms need: databases of both kinds, a farm over one, things in it, its web application."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import shutil
import signal
import socket
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from buildfarm import bootstrap, clock
from buildfarm.access import tokens
from buildfarm.access.rules import Principal
from buildfarm.bootstrap import Farm
from buildfarm.config import Settings
from buildfarm.db import migrate
from buildfarm.db.engine import Database
from buildfarm.farm import builds, claims, jobs, registry
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.rules import State
from buildfarm.index import channels, names
from buildfarm.index.follow import PageFollower
from buildfarm.index.pagetree import PageTree
from buildfarm.journal.record import append_recorded
from buildfarm.scm import connect
from buildfarm.sources.model import Source
from tests.postgresql import PostgresCluster, postgres_programs, running_cluster
from tests.waiting import wait_for
from webapp.app import create_app

ROOT = Path(__file__).parent.parent
PUBLIC_URL = "http://farm.example"


# Databases ------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A cluster with the database `farm`, which has today's schema."""
    programs = postgres_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (package postgresql)")
    with running_cluster(programs) as cluster:
        database = Database(cluster.url("farm"))
        migrate.upgrade(database)
        database.close()
        yield cluster


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "farm.db"
    database = Database(f"sqlite:///{path}")
    migrate.upgrade(database)
    database.close()  # the last connection folds the write-ahead log into the file
    return path


@pytest.fixture
def sqlite_url(sqlite_template: Path, tmp_path: Path) -> str:
    shutil.copy(sqlite_template, tmp_path / "farm.db")
    return f"sqlite:///{tmp_path / 'farm.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> Iterator[str]:
    """An empty farm's database, once on SQLite and once on PostgreSQL."""
    if request.param == "sqlite":
        yield request.getfixturevalue("sqlite_url")
        return
    cluster: PostgresCluster = request.getfixturevalue("postgres")
    cluster.empty("farm")
    yield cluster.url("farm")


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    database = Database(database_url, before_commit=append_recorded)
    yield database
    database.close()


# A farm and what is in it ---------------------------------------------------------------------------


def wheel(
    name: str = "widget",
    version: str = "1.0",
    *,
    tag: str = "py3-none-any",
    number: int | None = None,
    requires_python: str | None = ">=3.9",
    code: str = "x = 1\n",
    requires: tuple[str, ...] = (),
    more: tuple[str, ...] = (),
) -> tuple[str, bytes]:
    """File name and bytes of a right wheel; other `code` makes other bytes, `more` are names of members.

    `number` is its build number.
    """
    stem = f"{name.replace('-', '_').lower()}-{version}"
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", "Summary: A part"]
    lines += [f"Requires-Python: {requires_python}"] if requires_python else []
    lines += [f"Requires-Dist: {one}" for one in requires]
    kind = f"Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: {tag}\n"
    kind += f"Build: {number}\n" if number else ""
    members = {
        f"{stem.split('-')[0]}/__init__.py": code,
        **dict.fromkeys(more, ""),
        f"{stem}.dist-info/METADATA": "\n".join(lines) + "\n",
        f"{stem}.dist-info/WHEEL": kind,
    }
    recorded = []
    for path, member in members.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(member.encode()).digest()).rstrip(b"=").decode()
        recorded.append(f"{path},sha256={digest},{len(member.encode())}\n")
    members[f"{stem}.dist-info/RECORD"] = "".join(recorded) + f"{stem}.dist-info/RECORD,,\n"
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, member in members.items():
            info = zipfile.ZipInfo(path, (2020, 1, 1, 0, 0, 0))
            info.external_attr = 0o100644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, member)
    return f"{stem}-{number}-{tag}.whl" if number else f"{stem}-{tag}.whl", out.getvalue()


@pytest.fixture
def a_wheel() -> tuple[str, bytes]:
    """File name and bytes of a right wheel, of a name that no index has."""
    return wheel("chaos-upload")


IMAGE = "sha256:" + "1" * 64
QUEUE = "build.manylinux-x86_64.dev.interactive"


@dataclass
class House:
    """A farm, and the verbs by which tests put things into it."""

    farm: Farm
    count: int = 0
    builder: tuple[str, Principal] | None = None
    files: dict[str, bytes] = field(default_factory=dict)
    wheel = staticmethod(wheel)
    wait_for = staticmethod(wait_for)

    @property
    def database(self) -> Database:
        return self.farm.database

    def token(self, *scopes: str, name: str = "somebody") -> str:
        with self.database.begin() as session:
            return tokens.create(session, name, list(scopes), actor="test")[1]

    def source(
        self, name: str = "widget", *, projects: tuple[str, ...] = ("widget",), scm: str = "generic"
    ) -> str:
        """A source's id."""
        with self.database.begin() as session:
            source, _ = connect.add_source(
                session, name, f"https://git.example/acme/{name}.git", scm=scm, branches=[], tier="dev",
                allow_file=False, actor="test",
            )  # fmt: skip
            names.make_local(session, list(projects), source, actor="test")
            return source.id

    def build(
        self, source_id: str, *targets: str, ref: str = "refs/tags/v1.0", optional: tuple[str, ...] = ()
    ) -> tuple[str, dict[str, str]]:
        """A planned build: its id, and the ids of its jobs by target."""
        with self.database.begin() as session:
            build = builds.start(
                session, session.get_one(Source, source_id), ref=ref, commit="a" * 40, trigger="test",
                actor="ada",
            )  # fmt: skip
            build.recipe_sha256, build.recipe_name, build.snapshot_sha256 = "b" * 64, "default", "c" * 64
            build.recipe_path = "pyproject.toml"
            fetch = session.query(Task).filter_by(subject=build.id, kind="fetch").one()
            fetch.state = State.SUCCEEDED
            made = {}
            for target in (*targets, *optional):
                self.count += 1
                job = Job(
                    id=f"job_{self.count:012d}", build_id=build.id, target=target, required=target in targets,
                    spec={
                        "build_image": IMAGE, "source_sha256": "c" * 64, "source_date_epoch": 1_700_000_000,
                        "limits": {"seconds": 600, "output_bytes": 1 << 20, "output_count": 20},
                    },
                    **jobs.queued_values(source_id, QUEUE, clock.now()),
                )  # fmt: skip
                session.add(job)
                made[target] = job.id
            return build.id, made

    def claim(self, job_id: str, number: int = 1) -> str:
        """The token of the attempt."""
        with self.database.begin() as session:
            if self.builder is None:
                builder, value = registry.add_builder(session, "one", ["dev"], actor="test")
                session.flush()
                principal = tokens.principal_of(session, value, clock.now())
                assert principal is not None
                self.builder = builder.id, principal
            builder = session.get_one(registry.Builder, self.builder[0])
            return jobs.claim(session, builder, self.builder[1], job_id, number).token

    def finish(self, token: str, state: str = "succeeded", *, attempts_max: int = 3, **outcome: Any) -> State:
        with self.database.begin() as session:
            attempt, _ = jobs.attempt_of_token(session, token)
            return jobs.finish(session, attempt, {"state": state, **outcome}, attempts_max=attempts_max)

    def artifact(self, token: str, filename: str, data: bytes) -> None:
        sha256 = self.farm.blobs.put_bytes(data)
        with self.database.begin() as session:
            attempt, _ = jobs.attempt_of_token(session, token)
            jobs.add_artifact(session, attempt, filename, sha256, len(data))

    def built(self, source_id: str, *files: tuple[str, bytes], ref: str = "refs/tags/v1.0") -> str:
        """The id of a build whose one job made these files."""
        build_id, made = self.build(source_id, "cp313-manylinux_2_28_x86_64", ref=ref)
        token = self.claim(next(iter(made.values())))
        for filename, data in files:
            self.artifact(token, filename, data)
        assert self.finish(token) == State.SUCCEEDED
        return build_id

    def publish_task(self, build_id: str) -> tuple[str, int]:
        """Claim the build's publish task."""
        with self.database.begin() as session:
            task = session.query(Task).filter_by(subject=build_id, kind="publish").one()
            claims.claim(session, Task, task.id, task.attempt)
            return task.id, task.attempt

    def state(self, build_id: str) -> str:
        with self.database.read() as session:
            return session.get_one(Build, build_id).state

    @cached_property
    def tree(self) -> PageTree:
        return PageTree(self.farm.settings.pages_dir)

    @cached_property
    def follower(self) -> PageFollower:
        return PageFollower(self.database, self.farm.blobs, self.tree, self.farm.settings)

    @cached_property
    def app(self) -> Flask:
        return create_app(self.farm)

    def client(self, token: str = "") -> FlaskClient:
        client = self.app.test_client()
        if token:
            header = base64.b64encode(f"__token__:{token}".encode()).decode()
            client.environ_base["HTTP_AUTHORIZATION"] = f"Basic {header}"
        return client


def open_farm(url: str, folder: Path, **settings: Any) -> House:
    """A farm over a database that has its tables."""
    values: dict[str, Any] = {
        "data": folder / "farm", "database": url, "public_url": PUBLIC_URL, "redis": "redis://127.0.0.1:1/0",
        "mirror": {"upstreams": ["http://127.0.0.1:1/simple"], "timeout_s": 1.0},
        "timing": {"visible_s": 0.0},  # a house renders when a test says so: nothing is to be waited for
    }  # fmt: skip
    made = Settings(**(values | settings))
    farm = bootstrap.farm(made)
    with farm.database.begin() as session:
        channels.create_ladder(session)
    return House(farm)


@pytest.fixture
def open_house(sqlite_url: str, tmp_path: Path) -> Iterator[Callable[..., House]]:
    """Opens a farm on SQLite with settings of the test's own."""
    opened: list[House] = []

    def open_one(**settings: Any) -> House:
        opened.append(open_farm(sqlite_url, tmp_path, **settings))
        return opened[-1]

    yield open_one
    for house in opened:
        house.database.close()


@pytest.fixture
def house(open_house: Callable[..., House]) -> House:
    """A farm on SQLite."""
    return open_house()


@pytest.fixture
def each_house(database_url: str, tmp_path: Path) -> Iterator[House]:
    """A farm on SQLite, and one on PostgreSQL."""
    house = open_farm(database_url, tmp_path)
    yield house
    house.database.close()


# Processes ------------------------------------------------------------------------------------------


def environment(settings: Settings, folder: Path) -> dict[str, str]:
    """The environment of a process that works on the same farm, and waits for its follower."""
    path = folder / "settings.json"
    patient = settings.timing.model_copy(update={"visible_s": 20.0})
    path.write_text(settings.model_copy(update={"timing": patient}).model_dump_json())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
    return {**kept, "BUILDFARM_CONFIG": str(path), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Starts gunicorn over a farm, as `up` does, and gives its URL; a follower runs beside it.

    `serve.running` are the processes; `serve.kill()` ends them without a warning, workers and all.
    """
    running: list[subprocess.Popen[bytes]] = []

    def start(house: House, *, workers: int = 1, threads: int = 16) -> str:
        env = environment(house.farm.settings, tmp_path)
        log = (tmp_path / "processes.log").open("ab")
        listener = socket.create_server(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        gunicorn = [
            *(sys.executable, "-m", "gunicorn", "webapp.wsgi:app", "--bind", f"fd://{listener.fileno()}"),
            *("--worker-class", "gthread", f"--workers={workers}", f"--threads={threads}"),
            *("--graceful-timeout", "1", "--keep-alive", "30", "--no-control-socket"),
        ]
        with listener, log:
            running.append(
                subprocess.Popen(
                    gunicorn,
                    env=env,
                    cwd=ROOT,
                    stdout=log,
                    stderr=log,
                    pass_fds=[listener.fileno()],
                    start_new_session=True,
                )
            )
            follower = [sys.executable, "-m", "webapp.follower"]
            running.append(
                subprocess.Popen(follower, env=env, cwd=ROOT, stdout=log, stderr=log, start_new_session=True)
            )
        wait_for(lambda: _is_alive(port), seconds=60)
        wait_for(lambda: house.tree.serial >= 0, seconds=60)
        return f"http://127.0.0.1:{port}"

    def kill() -> None:
        for process in running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(20)
        running.clear()

    start.running, start.kill = running, kill  # type: ignore[attr-defined]
    yield start
    for process in running:
        process.terminate()
    for process in running:
        process.wait(20)


def _is_alive(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\n\r\n")
        return b"200 OK" in connection.recv(1000)
    return False


@pytest.fixture
def signer(tmp_path: Path) -> Iterator[Callable[[], Path]]:
    """Starts a signer for `PUBLIC_URL` and gives its socket; called again, it starts it anew."""
    running: list[subprocess.Popen[bytes]] = []
    path = tmp_path / "signer.sock"

    def start() -> Path:
        stop()
        argv = [
            *(sys.executable, "-m", "buildfarm.trust.signer", f"--data={tmp_path / 'vault'}"),
            *(f"--socket={path}", f"--url={PUBLIC_URL}"),
        ]
        with (tmp_path / "processes.log").open("ab") as log:
            env = {**os.environ, "PYTHONPATH": str(ROOT)}
            running.append(subprocess.Popen(argv, env=env, cwd=ROOT, stdout=log, stderr=log))
        wait_for(lambda: path.exists() or running[-1].poll() is not None)
        return path

    def stop() -> None:
        for process in running:
            process.terminate()
            process.wait(20)
        running.clear()

    start.stop = stop  # type: ignore[attr-defined]
    yield start
    stop()
