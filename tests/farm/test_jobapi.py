"""The job API: what a builder may say, and what is kept of it."""

from __future__ import annotations

import hashlib
import io
import time
from typing import Any, get_args

import pytest
from sqlalchemy import select

from buildfarm.farm import builds, fleet, registry, show
from buildfarm.farm.model import Artifact, Dependency, Job
from buildfarm.index.buildview import Served
from buildfarm.sandbox.failures import FAILURES
from buildfarm.sandbox.spec import Phase

TARGET = "cp313-manylinux_2_28_x86_64"


@pytest.fixture
def builder(house) -> str:
    """A builder's token."""
    with house.database.begin() as session:
        return registry.add_builder(session, "one", ["dev"], actor="test")[1]


@pytest.fixture
def job_id(house) -> str:
    return house.build(house.source(), TARGET)[1][TARGET]


def call(house, token: str, method: str, path: str, **how: Any):
    headers = {"Authorization": f"Bearer {token}"}
    if method == "PUT" and isinstance(how.get("data"), bytes):
        headers["X-Sha256"] = hashlib.sha256(how["data"]).hexdigest()
    headers |= how.pop("headers", {})
    return house.app.test_client().open(f"/jobapi/v1{path}", method=method, headers=headers, **how)


@pytest.fixture
def attempt(house, builder: str, job_id: str) -> str:
    """The token of the running attempt."""
    answer = call(house, builder, "POST", "/claim", json={"job": job_id, "attempt": 1})
    assert answer.status_code == 200, answer.data
    assert (answer.json["spec"]["job_id"], answer.json["spec"]["attempt"]) == (job_id, 1)
    return answer.json["token"]


def test_an_attempt_from_claim_to_end(house, attempt: str) -> None:
    for phase in get_args(Phase):
        assert call(house, attempt, "POST", "/attempt/heartbeat", json={"phase": phase}).json == {
            "go_on": True
        }
    log = {"offset": 0, "phase": "build", "text": "one\n", "times": [1]}
    assert call(house, attempt, "POST", "/attempt/log", json=log).json == {"size": 4}
    assert call(house, attempt, "POST", "/attempt/log", json=log).json == {"size": 4}
    gap = call(house, attempt, "POST", "/attempt/log", json=log | {"offset": 9})
    assert (gap.status_code, gap.json["code"], gap.json["size"]) == (409, "log.offset", 4)
    sent = call(house, attempt, "PUT", "/attempt/artifacts/a.whl", data=b"wheel")
    assert (sent.status_code, sent.json["sha256"]) == (201, hashlib.sha256(b"wheel").hexdigest())
    assert call(house, attempt, "POST", "/attempt/finish", json={"state": "succeeded"}).json == {
        "state": "succeeded"
    }
    for method, path in (
        ("POST", "/attempt/heartbeat"),
        ("GET", "/attempt/source"),
        ("PUT", "/attempt/artifacts/b.whl"),
    ):
        late = call(house, attempt, method, path, json={"phase": "build"})
        assert (late.status_code, late.json["code"]) == (409, "attempt.stale")


def test_a_cancelled_build_asks_its_builder_to_stop(house, attempt: str) -> None:
    with house.database.begin() as session:
        builds.cancel(session, session.scalars(select(builds.Build.id)).one(), actor="ada")
    assert call(house, attempt, "POST", "/attempt/heartbeat", json={"phase": "test"}).json == {"go_on": False}


def test_a_builder_gives_back_what_it_held_and_nothing_else(
    house, attempt: str, builder: str, job_id: str
) -> None:
    lost = {"job": job_id, "attempt": 1}
    with house.database.begin() as session:
        other = registry.add_builder(session, "two", ["dev"], actor="test")[1]
    for token, body in (
        (other, lost),
        (builder, lost | {"attempt": 2}),
        (builder, lost | {"job": "job_none"}),
    ):
        assert call(house, token, "POST", "/builder/lost", json=body).status_code in {403, 404, 409}
    assert call(house, attempt, "POST", "/attempt/heartbeat", json={"phase": "build"}).status_code == 200
    assert call(house, builder, "POST", "/builder/lost", json=lost).json == {"state": "queued"}
    assert call(house, attempt, "POST", "/attempt/heartbeat", json={"phase": "build"}).status_code == 409


def test_a_builder_without_work_is_seen(open_house) -> None:
    house = open_house(timing={"builder_seen_s": 7})
    with house.database.begin() as session:
        builder = registry.add_builder(session, "one", ["dev"], actor="test")[1]

    def seen_at():
        with house.database.read() as session:
            return fleet.list_builders(session, house.farm.settings)[0].seen_at

    assert seen_at() is None
    report = {"queues": ["build.manylinux-x86_64.dev.release"], "slots": 2, "findings": []}
    said = call(house, builder, "POST", "/builder/seen", json=report).json
    assert (said["take"], said["again_s"], said["images"]) == (True, 7, [])
    assert abs(said["now"] - time.time()) < 60
    first = seen_at()
    call(house, builder, "POST", "/builder/seen", json=report)
    assert seen_at() > first
    other = call(house, house.token("admin"), "POST", "/builder/seen", json=report)
    assert (other.status_code, other.json["code"]) == (403, "builder.token")


def test_strangers_get_nothing(house, job_id: str, attempt: str) -> None:
    admin = house.token("admin")
    claim = {"job": job_id, "attempt": 1}
    assert call(house, "bft_wrong", "POST", "/claim", json=claim).status_code == 401
    assert call(house, admin, "POST", "/claim", json=claim).status_code == 403
    calls = [
        ("POST", "/attempt/heartbeat"),
        ("GET", "/attempt/source"),
        ("PUT", "/attempt/artifacts/x"),
        ("GET", "/attempt/index/simple/x/"),
        ("POST", "/attempt/finish"),
        ("POST", "/attempt/log"),
    ]
    for method, path in calls:
        for token in ("bft_wrong", admin):
            body = {"phase": "build", "offset": 0, "text": "x\n", "times": [1], "state": "failed"}
            answer = call(house, token, method, path, json=body)
            assert answer.status_code in {400, 401}, path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/attempt/heartbeat", {"phase": "lunch"}),
        ("/attempt/heartbeat", {}),
        ("/attempt/heartbeat", []),
        ("/attempt/heartbeat", {"phase": "build", "more": 1}),
        ("/attempt/finish", {"state": "published"}),
        ("/attempt/finish", {"state": "failed", "cause": "weather"}),
        ("/attempt/finish", {"state": "failed", "cause": "user_code", "failure_class": "weather"}),
        ("/attempt/finish", {"state": "failed", "cause": "user_code", "error_line": 0}),
        ("/attempt/log", {"offset": -1, "phase": "build", "text": "x\n", "times": [1]}),
        ("/attempt/log", {"offset": 0, "phase": "build", "text": "half", "times": []}),
    ],
)
def test_what_does_not_fit_is_refused(house, attempt: str, path: str, body: object) -> None:
    assert call(house, attempt, "POST", path, json=body).status_code == 400


FAILED = {"state": "failed", "cause": "user_code", "failure_class": "missing-header", "error_line": 2}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"error_line": 3}, "outcome.line"),
        ({"cause": "infrastructure"}, "outcome.class"),
        ({"cause": None}, "outcome.class"),
    ],
)
def test_an_outcome_that_contradicts_itself_or_the_log_is_refused(house, attempt: str, change, code) -> None:
    log = {"offset": 0, "phase": "build", "text": "cc\nzstd.h: No such file\n", "times": [1, 2]}
    call(house, attempt, "POST", "/attempt/log", json=log)
    refused = call(house, attempt, "POST", "/attempt/finish", json=FAILED | change)
    assert (refused.status_code, refused.json["code"]) == (400, code)
    assert call(house, attempt, "POST", "/attempt/finish", json=FAILED).json == {"state": "failed"}


def test_what_went_wrong_is_kept_with_its_line_and_the_next_step(house, attempt: str, job_id: str) -> None:
    log = {"offset": 0, "phase": "build", "text": "cc\nzstd.h: No such file\n", "times": [1, 2]}
    call(house, attempt, "POST", "/attempt/log", json=log)
    call(house, attempt, "POST", "/attempt/finish", json=FAILED)
    with house.database.read() as session:
        detail = show.job_detail(session, job_id)
    for row in (detail.job, detail.attempts[0]):
        assert (row.cause, row.failure_class, row.error_line) == ("user_code", "missing-header", 2)
        assert row.next_step == FAILURES["missing-header"].next_step


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"offset":0,"phase":"build","text":"\\ud800\\n","times":[1]}']
)
def test_what_is_no_json_is_refused(house, attempt: str, body: bytes) -> None:
    answer = call(
        house, attempt, "POST", "/attempt/log", data=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == 400


def test_a_builder_cannot_fill_the_memory_or_the_disk(open_house) -> None:
    house = open_house(limits={"upload_bytes": 1000})
    with house.database.begin() as session:
        builder = registry.add_builder(session, "one", ["dev"], actor="test")[1]
    job_id = house.build(house.source(), TARGET)[1][TARGET]
    token = call(house, builder, "POST", "/claim", json={"job": job_id, "attempt": 1}).json["token"]
    big = call(house, token, "POST", "/attempt/log", data=b" " * (5 << 20))
    assert big.status_code == 413
    large = call(house, token, "PUT", "/attempt/artifacts/a.whl", data=b"x" * 1001)
    assert (large.status_code, large.json["code"]) == (413, "blob.too_large")
    wrong = call(house, token, "PUT", "/attempt/artifacts/a.whl", data=b"x", headers={"X-Sha256": "0" * 64})
    assert (wrong.status_code, wrong.json["code"]) == (422, "blob.digest")
    silent = call(house, token, "PUT", "/attempt/artifacts/a.whl", data=b"x", headers={"X-Sha256": ""})
    assert (silent.status_code, silent.json["code"]) == (400, "artifact.no_digest")
    with house.database.read() as session:
        assert session.scalars(select(Artifact)).all() == []


def test_a_file_may_be_larger_than_any_other_body(house, attempt: str, job_id: str) -> None:
    with house.database.begin() as session:
        job = session.get_one(Job, job_id)
        job.spec = job.spec | {"limits": job.spec["limits"] | {"output_bytes": 20 << 20}}
    data = bytes(house.app.config["MAX_CONTENT_LENGTH"] + 1)
    assert call(house, attempt, "PUT", "/attempt/artifacts/a.whl", data=data).status_code == 201
    chunked = {"wsgi.input_terminated": True, "wsgi.input": io.BytesIO(data)}
    headers = {"Authorization": f"Bearer {attempt}", "X-Sha256": hashlib.sha256(data).hexdigest()}
    answer = house.app.test_client().put(
        "/jobapi/v1/attempt/artifacts/b.whl", headers=headers, environ_overrides=chunked
    )
    assert answer.json["size"] == len(data)


def test_a_builder_sends_no_more_than_its_recipe_allows(house, attempt: str, job_id: str) -> None:
    with house.database.begin() as session:
        job = session.get_one(Job, job_id)
        job.spec = job.spec | {"limits": job.spec["limits"] | {"output_bytes": 10, "output_count": 2}}

    def put(name: str, data: bytes) -> tuple[int, str]:
        answer = call(house, attempt, "PUT", f"/attempt/artifacts/{name}", data=data)
        return answer.status_code, answer.json.get("code", "")

    assert put("a.whl", b"12345678") == (201, "")
    assert put("a.whl", b"12345678") == (201, "")
    assert put("a.whl", b"other") == (409, "artifact.differs")
    assert put("b.whl", b"123") == (413, "blob.too_large")
    assert put("b.whl", b"12") == (201, "")
    assert put("c.whl", b"") == (413, "artifact.too_many")


def test_what_a_build_reads_is_on_its_record(house, attempt: str, job_id: str, monkeypatch) -> None:
    monkeypatch.setattr(type(house.farm.upstream), "rows", lambda _self, _name: None)
    assert call(house, attempt, "GET", "/attempt/index/simple/none/").status_code == 404
    assert call(house, attempt, "GET", "/attempt/index/files/none/none-1.tar.gz").status_code == 404
    data = house.wheel("tool")[1]
    served = Served(
        house.farm.blobs.put_bytes(data), len(data), "tool-1.0-py3-none-any.whl", "tool", "1.0", "x"
    )
    monkeypatch.setattr(type(house.farm.build_view), "file", lambda *_args: served)
    for _ in range(2):
        answer = call(house, attempt, "GET", "/attempt/index/files/tool/tool-1.0-py3-none-any.whl")
        assert answer.data == data
    with house.database.read() as session:
        (row,) = session.scalars(select(Dependency))
    assert (row.job_id, row.attempt, row.filename, row.sha256) == (job_id, 1, served.filename, served.sha256)
