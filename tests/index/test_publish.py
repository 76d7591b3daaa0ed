"""Publishing builds with a real signer, killed and repeated at every step."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from buildfarm.config import Settings
from buildfarm.errors import Conflict, ExternalFailure, FarmError, Forbidden, InvalidInput, StaleAttempt
from buildfarm.farm import claims
from buildfarm.farm.model import Build, Task
from buildfarm.index import attesting
from buildfarm.index.model import Attestation, ChannelEntry, File, Release
from buildfarm.index.publish import Publisher
from buildfarm.journal.log import head
from buildfarm.journal.model import Checkpoint, JournalRow
from buildfarm.journal.record import record
from buildfarm.sources.model import Source
from buildfarm.trust.client import SignerClient
from workers import tasks

pytestmark = pytest.mark.system
JSON = "application/vnd.pypi.simple.v1+json"


@pytest.fixture
def press(each_house, signer, monkeypatch: pytest.MonkeyPatch):
    """A farm beside a running signer; no upstream index knows any name."""
    monkeypatch.setattr(type(each_house.farm.upstream), "rows", lambda _self, _name: None)
    each_house.socket = signer()
    return each_house


def publisher(house, kind: type[Publisher] = Publisher) -> Publisher:
    farm = house.farm
    return kind(farm.database, farm.blobs, SignerClient(house.socket), farm.upstream, farm.settings)


def publish(
    house, build_id: str, task: tuple[str, int] | None = None, kind: type[Publisher] = Publisher
) -> int:
    return publisher(house, kind).publish(build_id, task or house.publish_task(build_id), lambda: None)


def died(*_args: object, **_more: object) -> None:
    raise OSError("died")


def again(house, build_id: str) -> tuple[str, int]:
    """Another attempt of the publish task, as the keeper gives it after a silence."""
    with house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.subject == build_id, Task.kind == "publish")).one()
        claims.requeue(session, Task, task.id, task.attempt)
    return house.publish_task(build_id)


def journal(house) -> list[tuple[str, dict[str, Any]]]:
    with house.database.read() as session:
        rows = session.scalars(select(JournalRow).order_by(JournalRow.serial)).all()
    return [(row.kind, json.loads(row.body)) for row in rows if row.kind in {"attest", "publish"}]


def visible(house) -> list[str]:
    with house.database.read() as session:
        return sorted(session.scalars(select(ChannelEntry.filename).where(ChannelEntry.until.is_(None))))


def test_a_build_becomes_a_release_that_strangers_can_check(press) -> None:
    one, two = press.wheel(), press.wheel(tag="py2.py3-none-any")
    build_id = press.built(press.source(), one, two)
    serial = publish(press, build_id)
    assert press.state(build_id) == "published"
    assert visible(press) == sorted([one[0], two[0]])
    assert [kind for kind, _ in journal(press)] == ["attest", "attest", "publish"]
    body = journal(press)[-1][1]
    assert (body["serial"], body["channel"], body["version"], body["build"]) == (
        serial,
        "dev",
        "1.0",
        build_id,
    )
    press.follower.catch_up()
    client = press.client(press.token("read:dev"))
    page = json.loads(client.get("/dev/simple/widget/", headers={"Accept": JSON}).data)
    for entry in page["files"]:
        path = f"/dev/files/widget/{entry['filename']}"
        assert entry["provenance"] == f"http://farm.example{path}.provenance"
        bundle = client.get(f"{path}.sigstore.json").data
        statement = json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))
        assert statement["subject"][0]["digest"]["sha256"] == entry["hashes"]["sha256"]
        provenance = json.loads(client.get(f"{path}.provenance").data)
        assert provenance["version"] == 1
        assert provenance["attestation_bundles"][0]["attestations"]
    with press.database.read() as session:
        build = session.get_one(Build, build_id)
        assert (build.project, build.version) == ("widget", "1.0")
        assert session.scalars(select(Checkpoint)).all()
        assert {file.build_id for file in session.scalars(select(File))} == {build_id}


def test_a_project_that_was_not_granted_is_not_published(press) -> None:
    press.source("owner", projects=("widget",))
    build_id = press.built(press.source("thief", projects=("gadget",)), press.wheel())
    with pytest.raises(Forbidden) as caught:
        publish(press, build_id)
    assert caught.value.code == "project.not_granted"
    assert visible(press) == journal(press) == []


def test_a_name_that_upstream_has_is_not_claimed(press, monkeypatch) -> None:
    monkeypatch.setattr(type(press.farm.upstream), "rows", lambda _self, _name: {})
    build_id = press.built(press.source(projects=()), press.wheel())
    with pytest.raises(Forbidden) as caught:
        publish(press, build_id)
    assert "upstream" in caught.value.message


def test_a_free_name_is_claimed_by_its_first_release(press) -> None:
    source = press.source(projects=())
    publish(press, press.built(source, press.wheel()))
    with press.database.read() as session:
        assert session.get_one(Source, source).projects == ["widget"]


def test_other_bytes_under_a_published_name_are_refused(press) -> None:
    source = press.source()
    publish(press, press.built(source, press.wheel()))
    before = journal(press)
    build_id = press.built(
        source, press.wheel(code="x = 2\n"), press.wheel(tag="py2-none-any"), ref="refs/tags/v1"
    )
    with pytest.raises(Conflict) as caught:
        publish(press, build_id)
    assert caught.value.code == "file.exists"
    assert caught.value.message.startswith("File already exists")
    assert journal(press) == before
    assert len(visible(press)) == 1


def test_the_same_bytes_again_are_published_under_their_first_bundle(press) -> None:
    source = press.source()
    publish(press, press.built(source, press.wheel()))
    build_id = press.built(source, press.wheel(), press.wheel(tag="py2-none-any"), ref="refs/tags/again")
    publish(press, build_id)
    assert press.state(build_id) == "published"
    assert [kind for kind, _ in journal(press)] == ["attest", "publish", "attest", "publish"]
    with press.database.read() as session:
        assert len(session.scalars(select(Release)).all()) == 1


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/pull/17/head", ""])
def test_a_dev_build_takes_no_version_of_a_release(press, ref: str) -> None:
    source = press.source()
    with pytest.raises(InvalidInput) as caught:
        publish(press, press.built(source, press.wheel(), ref=ref))
    assert caught.value.code == "publish.not_local"
    assert journal(press) == []
    for version in ("1.0+g0123", "1.0+g4567"):
        publish(press, press.built(source, press.wheel(version=version), ref=ref))
    publish(press, press.built(source, press.wheel(version="1.0+corp1"), ref="refs/tags/v1.0"))
    assert len(visible(press)) == 3


@pytest.mark.parametrize(
    ("files", "code"),
    [([], "publish.nothing"), ([("widget", "1.0"), ("gadget", "1.0")], "publish.mixed"),
     ([("widget", "1.0"), ("widget", "1.1")], "publish.mixed")],
)  # fmt: skip
def test_a_build_makes_one_release(house, files: list[tuple[str, str]], code: str) -> None:
    house.socket = Path("/nowhere/signer.sock")
    build_id = house.built(house.source(projects=("widget", "gadget")), *[house.wheel(*one) for one in files])
    with pytest.raises(InvalidInput) as caught:
        publish(house, build_id)
    assert caught.value.code == code


def test_a_broken_wheel_is_never_attested(press) -> None:
    filename, data = press.wheel()
    build_id = press.built(press.source(), press.wheel(tag="py2-none-any"), (filename, data[:-9]))
    with pytest.raises(InvalidInput) as caught:
        publish(press, build_id)
    assert caught.value.code.startswith("file.")
    assert journal(press) == []


@pytest.mark.parametrize(
    ("made", "failure_class", "cause"),
    [("broken", "files", "checks"), ("mixed", "files", "checks"), ("foreign", "name", "policy"),
     ("other bytes", "file-exists", "policy"), ("attested", "signing", "infrastructure"),
     ("lost", "storage", "infrastructure")],
)  # fmt: skip
def test_a_publish_that_is_refused_ends_its_build_with_a_class(
    press, monkeypatch, made: str, failure_class: str, cause: str
) -> None:
    settings = press.farm.settings.model_copy(update={"signer_socket": str(press.socket)})
    monkeypatch.setattr(tasks, "own_farm", lambda: replace(press.farm, settings=settings))
    source, wheel = press.source(), press.wheel()
    if made == "other bytes":
        publish(press, press.built(source, wheel))
    if made == "attested":  # by a publisher that died before it could note it
        first = press.built(source, wheel)
        with monkeypatch.context() as dying:
            dying.setattr(attesting, "record", died)
            with pytest.raises(OSError, match="died"):
                publish(press, first)
    if made == "foreign":
        source = press.source("thief", projects=("gadget",))
    files = {
        "broken": [(wheel[0], wheel[1][:-9])],
        "mixed": [wheel, press.wheel("gadget")],
        "other bytes": [press.wheel(code="x = 2\n")],
    }
    build_id = press.built(source, *files.get(made, [wheel]), ref="refs/tags/v2")
    if made == "lost":
        press.farm.blobs.delete(hashlib.sha256(wheel[1]).hexdigest())
    with press.database.read() as session:
        task = session.scalars(select(Task).where(Task.subject == build_id, Task.kind == "publish")).one()
    tasks.run_task(task.id, task.attempt, 1)
    client = press.client(press.token("admin"))
    build = client.get(f"/api/v1/builds/{build_id}").json
    assert (build["state"], build["failure_class"], build["cause"]) == ("failed", failure_class, cause)
    assert build["next_step"]
    assert "Not published" in client.get(f"/builds/{build_id}", headers={"Accept": "text/html"}).text


def test_a_publish_whose_check_crashes_is_tried_again_and_ends_at_last(press, monkeypatch) -> None:
    settings = press.farm.settings.model_copy(update={"signer_socket": str(press.socket)})
    monkeypatch.setattr(tasks, "own_farm", lambda: replace(press.farm, settings=settings))
    monkeypatch.setattr("buildfarm.wheels.validate.sandbox.ask", lambda *_: b"")
    build_id, states = press.built(press.source(), press.wheel()), []
    for attempt in range(1, settings.limits.attempts + 1):
        with press.database.read() as session:
            task = session.scalars(select(Task).where(Task.subject == build_id, Task.kind == "publish")).one()
        tasks.run_task(task.id, attempt, 1)
        states.append(press.state(build_id))
    assert states == ["built", "built", "failed"]
    with press.database.read() as session:
        build = session.get_one(Build, build_id)
        assert "V-01: the file could not be checked" in build.first_error
        assert (build.cause, build.failure_class) == ("infrastructure", "farm")


def test_without_a_signer_a_build_waits_and_is_published_later(press, signer) -> None:
    build_id = press.built(press.source(), press.wheel())
    signer.stop()
    with pytest.raises(ExternalFailure) as caught:
        publish(press, build_id)
    assert caught.value.code == "signer.down"
    assert (visible(press), press.state(build_id)) == ([], "built")
    signer()
    publish(press, build_id, again(press, build_id))
    assert press.state(build_id) == "published"


def test_a_publisher_that_lost_its_claim_shows_nothing(press) -> None:
    build_id = press.built(press.source(), press.wheel())
    old = press.publish_task(build_id)
    new = again(press, build_id)
    with pytest.raises(StaleAttempt):
        publish(press, build_id, old)
    assert visible(press) == []
    publish(press, build_id, new)
    assert len(visible(press)) == 1


def test_a_publisher_and_its_successor_at_once_make_one_release(press) -> None:
    build_id = press.built(press.source(), press.wheel(), press.wheel(tag="py2-none-any"))
    tasks = [press.publish_task(build_id), again(press, build_id)]

    def attempt(task: tuple[str, int]) -> object:
        try:
            return publish(press, build_id, task)
        except FarmError as err:
            return err

    with ThreadPoolExecutor(2) as pool:
        old, new = [call.result() for call in [pool.submit(attempt, task) for task in tasks]]
    assert isinstance(old, StaleAttempt)
    assert isinstance(new, int), new
    assert [kind for kind, _ in journal(press)] == ["attest", "attest", "publish"]


def test_two_builds_publish_at_once(press) -> None:
    source = press.source(projects=("widget", "gadget"))
    made = [press.built(source, press.wheel(name), ref=f"refs/tags/{name}") for name in ("widget", "gadget")]
    with ThreadPoolExecutor(2) as pool:
        serials = [call.result() for call in [pool.submit(publish, press, build_id) for build_id in made]]
    assert len(set(serials)) == 2
    assert [press.state(build_id) for build_id in made] == ["published", "published"]


def test_a_publisher_that_was_overtaken_proves_in_the_later_state(press) -> None:
    class Overtaken(SignerClient):
        """Somebody else has a later state signed just before the first answer."""

        calls = 0

        def checkpoint(self, *request: Any) -> Any:
            self.calls += 1
            if self.calls == 1:
                with press.database.begin() as session:
                    record(session, "test")
                with press.database.read() as session:
                    log = head(session)
                    super().checkpoint(log.size, log.root, log.consistency, [])
            return super().checkpoint(*request)

    build_id, client = press.built(press.source(), press.wheel()), Overtaken(press.socket)
    replace(publisher(press), signer=client).publish(build_id, press.publish_task(build_id), lambda: None)
    assert client.calls == 2
    assert press.state(build_id) == "published"


def test_two_builds_that_fight_for_a_name_leave_one_winner(press) -> None:
    source = press.source()
    made = [press.built(source, press.wheel(code=f"x = {n}\n"), ref=f"refs/tags/{n}") for n in (1, 2)]

    def attempt(build_id: str) -> object:
        try:
            return publish(press, build_id)
        except FarmError as err:
            return err.code

    with ThreadPoolExecutor(2) as pool:
        results = [call.result() for call in [pool.submit(attempt, build_id) for build_id in made]]
    assert len([result for result in results if isinstance(result, int)]) == 1
    assert {result for result in results if isinstance(result, str)} <= {
        "file.exists",
        "signer.second_statement",
    }
    assert len(visible(press)) == 1
    assert len([kind for kind, _ in journal(press) if kind == "publish"]) == 1


# Killed in the middle -------------------------------------------------------------------------------

STEPS = ("_validated", "_check_release", "_attest", "_prove", "_demand_verified", "_make_visible")


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_step_that_fails_is_repeated_with_the_same_outcome(press, step: str, when: str) -> None:
    class Broken(Publisher):
        """Dies around one step."""

    inner: Callable[..., Any] = getattr(Publisher, step)

    def breaking(self: Publisher, *args: Any) -> None:
        if when == "after":
            inner(self, *args)
        raise OSError

    setattr(Broken, step, breaking)
    build_id = press.built(press.source(), press.wheel(), press.wheel(tag="py2-none-any"))
    with pytest.raises(OSError):  # noqa: PT011
        publish(press, build_id, kind=Broken)
    is_done = (step, when) == ("_make_visible", "after")
    assert len(visible(press)) == (2 if is_done else 0)
    if not is_done:
        publish(press, build_id, again(press, build_id))
    assert press.state(build_id) == "published"
    assert [kind for kind, _ in journal(press)] == ["attest", "attest", "publish"]
    assert len(visible(press)) == 2


SCRIPT = """
    import os, signal, sys
    from pathlib import Path
    from buildfarm import bootstrap, config
    from buildfarm.index import publish
    from buildfarm.journal import record
    from buildfarm.trust.client import SignerClient

    build_id, task_id, attempt, place, count, socket = sys.argv[1:]
    left = int(count)

    def dying(inner):
        def step(*args, **more):
            global left
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(*args, **more)
        return step

    farm = bootstrap.farm(config.load())
    if place == "commit":
        farm.database._before_commit = dying(farm.database._before_commit)
    elif place == "blob":
        farm.blobs._keep = dying(farm.blobs._keep)
    else:
        setattr(SignerClient, place, dying(getattr(SignerClient, place)))
    class Nothing:
        def rows(self, name):
            return None
    maker = publish.Publisher(farm.database, farm.blobs, SignerClient(Path(socket)), Nothing(), farm.settings)
    maker.publish(build_id, (task_id, int(attempt)), lambda: None)
"""


def killed(house, build_id: str, task: tuple[str, int], place: str, count: int, folder: Path) -> bool:
    """Publish in a process of its own that dies at the count-th passage of a place; whether it died."""
    settings: Settings = house.farm.settings
    (folder / "settings.json").write_text(settings.model_dump_json())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(SCRIPT),
            build_id,
            *map(str, task),
            place,
            str(count),
            house.socket,
        ],
        env={
            **kept,
            "BUILDFARM_CONFIG": str(folder / "settings.json"),
            "PYTHONPATH": str(Path(__file__).parents[2]),
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in {0, -signal.SIGKILL}, done.stderr
    return done.returncode != 0


PLACES = [
    ("commit", 1),
    ("commit", 2),
    ("commit", 3),
    ("commit", 4),
    ("attest", 2),
    ("checkpoint", 1),
    ("blob", 1),
    ("blob", 3),
]


@pytest.mark.parametrize(("place", "count"), PLACES)
def test_a_publisher_that_is_killed_leaves_nothing_half(
    press, tmp_path: Path, place: str, count: int
) -> None:
    build_id = press.built(press.source(), press.wheel(), press.wheel(tag="py2-none-any"))
    assert killed(press, build_id, press.publish_task(build_id), place, count, tmp_path)
    assert (visible(press), press.state(build_id)) == ([], "built")
    with press.database.read() as session:
        before = {row.filename: row.answer for row in session.scalars(select(Attestation))}
    publish(press, build_id, again(press, build_id))
    assert press.state(build_id) == "published"
    assert len(visible(press)) == 2
    assert [kind for kind, _ in journal(press)] == ["attest", "attest", "publish"]
    with press.database.read() as session:
        after = {row.filename: row.answer for row in session.scalars(select(Attestation))}
        bundles = {file.filename: file.bundle_sha256 for file in session.scalars(select(File))}
        kept = {row.filename: row.bundle_sha256 for row in session.scalars(select(Attestation))}
    assert bundles == kept
    assert before.items() <= after.items()
