"""Building the same a second time: what the second build is given, and what is found."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from buildfarm import clock
from buildfarm.errors import StaleAttempt
from buildfarm.farm import builds, claims, handover, registry
from buildfarm.farm.model import Build, Builder, Comparison, Task
from buildfarm.farm.rules import State
from buildfarm.index.comparer import Comparer
from buildfarm.index.model import ChannelEntry, File
from buildfarm.journal.model import JournalRow
from buildfarm.sources.model import Source
from tests.conftest import wheel
from tests.farm.test_handover import Queues
from tests.mirror.conftest import upstream  # noqa: F401 - the same fixture

TARGET, OTHER = "cp313-manylinux_2_28_x86_64", "cp312-manylinux_2_28_x86_64"
JSON = "application/vnd.pypi.simple.v1+json"


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def call(house, token: str, method: str, path: str, **how: Any):
    headers = {"Authorization": f"Bearer {token}"}
    if method == "PUT":
        headers["X-Sha256"] = sha(how["data"])
    return house.app.test_client().open(f"/jobapi/v1{path}", method=method, headers=headers, **how)


def builder(house, name: str) -> str:
    with house.database.begin() as session:
        return registry.add_builder(session, name, ["dev"], actor="test")[1]


def attempt(house, token: str, job_id: str, number: int = 1) -> str:
    answer = call(house, token, "POST", "/claim", json={"job": job_id, "attempt": number})
    assert answer.status_code == 200, answer.data
    return answer.json["token"]


def make(house, token: str, *files: tuple[str, bytes], state: str = "succeeded") -> None:
    """The rest of an attempt's life."""
    for filename, data in files:
        sent = call(house, token, "PUT", f"/attempt/artifacts/{filename}", data=data)
        assert sent.status_code == 201, sent.data
    call(house, token, "POST", "/attempt/finish", json={"state": state})


def published(house, *files: tuple[str, bytes], by: str | None = None) -> str:
    """A build whose files were made, as after publishing."""
    build_id, made = house.build(house.source(), TARGET)
    make(house, attempt(house, by or builder(house, "one"), made[TARGET]), *files)
    with house.database.begin() as session:
        assert session.get_one(Build, build_id).state == State.BUILT
        session.execute(update(Build).where(Build.id == build_id).values(state=State.PUBLISHED))
    return build_id


def api(house, method: str, path: str, status: int = 200, **how: Any) -> dict[str, Any]:
    answer = house.client(house.token("admin")).open(f"/api/v1{path}", method=method, **how)
    assert answer.status_code == status, answer.text
    return answer.json


def compared(house, build_id: str, *files: tuple[str, bytes], by: str | None = None) -> dict[str, Any]:
    """The build that compares, once its one job has made these files."""
    second = api(house, "POST", f"/builds/{build_id}/compare", 201)
    (job,) = second["jobs"]
    make(house, attempt(house, by or builder(house, "two"), job["id"]), *files)
    compare(house, second["id"])
    return api(house, "GET", f"/builds/{second['id']}")


def comparer(house) -> Comparer:
    """No signer runs here: nothing has a statement, so none is asked for."""
    farm = house.farm
    return Comparer(farm.database, farm.blobs, farm.signer, farm.settings)


def compare(house, build_id: str) -> None:
    """Do the task that compares."""
    with house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.subject == build_id)).one()
        assert (task.kind, task.queue) == ("compare", "publish")
        claims.claim(session, Task, task.id, 1)
    comparer(house).compare(build_id, (task.id, 1), lambda: None)


def test_the_second_build_reads_no_crate_that_the_first_one_did_not(open_house, upstream) -> None:  # noqa: F811
    root = upstream.url.removesuffix("/simple")
    lines = [
        {"name": "leaf", "vers": version, "cksum": sha(version.encode())} for version in ("1.0.0", "1.1.0")
    ]
    upstream.put("/index/config.json", json.dumps({"dl": f"{root}/dl/{{version}}"}).encode())
    upstream.put("/index/le/af/leaf", "\n".join(map(json.dumps, lines)).encode())
    for version in ("1.0.0", "1.1.0"):
        upstream.put(f"/dl/{version}", version.encode())
    house = open_house(mirror={"crates_index": f"{root}/index"})
    build_id, made = house.build(house.source(), TARGET)
    first = attempt(house, builder(house, "one"), made[TARGET])
    crate = "/attempt/index/crates/files/leaf/{}/download"
    assert call(house, first, "GET", crate.format("1.0.0")).data == b"1.0.0"
    make(house, first, wheel())
    with house.database.begin() as session:
        session.execute(update(Build).where(Build.id == build_id).values(state=State.PUBLISHED))

    (job,) = api(house, "POST", f"/builds/{build_id}/compare", 201)["jobs"]
    second = attempt(house, builder(house, "two"), job["id"])
    assert call(house, second, "GET", crate.format("1.0.0")).data == b"1.0.0"
    refused = call(house, second, "GET", crate.format("1.1.0"))
    assert (refused.status_code, refused.text) == (
        404,
        "The first build was not served leaf-1.1.0.crate.\n",
    )


def test_equal_files_are_told_equal_and_nothing_is_published(house) -> None:
    build_id = published(house, wheel())
    second = compared(house, build_id, wheel())
    assert (second["state"], second["trigger"], second["compares_id"]) == ("compared", "compare", build_id)
    (found,) = second["comparisons"]
    assert (found["is_equal"], found["builder"], found["rebuilt_builder"]) == (True, "one", "two")
    assert found["sha256"] == found["rebuilt_sha256"] == sha(wheel()[1])
    assert found["differences"] == []
    assert api(house, "GET", f"/builds/{build_id}")["comparisons"] == [found]
    with house.database.read() as session:
        assert session.scalars(select(File)).all() == session.scalars(select(ChannelEntry)).all() == []
        row = session.scalars(select(JournalRow).where(JournalRow.kind == "compare")).one()
        files = json.loads(row.body)["files"]
    assert files == [{"filename": wheel()[0], "sha256": sha(wheel()[1]), "rebuilt": sha(wheel()[1])}]


def test_the_second_build_is_given_what_the_first_one_was(house) -> None:
    build_id = published(house, wheel())
    second = api(house, "POST", f"/builds/{build_id}/compare", 201)
    with house.database.read() as session:
        old, new = (session.get_one(Build, one) for one in (build_id, second["id"]))
        for same in ("ref", "commit", "snapshot_sha256", "recipe_sha256", "recipe_name", "source_id"):
            assert getattr(old, same) == getattr(new, same), same
        assert [job.spec for job in new.jobs] == [job.spec for job in old.jobs]
        assert session.scalars(select(Task).where(Task.subject == new.id)).all() == []


def stamped(data: bytes, member: str, year: int) -> bytes:
    """The wheel with one member of another time."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if info.filename == member:
                info.date_time = (year, 1, 1, 0, 0, 0)
            new.writestr(info, content)
    return out.getvalue()


def reordered(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w") as new:
        for info in reversed(old.infolist()):
            new.writestr(info, old.read(info))
    return out.getvalue()


NAME, BYTES = wheel()
UNREADABLE = "cannot be read within the limits of time and memory"
CHANGES: list[tuple[str, bytes, list[dict[str, str]]]] = [
    ("time", stamped(BYTES, "widget/__init__.py", 2021), [{"member": "widget/__init__.py", "what": "time"}]),
    ("order", reordered(BYTES), [{"member": "", "what": "order of the members"}]),
    (
        "content",
        wheel(code="x = 2\n", more=("widget/late.py",))[1],
        [
            {"member": "widget/__init__.py", "what": "content"},
            {"member": "widget-1.0.dist-info/RECORD", "what": "content"},
            {"member": "widget/late.py", "what": "only in the second"},
        ],
    ),
    ("nonsense", b"no archive", [{"member": "", "what": UNREADABLE}]),
]


@pytest.mark.parametrize(("_name", "data", "told"), CHANGES, ids=[name for name, *_ in CHANGES])
def test_what_differs_is_named(house, _name: str, data: bytes, told: list[dict[str, str]]) -> None:
    build_id = published(house, (NAME, BYTES))
    (found,) = compared(house, build_id, (NAME, data))["comparisons"]
    assert (found["is_equal"], found["rebuilt_sha256"]) == (False, sha(data))
    assert found["differences"] == told


def test_at_most_fifty_members_are_named(house) -> None:
    many = [tuple(f"widget/{letter}{n}.py" for n in range(60)) for letter in "ab"]
    build_id = published(house, wheel(more=many[0]))
    (found,) = compared(house, build_id, wheel(more=many[1]))["comparisons"]
    assert len(found["differences"]) == 50


def test_a_file_that_was_not_made_again_is_told(house) -> None:
    build_id, made = house.build(house.source(), TARGET, optional=(OTHER,))
    one, two = builder(house, "one"), builder(house, "two")
    mine, others = wheel(tag="cp313-cp313-linux_x86_64"), wheel(tag="cp312-cp312-linux_x86_64")
    files = {TARGET: mine, OTHER: others}
    for target, job_id in made.items():
        make(house, attempt(house, one, job_id), files[target])
    second = api(house, "POST", f"/builds/{build_id}/compare", 201)
    for job in second["jobs"]:
        token = attempt(house, two, job["id"])
        if job["target"] == OTHER:
            make(house, token, state="failed")
        else:
            make(house, token, files[TARGET])
    compare(house, second["id"])
    found = api(house, "GET", f"/builds/{second['id']}")["comparisons"]
    assert {row["filename"]: row["is_equal"] for row in found} == {mine[0]: True, others[0]: False}
    missing = next(row for row in found if not row["is_equal"])
    assert (missing["rebuilt_sha256"], missing["rebuilt_builder"], missing["differences"]) == (None, None, [])


def test_a_second_build_that_fails_compares_nothing(house) -> None:
    build_id = published(house, wheel())
    second = api(house, "POST", f"/builds/{build_id}/compare", 201)
    make(house, attempt(house, builder(house, "two"), second["jobs"][0]["id"]), state="failed")
    ended = api(house, "GET", f"/builds/{second['id']}")
    assert (ended["state"], ended["comparisons"]) == ("failed", [])


def test_only_what_was_built_is_compared(house) -> None:
    build_id, _ = house.build(house.source(), TARGET)
    refused = api(house, "POST", f"/builds/{build_id}/compare", 409)
    assert refused["code"] == "comparison.not_built"
    second = api(house, "POST", f"/builds/{published_beside(house)}/compare", 201)
    again = api(house, "POST", f"/builds/{second['id']}/compare", 409)
    assert again["code"] == "comparison.not_built"


def published_beside(house) -> str:
    build_id, made = house.build(house.source("gadget", projects=("gadget",)), TARGET)
    make(house, attempt(house, builder(house, "one"), made[TARGET]), wheel("gadget"))
    return build_id


# The index that the second build reads --------------------------------------------------------------


def listed(data: bytes, filename: str, **more: Any) -> dict[str, Any]:
    return {"filename": filename, "url": f"../../files/{filename}", "hashes": {"sha256": sha(data)}, **more}


@pytest.fixture
def mirrored(open_house, upstream):  # noqa: F811
    """A farm with an upstream that has one version of a build requirement."""
    house = open_house(
        mirror={"upstreams": [upstream.url + "/"], "timeout_s": 30, "fresh_s": 0.0, "stale_wait_s": 20},
    )
    upstream.page("tool", listed(TOOL[1], TOOL[0]))
    upstream.put(f"/files/{TOOL[0]}", TOOL[1])
    return house


TOOL, NEWER = wheel("tool", "1.0"), wheel("tool", "2.0")


def resolve(house, token: str) -> str:
    """What an installer takes of the attempt's index: the newest version that is not yanked."""
    page = call(house, token, "GET", "/attempt/index/simple/tool/")
    assert (page.status_code, page.content_type) == (200, JSON)
    names = [file["filename"] for file in page.json["files"] if not file.get("yanked")]
    got = call(house, token, "GET", f"/attempt/index/files/tool/{max(names)}")
    assert got.status_code == 200, got.data
    return sha(got.data)


def built_with_tool(house, token: str) -> tuple[str, bytes]:
    """A wheel whose bytes depend on the tool that was found."""
    return wheel(code=f"made_with = {resolve(house, token)!r}\n")


def first_with_tool(house) -> str:
    build_id, made = house.build(house.source(), TARGET)
    token = attempt(house, builder(house, "one"), made[TARGET])
    make(house, token, built_with_tool(house, token))
    return build_id


def second_with_tool(house, build_id: str) -> dict[str, Any]:
    second = api(house, "POST", f"/builds/{build_id}/compare", 201)
    token = attempt(house, builder(house, "two"), second["jobs"][0]["id"])
    make(house, token, built_with_tool(house, token))
    compare(house, second["id"])
    return api(house, "GET", f"/builds/{second['id']}")


def newer_appears(upstream) -> None:  # noqa: F811
    upstream.page("tool", listed(TOOL[1], TOOL[0], yanked="old"), listed(NEWER[1], NEWER[0]))
    upstream.put(f"/files/{NEWER[0]}", NEWER[1])


def test_a_newer_build_requirement_does_not_change_the_second_build(mirrored, upstream) -> None:  # noqa: F811
    build_id = first_with_tool(mirrored)
    newer_appears(upstream)
    _, made = mirrored.build(mirrored.source("gadget", projects=()), TARGET)
    new = attempt(mirrored, builder(mirrored, "three"), made[TARGET])
    assert resolve(mirrored, new) == sha(NEWER[1])
    second = second_with_tool(mirrored, build_id)
    assert [row["is_equal"] for row in second["comparisons"]] == [True]
    (dependency,) = second["jobs"][0]["dependencies"]
    assert (dependency["filename"], dependency["sha256"]) == (TOOL[0], sha(TOOL[1]))


def test_the_second_build_reads_nothing_that_the_first_did_not(mirrored, upstream) -> None:  # noqa: F811
    build_id = first_with_tool(mirrored)
    newer_appears(upstream)
    second = api(mirrored, "POST", f"/builds/{build_id}/compare", 201)
    token = attempt(mirrored, builder(mirrored, "two"), second["jobs"][0]["id"])
    upstream.page("gadget", listed(b"x", "gadget-1.0-py3-none-any.whl"))
    for path in ("simple/gadget/", f"files/tool/{NEWER[0]}", f"files/tool/{NEWER[0]}.metadata"):
        answer = call(mirrored, token, "GET", f"/attempt/index/{path}")
        assert (answer.status_code, answer.json["code"]) == (404, "comparison.not_served"), path


def test_a_dependency_that_is_no_longer_here_is_fetched_and_held_against_its_digest(
    mirrored,
    upstream,  # noqa: F811
) -> None:
    build_id = first_with_tool(mirrored)
    mirrored.farm.blobs.path(sha(TOOL[1])).unlink()
    assert second_with_tool(mirrored, build_id)["comparisons"][0]["is_equal"]


# Which builder ---------------------------------------------------------------------------------------


@pytest.fixture
def second(house) -> Callable[[], str]:
    """The id of the job that repeats one of builder `one`, whose token is `second.one`."""

    def start() -> str:
        return api(house, "POST", f"/builds/{build_id}/compare", 201)["jobs"][0]["id"]

    start.one = builder(house, "one")
    build_id = published(house, wheel(), by=start.one)
    return start


REPORT = {"queues": ["build.manylinux-x86_64.dev.interactive"], "slots": 1, "findings": []}


def claim(house, token: str, job_id: str):
    return call(house, token, "POST", "/claim", json={"job": job_id, "attempt": 1})


def test_the_builder_of_the_first_files_leaves_the_second_to_another_one_at_once(house, second) -> None:
    two = builder(house, "two")
    call(house, two, "POST", "/builder/seen", json=REPORT)
    job_id = second()
    queues = Queues()
    handover.hand_over_waiting(house.database, queues)
    refused = claim(house, second.one, job_id)
    assert (refused.status_code, refused.json["code"]) == (409, "attempt.elsewhere")
    handover.hand_over_waiting(house.database, queues)
    assert (job_id, 1, 2) in queues.held
    assert claim(house, two, job_id).status_code == 200


@pytest.mark.parametrize("other", ["drained", "silent", "of another tier", "busy", "unfit", "none"])
def test_a_builder_makes_them_itself_at_once_where_no_other_one_is_free(house, second, other: str) -> None:
    if other != "none":
        two = builder(house, "two")
        call(house, two, "POST", "/builder/seen", json=REPORT)
    if other == "busy":
        _, made = house.build(house.source("gadget", projects=()), TARGET)
        attempt(house, two, made[TARGET])
    changed = {
        "drained": {"drained_at": clock.now()},
        "silent": {"seen_at": clock.now() - timedelta(hours=1)},
        "of another tier": {"tiers": ["release"]},
        "unfit": {"facts": {**REPORT, "findings": [{"name": "disk", "good": False, "value": "full"}]}},
    }
    if other in changed:
        with house.database.begin() as session:
            session.execute(update(Builder).where(Builder.name == "two").values(**changed[other]))
    assert claim(house, second.one, second()).status_code == 200


def test_a_comparison_is_done_once(house) -> None:
    build_id = published(house, wheel())
    second = compared(house, build_id, wheel())
    with house.database.begin() as session:
        task = session.scalars(select(Task).where(Task.subject == second["id"])).one()
    with pytest.raises(StaleAttempt):
        comparer(house).compare(second["id"], (task.id, 1), lambda: None)
    with house.database.read() as session:
        assert len(session.scalars(select(Comparison)).all()) == 1


def test_a_push_does_not_supersede_a_comparison(house) -> None:
    branch = "refs/heads/main"
    build_id, made = house.build(house.source(), TARGET, ref=branch)
    make(house, attempt(house, builder(house, "one"), made[TARGET]), wheel())
    second = api(house, "POST", f"/builds/{build_id}/compare", 201)
    with house.database.begin() as session:
        source = session.get_one(Source, session.get_one(Build, build_id).source_id)
        newer = builds.start(session, source, ref=branch, commit="b" * 40, trigger="webhook", actor=None)
        assert builds.supersede(session, newer, {}) == []
    assert house.state(second["id"]) == State.QUEUED
