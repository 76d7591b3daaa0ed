"""What is signed about files that were built twice, with a real signer."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.access import tokens
from buildfarm.errors import ExternalFailure
from buildfarm.farm import claims, comparisons, jobs, registry
from buildfarm.farm.model import Build, Job, Task
from buildfarm.index.comparer import Comparer
from buildfarm.index.model import Attestation, File
from buildfarm.index.publish import Publisher
from buildfarm.journal.model import JournalRow
from buildfarm.trust import root
from buildfarm.trust.client import SignerClient
from buildfarm.trust.report import Policy
from buildfarm.trust.verify import verify_bundle, verify_reproduction

pytestmark = pytest.mark.system
FARM = "http://farm.example"


@pytest.fixture
def press(each_house, signer, monkeypatch: pytest.MonkeyPatch):
    """A farm beside a running signer; no upstream index knows any name."""
    monkeypatch.setattr(type(each_house.farm.upstream), "rows", lambda _self, _name: None)
    each_house.socket = signer()
    return each_house


def client(house) -> SignerClient:
    return SignerClient(house.socket)


def published(house, *files: tuple[str, bytes]) -> str:
    farm = house.farm
    build_id = house.built(house.source(), *files)
    publisher = Publisher(farm.database, farm.blobs, client(house), farm.upstream, farm.settings)
    publisher.publish(build_id, house.publish_task(build_id), lambda: None)
    return build_id


def second(house, build_id: str, *files: tuple[str, bytes], on: str) -> str:
    """A second build of it on the builder of that name, ready to be compared."""
    with house.database.begin() as session:
        made = comparisons.start(session, build_id, actor="ada").id
    with house.database.begin() as session:
        builder, value = registry.add_builder(session, on, ["dev"], actor="test")
        session.flush()
        principal = tokens.principal_of(session, value, clock.now())
        assert principal is not None
        job_id = session.scalars(select(Job.id).where(Job.build_id == made)).one()
        token = jobs.claim(session, builder, principal, job_id, 1).token
    for filename, data in files:
        house.artifact(token, filename, data)
    assert house.finish(token) == "succeeded"
    return made


def task_of(house, build_id: str) -> tuple[str, int]:
    with house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.subject == build_id)).one()
        claims.claim(session, Task, task.id, task.attempt)
        return task.id, task.attempt


def compare(house, build_id: str, task: tuple[str, int] | None = None) -> None:
    farm = house.farm
    maker = Comparer(farm.database, farm.blobs, client(house), farm.settings)
    maker.compare(build_id, task or task_of(house, build_id), lambda: None)


def lines(house, filename: str) -> list[bytes]:
    """The statements on second builds as clients get them."""
    house.follower.catch_up()
    answer = house.client(house.token("read:dev")).get(f"/dev/files/widget/{filename}.reproduced.jsonl")
    if answer.status_code == 404:
        return []
    assert (answer.status_code, answer.content_type) == (200, "application/jsonl")
    assert answer.headers["Cache-Control"] == "max-age=0, must-revalidate, private"
    return answer.data.splitlines()


def statement(bundle: bytes) -> dict[str, Any]:
    return json.loads(base64.b64decode(json.loads(bundle)["dsseEnvelope"]["payload"]))


def trusted(house) -> tuple[root.TrustedRoot, Policy]:
    documents = client(house).health()["documents"]
    return root.load(documents[root.TRUSTED_ROOT].encode()), Policy(frozenset({FARM}))


def test_equal_bytes_get_a_statement_that_strangers_can_check(press) -> None:
    name, data = press.wheel()
    build_id = published(press, (name, data))
    compare(press, made := second(press, build_id, (name, data), on="two"))
    (bundle,) = lines(press, name)
    report = verify_reproduction(bundle, data, name, *trusted(press))
    assert report.ok, report.checks
    assert (report.origin.host, report.origin.commit) == ("two", "a" * 40)
    told = statement(bundle)
    assert told["predicateType"] == f"{FARM}/predicates/reproduced/v1"
    served = press.client(press.token("read:dev")).get(f"/dev/files/widget/{name}.sigstore.json")
    provenance = statement(served.data)
    first = provenance["predicate"]["runDetails"]["metadata"]["invocationId"]
    assert told["predicate"]["reproduces"] == {"invocationId": first, "builder": "one"}
    with press.database.read() as session:
        kinds = session.scalars(select(JournalRow.kind).order_by(JournalRow.serial)).all()
        assert session.get_one(Build, made).state == "compared"
    signed = [kind for kind in kinds if kind in {"attest", "publish", "compare"}]
    assert signed == ["attest", "publish", "attest", "compare"]


def test_each_second_build_adds_its_own_statement(press) -> None:
    file = press.wheel()
    build_id = published(press, file)
    for name in ("two", "three"):
        compare(press, second(press, build_id, file, on=name))
    told = [verify_reproduction(one, file[1], file[0], *trusted(press)) for one in lines(press, file[0])]
    assert [(report.ok, report.origin.host) for report in told] == [(True, "two"), (True, "three")]


def test_provenance_and_a_statement_on_a_second_build_do_not_stand_for_each_other(press) -> None:
    name, data = press.wheel()
    compare(press, second(press, published(press, (name, data)), (name, data), on="two"))
    (again,) = lines(press, name)
    first = press.client(press.token("read:dev")).get(f"/dev/files/widget/{name}.sigstore.json").data
    for verify, bundle in ((verify_bundle, again), (verify_reproduction, first)):
        report = verify(bundle, data, name, *trusted(press))
        assert [check.name for check in report.checks if not check.ok] == ["predicate-type"]


def test_other_bytes_get_no_statement(press) -> None:
    name, data = press.wheel()
    other = press.wheel(code="x = 2\n")[1]
    compare(press, second(press, published(press, (name, data)), (name, other), on="two"))
    assert lines(press, name) == []
    with press.database.read() as session:
        assert [row.is_reproduction for row in session.scalars(select(Attestation))] == [False]
        assert session.get_one(File, name).reproduced_sha256 is None


def test_a_comparison_that_lost_its_signer_goes_on_when_it_is_back(press, signer) -> None:
    name, data = press.wheel()
    made = second(press, published(press, (name, data)), (name, data), on="two")
    task = task_of(press, made)
    signer.stop()
    with pytest.raises(ExternalFailure):
        compare(press, made, task)
    assert press.state(made) == "built"
    signer()
    compare(press, made, task)
    assert len(lines(press, name)) == 1


def test_a_build_of_the_same_bytes_keeps_the_first_builds_provenance(press) -> None:
    """A statement on a second build is never taken for the provenance of a file."""
    name, data = press.wheel()
    build_id = published(press, (name, data))
    compare(press, second(press, build_id, (name, data), on="two"))
    with press.database.read() as session:
        bundle = session.get_one(File, name).bundle_sha256
    other = press.built(published_source(press), (name, data), ref="refs/tags/v1.0.post")
    farm = press.farm
    publisher = Publisher(farm.database, farm.blobs, client(press), farm.upstream, farm.settings)
    publisher.publish(other, press.publish_task(other), lambda: None)
    with press.database.read() as session:
        assert session.get_one(File, name).bundle_sha256 == bundle
        assert len(session.scalars(select(Attestation)).all()) == 2


def published_source(house) -> str:
    with house.database.read() as session:
        return session.scalars(select(Build.source_id)).first()


def test_a_release_shows_who_made_the_same_bytes_and_what_differed(press) -> None:
    name, data = press.wheel()
    build_id = published(press, (name, data))
    compare(press, second(press, build_id, (name, data), on="two"))
    compare(press, second(press, build_id, (name, press.wheel(code="x = 2\n")[1]), on="three"))
    viewer = press.client(press.token("view"))
    page = viewer.get("/projects/widget/1.0").text
    assert "reproduced by 1 builder<" in page
    assert "<code>widget/__init__.py</code> content" in page
    (file,) = viewer.get("/api/v1/releases/widget/1.0").json["files"]
    assert [row["is_equal"] for row in file["comparisons"]] == [True, False]
