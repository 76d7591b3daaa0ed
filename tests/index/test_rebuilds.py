"""Rebuilds: a published release made again, its wheels under a build number."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select, update

from buildfarm.errors import FarmError
from buildfarm.farm import jobs
from buildfarm.farm.model import Build, Job, Task
from buildfarm.farm.rules import State
from buildfarm.index import channels, promote, status
from buildfarm.index.model import File
from buildfarm.index.publish import Publisher
from buildfarm.journal.model import JournalRow
from buildfarm.sandbox.inside import archives
from buildfarm.trust.client import SignerClient

TARGET = "cp313-manylinux_2_28_x86_64"


@pytest.fixture
def press(house, signer, monkeypatch: pytest.MonkeyPatch):
    """A farm beside a running signer; no upstream index knows any name."""
    monkeypatch.setattr(type(house.farm.upstream), "rows", lambda _self, _name: None)
    house.socket = signer()
    return house


def published(house, *files: tuple[str, bytes]) -> str:
    build_id = house.built(house.source(), *files)
    publish(house, build_id)
    return build_id


def publish(house, build_id: str) -> None:
    farm = house.farm
    publisher = Publisher(farm.database, farm.blobs, SignerClient(house.socket), farm.upstream, farm.settings)
    publisher.publish(build_id, house.publish_task(build_id), lambda: None)


def ask(house, build_id: str, status: int = 201, **body: str) -> dict[str, Any]:
    answer = house.client(house.token("admin")).post(f"/api/v1/builds/{build_id}/rebuild", json=body)
    assert answer.status_code == status, answer.text
    return answer.json


def made(house, build_id: str, *files: tuple[str, bytes]) -> None:
    """Its fetch is over, and the one job that was planned has made these files."""
    with house.database.begin() as session:
        build = session.get_one(Build, build_id)
        session.execute(
            update(Task).where(Task.subject == build_id, Task.kind == "fetch").values(state=State.SUCCEEDED)
        )
        first = session.scalars(select(Job).where(Job.build_id == build.rebuilds_id)).one()
        for same in ("recipe_sha256", "recipe_name", "recipe_path", "snapshot_sha256"):
            setattr(build, same, getattr(first.build, same))
        queue = first.queue.rpartition(".")[0] + ".background"
        job = Job(
            id="job_" + build_id[-12:].lower(), build_id=build_id, target=TARGET, required=True,
            spec=first.spec, **jobs.queued_values(build.source_id, queue, first.created_at),
        )  # fmt: skip
        session.add(job)
        job_id = job.id
    token = house.claim(job_id)
    for filename, data in files:
        house.artifact(token, filename, data)
    assert house.finish(token) == State.SUCCEEDED


def numbered(folder: Path, build: int, file: tuple[str, bytes]) -> tuple[str, bytes]:
    """The wheel as the sandbox gives it a number."""
    folder.mkdir(exist_ok=True)
    path = folder / file[0]
    path.write_bytes(file[1])
    final = Path(archives.number(str(path), build))
    return final.name, final.read_bytes()


@pytest.mark.system
def test_a_rebuild_joins_the_release_under_the_next_number(press, tmp_path: Path) -> None:
    name, data = press.wheel()
    first = published(press, (name, data))
    again = ask(press, first)
    assert (again["rebuilds_id"], again["wheel_build"], again["trigger"]) == (first, 1, "rebuild")
    assert (again["ref"], again["commit"], again["version"]) == ("refs/tags/v1.0", "a" * 40, "1.0")
    made(press, again["id"], numbered(tmp_path / "w", 1, press.wheel(code="x = 2\n")))
    publish(press, again["id"])
    press.follower.catch_up()
    client = press.client(press.token("read:dev"))
    page = client.get("/dev/simple/widget/", headers={"Accept": "application/vnd.pypi.simple.v1+json"}).json
    new = "widget-1.0-1-py3-none-any.whl"
    assert [file["filename"] for file in page["files"]] == [new, name]
    assert page["versions"] == ["1.0"]
    bundle = client.get(f"/dev/files/widget/{new}.sigstore.json").json
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    internal = statement["predicate"]["buildDefinition"]["internalParameters"]
    assert (internal["trigger"], internal["rebuilds"]) == ("rebuild", f"http://farm.example/builds/{first}")
    with press.database.read() as session:
        rows = session.scalars(select(JournalRow).where(JournalRow.kind == "publish")).all()
        told = [
            (json.loads(row.body).get("rebuilds"), json.loads(row.body).get("wheel_build")) for row in rows
        ]
    assert told == [(None, None), (first, 1)]
    assert ask(press, first)["wheel_build"] == 2
    with press.database.begin() as session:
        promotion = promote.promote(
            session, project="widget", version="1.0", from_channel="dev", to_channel="staging", actor="ada"
        )
        assert sorted(promotion.filenames) == [new, name]


@pytest.mark.system
@pytest.mark.parametrize(
    ("file", "code"),
    [
        (("plain",), "rebuild.unnumbered"),
        (("other number",), "rebuild.unnumbered"),
        (("other version",), "publish.other_release"),
    ],
)
def test_a_rebuild_publishes_nothing_else(press, tmp_path: Path, file: tuple[str], code: str) -> None:
    first = published(press, press.wheel())
    again = ask(press, first)["id"]
    files = {
        "plain": press.wheel(code="x = 2\n"),
        "other number": numbered(tmp_path / "w", 2, press.wheel(code="x = 2\n")),
        "other version": numbered(tmp_path / "v", 1, press.wheel(version="1.1")),
    }
    made(press, again, files[file[0]])
    with pytest.raises(FarmError) as refused:
        publish(press, again)
    assert refused.value.code == code
    with press.database.read() as session:
        assert session.scalars(select(File.filename)).all() == [press.wheel()[0]]


@pytest.mark.system
def test_pip_and_uv_take_the_wheel_with_the_higher_number(press, serve, tmp_path: Path) -> None:
    first = published(press, press.wheel(code="made = 0\n"))
    for build in (1, 2):
        again = ask(press, first)["id"]
        made(press, again, numbered(tmp_path / "w", build, press.wheel(code=f"made = {build}\n")))
        publish(press, again)
    index = serve(press).replace("http://", f"http://__token__:{press.token('read:dev')}@") + "/dev/simple/"
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}
    pip = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--isolated", "--index-url", index]
    uv = [sys.executable, "-m", "uv", "pip", "install", "--no-cache", "--no-config", "--default-index", index]
    for name, command in (("pip", pip), ("uv", uv)):
        arguments = [*command, "--target", tmp_path / name, "widget==1.0"]
        subprocess.run(arguments, env=env, check=True, capture_output=True, timeout=120)
        assert (tmp_path / name / "widget" / "__init__.py").read_text() == "made = 2\n"
        assert "Build: 2\n" in (tmp_path / name / "widget-1.0.dist-info" / "WHEEL").read_text()


@pytest.mark.system
def test_a_rebuild_is_compared_under_its_number(press, tmp_path: Path) -> None:
    first = published(press, press.wheel())
    again = ask(press, first)["id"]
    made(press, again, numbered(tmp_path / "w", 1, press.wheel(code="x = 2\n")))
    with press.database.begin() as session:
        (job,) = session.get_one(Build, again).jobs
        job.spec = {**job.spec, "wheel_build": 1}
    publish(press, again)
    answer = press.client(press.token("admin")).post(f"/api/v1/builds/{again}/compare")
    assert answer.status_code == 201
    with press.database.read() as session:
        (job,) = session.get_one(Build, answer.json["id"]).jobs
        assert job.spec["wheel_build"] == 1
    # What compares is no rebuild of its own, and keeps none from beginning.
    assert answer.json["rebuilds_id"] is None
    assert ask(press, answer.json["id"], 409)["code"] == "rebuild.comparison"
    assert ask(press, again)["wheel_build"] == 2


@pytest.mark.system
def test_what_cannot_be_rebuilt_is_named(press) -> None:
    source = press.source()
    waiting = press.built(source, press.wheel(version="0.9"))
    assert ask(press, waiting, 409)["code"] == "rebuild.not_published"
    assert ask(press, "bld_nothing", 404)["code"] == "build.unknown"
    early = press.built(source, press.wheel(version="1.1+g0123"), ref="refs/heads/main")
    publish(press, early)
    assert ask(press, early, 409)["code"] == "rebuild.dev"
    good = press.built(source, press.wheel())
    publish(press, good)
    assert ask(press, good, 404, channel="nowhere")["code"] == "channel.unknown"
    with press.database.begin() as session:
        channels.create_mirror(session)
    assert ask(press, good, 409, channel="mirror")["code"] == "channel.not_durable"
    with press.database.begin() as session:
        promote.yank(session, project="widget", version="1.0", reason="broken", actor="ada")
    assert ask(press, good, 409)["code"] == "rebuild.yanked"
    with press.database.begin() as session:
        promote.unyank(session, project="widget", version="1.0", actor="ada")
        status.set_status(session, "widget", "archived", reason="", actor="ada")
    assert ask(press, good, 403)["code"] == "project.closed"
    with press.database.begin() as session:
        status.set_status(session, "widget", "active", reason="", actor="ada")
    again = ask(press, good, channel="staging")
    assert again["channel"] == "staging"
    assert ask(press, good, 409)["code"] == "rebuild.under_way"
    cancelled = press.client(press.token("admin")).post(f"/api/v1/builds/{again['id']}/cancel")
    assert cancelled.json["state"] == "cancelled"
    # A number that was given is not given again.
    assert ask(press, good)["wheel_build"] == 2


@pytest.mark.system
def test_a_release_that_was_yanked_meanwhile_gets_no_new_wheels(press, tmp_path: Path) -> None:
    again = ask(press, published(press, press.wheel()))["id"]
    made(press, again, numbered(tmp_path / "w", 1, press.wheel(code="x = 2\n")))
    with press.database.begin() as session:
        promote.yank(session, project="widget", version="1.0", reason="broken", actor="ada")
    with pytest.raises(FarmError) as refused:
        publish(press, again)
    assert refused.value.code == "rebuild.yanked"


@pytest.mark.system
def test_a_number_that_a_project_gave_itself_is_passed_over(press, tmp_path: Path) -> None:
    first = published(press, press.wheel(), numbered(tmp_path / "w", 4, press.wheel(code="x = 2\n")))
    assert ask(press, first)["wheel_build"] == 5


def test_who_may_build_alone_publishes_a_rebuild_into_the_first_channel_only(press) -> None:
    good = published(press, press.wheel())
    builder = press.client(press.token("build"))
    past_promotion = builder.post(f"/api/v1/builds/{good}/rebuild", json={"channel": "staging"})
    assert (past_promotion.status_code, past_promotion.json["code"]) == (403, "access.forbidden")
    both = press.client(press.token("build", "promote:staging"))
    assert both.post(f"/api/v1/builds/{good}/rebuild", json={"channel": "staging"}).status_code == 201
