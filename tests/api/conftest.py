"""A farm in one process: SQLite, real use cases, the real views; no queue answers, which is allowed."""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access import tokens
from buildfarm.bootstrap import Farm
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.farm import builds, jobs, logs
from buildfarm.farm.model import Build, Dependency, Image, Job
from buildfarm.farm.registry import add_builder
from buildfarm.farm.rules import State
from buildfarm.index import channels, names
from buildfarm.index.admission import Admission
from buildfarm.index.model import File, Release
from buildfarm.journal.model import Checkpoint, JournalHead
from buildfarm.journal.record import append_recorded, record
from buildfarm.scm import connect
from buildfarm.scm.model import Delivery
from buildfarm.sources.model import Source
from buildfarm.storage.blobs import Blobs
from buildfarm.tables import Base
from webapp.app import create_app

IMAGE = "sha256:" + "1" * 64


class _Unproved(Admission):
    """Lets everything pass: the files in here were never built and have no statements."""

    def demand(self, files: Sequence[File]) -> None:
        pass


@dataclass
class House:
    """The farm, its application, tokens of three people, and ids of what is in it."""

    farm: Farm
    app: Flask
    admin: str
    viewer: str
    promoter: str
    build_id: str = ""
    job_id: str = ""
    waiting_job_id: str = ""
    delivery_id: str = ""

    def client(self, token: str = "") -> FlaskClient:
        """A client that sends the token with every request."""
        client = self.app.test_client()
        if token:
            client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
        return client


def _open(folder: Path) -> tuple[Farm, Flask]:
    settings = Settings(
        data=folder,
        public_url="http://farm.example",
        redis="redis://127.0.0.1:1/0",
        sources_allow_file=True,
    )
    farm = Farm(
        settings, Database(settings.database_url, before_commit=append_recorded), Blobs(settings.blobs_dir)
    )
    vars(farm)["admission"] = _Unproved(farm.blobs, settings.trust_dir, settings.public_url)
    return farm, create_app(farm)


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> House:
    """A farm that published one release, widget 1.0, from a build with two jobs; tests get copies."""
    folder = tmp_path_factory.mktemp("template")
    farm, app = _open(folder)
    Base.metadata.create_all(farm.database.engine)
    with farm.database.begin() as session:
        session.add(JournalHead(id=1, size=0))
        session.flush()
        channels.create_ladder(session)
        values = [
            tokens.create(session, name, scopes, actor="test")[1]
            for name, scopes in (
                ("admin", ["admin"]),
                ("viewer", ["view"]),
                ("promoter", ["view", "promote:staging"]),
            )
        ]
    house = House(farm, app, *values)
    _fill(house)
    farm.database.close()
    return house


@pytest.fixture
def full(template: House, tmp_path: Path) -> Iterator[House]:
    """A copy of the template, to do anything to."""
    shutil.copytree(template.farm.settings.data, tmp_path / "farm")
    farm, app = _open(tmp_path / "farm")
    yield replace(template, farm=farm, app=app)
    farm.database.close()


def _fill(house: House) -> None:
    with house.farm.database.begin() as session:
        source, _ = connect.add_source(
            session, "widget", "https://git.example/acme/widget.git", scm="generic", branches=[], tier="dev",
            allow_file=False, actor="test",
        )  # fmt: skip
        names.make_local(session, ["widget"], source, actor="test")
        house.delivery_id = _delivery(session, source)
        build = builds.start(
            session, source, ref="refs/tags/v1.0", commit="a" * 40, trigger="webhook:generic", actor="ada",
            title="Release 1.0", delivery_id=house.delivery_id,
        )  # fmt: skip
        house.build_id = build.id
        house.job_id = _job(session, build, "cp313-manylinux_2_28_x86_64", State.QUEUED)
        house.waiting_job_id = _job(session, build, "cp314-manylinux_2_28_x86_64", State.QUEUED)
        session.add(
            Image(
                image_id=IMAGE, platform="manylinux_2_28_x86_64", role="build", suite="el8",
                interpreters=["cp313"], registered_at=clock.now(),
            )
        )  # fmt: skip
    run(house)
    publish(house)


def _delivery(session: Session, source: Source) -> str:
    delivery = Delivery(
        id="dlv_0000000001", source_id=source.id, key="one", scm="generic", received_at=clock.now(),
        state="accepted", kind="tag", ref="refs/tags/v1.0", commit="a" * 40, actor="ada", title="Release 1.0",
        headers={"Content-Type": "application/json"}, body=b'{"type": "push"}', body_sha256="b" * 64,
        steps=[{"name": "clock", "ok": True, "detail": "1 s behind"}],
    )  # fmt: skip
    session.add(delivery)
    refused = Delivery(
        id="dlv_0000000000", source_id=source.id, key=None, scm="generic", received_at=clock.now(),
        state="rejected", reason="signature_wrong", headers={}, body=b"\xff", body_sha256="c" * 64, steps=[],
    )  # fmt: skip
    session.add(refused)
    session.flush()
    return delivery.id


def _job(session: Session, build: Build, target: str, state: State) -> str:
    job = Job(
        id=f"job_{target[2:5]}0000000", build_id=build.id, target=target, required=target[:5] == "cp313",
        spec={"build_image": IMAGE, "test_image": IMAGE, "source_sha256": "9" * 64,
              "limits": {"seconds": 600}},
        **jobs.queued_values(build.source_id, "build.manylinux-x86_64.dev.interactive", clock.now())
        | {"state": state},
    )  # fmt: skip
    session.add(job)
    session.flush()
    return job.id


def run(house: House) -> None:
    """Let a builder take the first job, say something, and succeed."""
    with house.farm.database.begin() as session:
        builder, value = add_builder(session, "builder-one", ["dev"], actor="test")
        session.flush()
        principal = tokens.principal_of(session, value, clock.now())
        assert principal is not None
        claimed = jobs.claim(session, builder, principal, house.job_id, 1)
        session.flush()
        attempt, _ = jobs.attempt_of_token(session, claimed.token)
        size = 0
        for phase, text in (("source", "fetched\n"), ("build", "compiled ünïcode\nlinked\n")):
            size = logs.append(
                session, house.job_id, 1, offset=size, phase=phase, text=text,
                times=[1_700_000_000_000 + index for index in range(text.count("\n"))], max_bytes=10_000,
            )  # fmt: skip
            session.flush()
        jobs.add_artifact(session, attempt, "widget-1.0-cp313-cp313-linux_x86_64.whl", "d" * 64, 1234)
        session.add(
            Dependency(
                job_id=house.job_id, attempt=1, filename="setuptools-84.0-py3-none-any.whl", sha256="e" * 64,
                ecosystem="pypi", project="setuptools", version="84.0", origin="https://index.example/simple/setuptools/",
                served_at=clock.now(),
            )
        )  # fmt: skip
        jobs.finish(session, attempt, {"state": "succeeded"}, attempts_max=3)


def publish(house: House) -> None:
    """Make the file visible in `dev`, as publishing does."""
    with house.farm.database.begin() as session:
        release = Release(
            id="rel_1", project="widget", version="1.0", summary="A widget.", created_at=clock.now()
        )
        filename = "widget-1.0-cp313-cp313-linux_x86_64.whl"
        file = File(
            filename=filename, release_id="rel_1", sha256="d" * 64, size=1234, uploaded_at=clock.now(),
            build_id=house.build_id, job_id=house.job_id, attempt=1, provenance_sha256="f" * 64,
            rules_version=3, check_ms=12, check_tools={"packaging": "26.3"},
            findings=[{"rule": "N-06", "text": "1.0 is odd.", "entry": ""}],
        )  # fmt: skip
        session.add(release)
        session.flush()
        session.add(file)
        session.flush()
        record(session, "publish", project="widget", on_serial=channels.entering(session, "dev", [filename]))
        build = session.get_one(Build, house.build_id)
        build.project, build.version = "widget", "1.0"
        session.add(Checkpoint(size=1, note="farm.example\n1\n", at=clock.now() - timedelta(seconds=1)))
