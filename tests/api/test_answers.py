"""What the API answers, field by field, and how it refuses."""

import hashlib
import hmac
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import FarmError
from buildfarm.farm import builds, logs
from buildfarm.farm.fleet import queue_health
from buildfarm.farm.model import Task
from buildfarm.index.model import ChannelEntry
from buildfarm.journal.record import size
from buildfarm.scm.model import Delivery
from buildfarm.sources.names import full_ref

TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


@pytest.fixture
def admin(full):
    return full.client(full.admin)


def test_a_list_has_items_and_a_key_to_go_on_with(full, admin):
    for _ in range(4):
        assert admin.post("/api/v1/builds", json={"source": "widget", "ref": "main"}).status_code == 201
    seen, before = [], ""
    while True:
        page = admin.get(f"/api/v1/builds?limit=2{before}").json
        assert set(page) == {"items", "next"}
        seen += [build["id"] for build in page["items"]]
        if page["next"] is None:
            break
        before = f"&before={page['next']}"
    assert seen == sorted(seen, reverse=True)
    assert len(set(seen)) == 5


def test_a_build_shows_its_jobs_files_and_where_they_came_from(full, admin):
    build = admin.get(f"/api/v1/builds/{full.build_id}").json
    assert (build["source"], build["number"], build["ref"]) == ("widget", 1, "refs/tags/v1.0")
    first, second = build["jobs"]
    assert (first["state"], second["state"]) == ("succeeded", "queued")
    assert first["artifacts"][0]["size"] == 1234
    assert first["dependencies"][0]["project"] == "setuptools"
    (file,) = build["files"]
    assert file["origin"]["build_id"] == full.build_id
    assert file["origin"]["target"] == first["target"]
    assert file["channels"] == ["dev"]
    assert TIME.fullmatch(build["created_at"])


def test_a_build_is_started_with_a_short_ref_and_its_task_waits_though_the_queue_is_away(full, admin):
    build = admin.post("/api/v1/builds", json={"source": "widget", "ref": "v2.0"}).json
    assert (build["ref"], build["state"], build["trigger"]) == ("refs/tags/v2.0", "queued", "manual")
    with full.farm.database.read() as session:
        (task,) = [one for one in session.query(Task) if one.subject == build["id"]]
        assert (task.kind, task.handed_over_at) == ("fetch", None)


def test_a_cancelled_build_is_over(full, admin):
    build = admin.post("/api/v1/builds", json={"source": "widget", "ref": "main"}).json
    assert admin.post(f"/api/v1/builds/{build['id']}/cancel").json["state"] == "cancelled"
    again = admin.post(f"/api/v1/builds/{build['id']}/cancel")
    assert (again.status_code, again.json["code"]) == (409, "build.over")


@pytest.mark.parametrize(
    ("typed", "ref", "commit"),
    [
        ("main", "refs/heads/main", None),
        ("v1", "refs/tags/v1", None),
        ("1.0rc1", "refs/tags/1.0rc1", None),
        ("widget-1.0", "refs/tags/widget-1.0", None),
        ("widget/v2.3", "refs/tags/widget/v2.3", None),
        ("feature/2", "refs/heads/feature/2", None),
        ("refs/heads/1.0", "refs/heads/1.0", None),
        ("a" * 40, "", "a" * 40),
    ],
)
def test_a_short_ref_that_ends_in_a_version_is_a_tag(typed, ref, commit):
    assert full_ref(typed) == (ref, commit)


@given(st.text(max_size=80))
@settings(max_examples=300)
def test_whatever_is_typed_as_a_ref_is_a_full_ref_or_refused(text):
    try:
        ref, commit = full_ref(text)
    except FarmError:
        return
    assert ref.startswith(("refs/heads/", "refs/tags/")) if commit is None else ref == ""


def test_a_new_source_answers_with_its_hook_and_secrets(full, admin):
    made = admin.post(
        "/api/v1/sources",
        json={"name": "gadget", "url": "file:///srv/gadget.git", "projects": ["Gadget_X"]},
    ).json
    assert made["hook_url"] == "http://farm.example/hooks/gadget"
    assert made["projects"] == ["gadget-x"]
    assert (made["scm"], made["branches"]) == ("generic", [])
    assert made["secret"] == made["signing_token"]
    assert made["secret"].startswith("whsec_")
    assert admin.get("/api/v1/projects/gadget.x").json["display_name"] == "Gadget_X"


@pytest.mark.parametrize(
    ("url", "scm", "has_signing"),
    [
        ("https://github.example/acme/w.git", "github", False),
        ("https://gitlab.example/acme/w.git", "gitlab", True),
    ],
)
def test_the_host_tells_the_scm_and_with_it_the_secrets(admin, url, scm, has_signing):
    made = admin.post("/api/v1/sources", json={"name": "gadget", "url": url}).json
    assert made["scm"] == scm
    assert (made["signing_token"] is not None) == has_signing
    assert made["secret"] != made["signing_token"]


def test_rotating_keeps_the_last_secret_and_ends_the_one_before(full, admin):
    first = {one["id"] for one in admin.get("/api/v1/sources/widget").json["secrets"]}
    second = {one["id"] for one in admin.post("/api/v1/sources/widget/secrets").json["secrets"]}
    third = {one["id"] for one in admin.post("/api/v1/sources/widget/secrets").json["secrets"]}
    assert (len(first), len(second), len(third)) == (1, 2, 2)
    assert first < second
    assert not first & third
    assert len(second & third) == 1


def test_a_secret_that_the_scm_made_is_taken_and_not_shown(full, admin):
    made = {"name": "rim", "url": "https://pagure.example/rim.git", "projects": ["rim"], "scm": "pagure"}
    assert admin.post("/api/v1/sources", json=made).status_code == 201
    own = "DBH2RGOQV1M1DT6N84FWSSB2K3NYAW9CKJ0454I9"
    taken = admin.put("/api/v1/sources/rim/secrets", json={"secret": own})
    assert len(taken.json["secrets"]) == 2
    assert own not in taken.text
    weak = admin.put("/api/v1/sources/rim/secrets", json={"secret": "short"})
    assert (weak.status_code, weak.json["code"]) == (400, "source.secret_weak")
    body = b'{"topic": "git.branch.creation", "msg": {"branch": "main", "rev": "%s"}}' % (b"2" * 40)
    signature = hmac.new(own.encode(), body, hashlib.sha256).hexdigest()
    headers = {"X-Pagure-Signature-256": signature, "Content-Type": "application/json"}
    sent = full.app.test_client().post("/hooks/rim", data=body, headers=headers)
    assert sent.json["reason"] == "ref_not_followed"


def test_a_removed_source_keeps_its_history_and_frees_its_name(full, admin):
    assert admin.delete("/api/v1/sources/widget").json["name"] == "widget"
    assert admin.get("/api/v1/sources").json["items"] == []
    assert admin.get("/api/v1/sources/widget").status_code == 404
    old_name = admin.get(f"/api/v1/builds/{full.build_id}").json["source"]
    assert old_name.startswith("widget~src_")
    assert admin.post("/api/v1/builds", json={"source": old_name, "ref": "main"}).status_code == 404
    again = {"name": "widget", "url": "https://git.example/other.git", "projects": ["widget"]}
    assert admin.post("/api/v1/sources", json=again).status_code == 201


def test_a_secret_is_never_shown_again(full, admin):
    value = admin.post("/api/v1/sources/widget/secrets").json["secret"]
    for path in ("/sources", "/sources/widget", "/journal"):
        assert value not in admin.get(f"/api/v1{path}").text


def test_the_hook_files_work_together(full, admin):
    files = admin.get("/api/v1/sources/widget/hook").json
    assert "http://farm.example/hooks/widget" in files["config"]
    compile(files["script"], "post-receive", "exec")


def test_a_delivery_says_why_and_what_to_do(full, admin):
    refused = admin.get("/api/v1/deliveries?state=rejected").json["items"][0]
    shown = admin.get(f"/api/v1/deliveries/{refused['id']}").json
    assert "secrets made it" in shown["sentence"]
    assert shown["remedy"]
    assert (shown["body"], shown["body_bytes"]) == ("\N{REPLACEMENT CHARACTER}", 1)
    good = admin.get(f"/api/v1/deliveries/{full.delivery_id}").json
    assert [build["id"] for build in good["builds"]] == [full.build_id]
    assert good["steps"] == [{"name": "clock", "ok": True, "detail": "1 s behind"}]
    assert good["sentence"] == good["remedy"] == ""


def test_the_ledger_shows_the_last_delivery_of_each_source(full, admin):
    with full.farm.database.read() as session:
        newest = max(row.id for row in session.query(Delivery))
    assert admin.get("/api/v1/sources/widget").json["last_delivery"]["id"] == newest


def test_a_log_as_text_is_what_was_sent(full, admin):
    answer = admin.get(f"/api/v1/jobs/{full.job_id}/log")
    assert answer.content_type == "text/plain; charset=utf-8"
    assert answer.text == "fetched\ncompiled ünïcode\nlinked\n"


def test_a_log_in_pieces_goes_on_at_the_byte_offset(full, admin):
    url = f"/api/v1/jobs/{full.job_id}/log"
    whole = admin.get(f"{url}?offset=0").json
    assert [piece["phase"] for piece in whole["segments"]] == ["source", "build"]
    assert whole["segments"][1]["start"] == len(b"fetched\n")
    assert whole["next"] == len("fetched\ncompiled ünïcode\nlinked\n".encode())
    assert (whole["done"], whole["attempt"]) == (True, 1)
    rest = admin.get(f"{url}?offset={whole['segments'][1]['start']}").json
    assert rest["segments"] == whole["segments"][1:]
    end = admin.get(f"{url}?offset={whole['next']}").json
    assert (end["segments"], end["done"]) == ([], True)


def test_a_log_exists_before_any_builder_took_the_job(full, admin):
    url = f"/api/v1/jobs/{full.waiting_job_id}/log"
    assert admin.get(url).text == ""
    assert admin.get(f"{url}?offset=0").json == {"attempt": 0, "segments": [], "next": 0, "done": False}
    assert admin.get(f"{url}?attempt=7").status_code == 404


def test_a_long_log_comes_in_bounded_pieces(full, admin):
    line = "x" * 1000 + "\n"
    with full.farm.database.begin() as session:
        attempt = logs.attempt_of(session, full.job_id)
        received = attempt.log_bytes
        for _ in range(40):
            received = logs.append(
                session, full.job_id, 1, offset=received, phase="build", text=line, times=[1], max_bytes=10**6
            )
            session.flush()
        assert attempt.log_bytes == received
    pieces, offset, asked = 0, 0, 0
    while True:
        part = admin.get(f"/api/v1/jobs/{full.job_id}/log?offset={offset}").json
        pieces, offset, asked = pieces + len(part["segments"]), part["next"], asked + 1
        if part["done"]:
            break
    assert (pieces, asked) == (42, 3)
    assert len(admin.get(f"/api/v1/jobs/{full.job_id}/log").text) > 40_000


def test_a_promotion_is_in_the_channel_when_it_answers_and_undo_takes_it_out(full, admin):
    step = {"project": "widget", "version": "1.0", "from": "dev", "to": "staging"}
    made = admin.post("/api/v1/promotions", json=step).json
    release = admin.get("/api/v1/releases/widget/1.0").json
    assert [(rung["channel"], rung["files"]) for rung in release["channels"]] == [
        ("dev", 1), ("staging", 1), ("stable", 0),
    ]  # fmt: skip
    assert release["following"] == {"from_channel": "staging", "to_channel": "stable"}
    with full.farm.database.read() as session:
        assert made["serial"] == size(session)
    assert admin.post("/api/v1/promotions", json=step).json["code"] == "promotion.nothing_new"
    assert admin.post(f"/api/v1/promotions/{made['id']}/undo").status_code == 201
    with full.farm.database.read() as session:
        (entry,) = [one for one in session.query(ChannelEntry) if one.channel == "staging"]
        assert entry.until == size(session)


def test_a_yanked_release_says_why(admin):
    admin.post("/api/v1/releases/Widget/1.0/yank", json={"reason": "eats data"})
    release = admin.get("/api/v1/releases/widget/1.0").json
    assert (release["yanked"], release["files"][0]["yanked"]) == (True, "eats data")
    assert admin.post("/api/v1/releases/widget/1.0/unyank").json["yanked"] is False


def test_a_project_list_pages_by_name_and_finds_by_part(full, admin):
    admin.post("/api/v1/sources/widget/projects", json={"projects": ["alpha", "zeta-widget"]})
    page = admin.get("/api/v1/projects?limit=2").json
    assert ([row["name"] for row in page["items"]], page["next"]) == (["alpha", "widget"], "widget")
    assert [row["name"] for row in admin.get("/api/v1/projects?after=widget").json["items"]] == [
        "zeta-widget"
    ]
    found = admin.get("/api/v1/projects?q=Widget").json["items"]
    assert [(row["name"], row["latest"]) for row in found] == [("widget", "1.0"), ("zeta-widget", None)]


def test_a_new_token_works_and_a_revoked_one_does_not(full, admin):
    made = admin.post("/api/v1/tokens", json={"name": "ci", "scopes": ["build"], "days": None}).json
    assert made["expires_at"] is None
    assert made["token"] not in admin.get("/api/v1/tokens").text
    assert full.client(made["token"]).get("/api/v1/builds").status_code == 200
    assert admin.delete(f"/api/v1/tokens/{made['id']}").json["revoked_at"]
    listed = [row["id"] for row in admin.get("/api/v1/tokens").json["items"]]
    assert made["id"] not in listed
    assert made["id"] in [row["id"] for row in admin.get("/api/v1/tokens?revoked=true").json["items"]]


def test_the_images_named_are_those_in_use(admin):
    image = {
        "image_id": "sha256:" + "2" * 64,
        "platform": "manylinux_2_28_x86_64",
        "role": "test",
        "suite": "s",
        "interpreters": [],
    }
    answer = admin.put("/api/v1/images", json={"images": [image]}).json
    assert [row["image_id"] for row in answer["items"]] == [image["image_id"]]


def test_the_journal_is_read_in_order_of_serials(admin):
    page = admin.get("/api/v1/journal?after=2&limit=3").json
    assert [row["serial"] for row in page["items"]] == [3, 4, 5]
    assert page["next"] == "5"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/builds", {"source": "widget"}, "ref"),
        ("/builds", {"source": "widget", "ref": "main", "reff": "x"}, "reff"),
        ("/promotions", {"project": "widget", "version": "1.0", "to": "staging"}, "from"),
        ("/tokens", {"name": "x", "scopes": []}, "scopes"),
        ("/images", {"images": [{"image_id": "latest"}]}, "images.0.image_id"),
    ],
)
def test_a_body_that_does_not_fit_is_refused_with_the_field(admin, path, body, field):
    method = "PUT" if path == "/images" else "POST"
    answer = admin.open(f"/api/v1{path}", method=method, json=body)
    assert answer.status_code == 400
    assert answer.content_type == "application/problem+json"
    assert answer.json["code"] == "input.invalid"
    assert field in answer.json["fields"]


def test_what_is_no_json_is_refused_the_same_way(admin):
    answer = admin.post("/api/v1/builds", data=b"{", content_type="application/json")
    assert (answer.status_code, answer.json["code"]) == (400, "input.invalid")


def test_a_body_without_end_is_refused(admin):
    answer = admin.post("/api/v1/builds", data=b" " * (1 << 20) + b"{}", content_type="application/json")
    assert answer.status_code in {400, 413}


@pytest.mark.parametrize("limit", ["0", "201", "many"])
def test_a_page_has_a_bounded_size(admin, limit):
    assert admin.get(f"/api/v1/builds?limit={limit}").json["code"] == "input.invalid"


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/sources/nothing", "source.unknown"),
        ("/deliveries/dlv_nothing", "delivery.unknown"),
        ("/builds/bld_nothing", "build.unknown"),
        ("/jobs/job_nothing", "job.unknown"),
        ("/jobs/job_nothing/log", "job.unknown"),
        ("/jobs/job_nothing/log?offset=0", "job.unknown"),
        ("/projects/nothing", "project.unknown"),
        ("/releases/widget/2.0", "release.unknown"),
        ("/releases/widget/not-a-version", "release.unknown"),
    ],
)
def test_what_is_not_there_is_a_404_with_its_code(admin, path, code):
    answer = admin.get(f"/api/v1{path}")
    assert (answer.status_code, answer.json["code"]) == (404, code)


def test_the_queue_health_counts_what_waits_and_since_when(full):
    with full.farm.database.read() as session:
        health = queue_health(session, full.farm.settings)
        assert (health.queued, health.running, health.waiting) == (1, 0, 0)
        assert health.oldest_wait_s > 0
        assert [builder.name for builder in health.builders] == ["builder-one"]
        assert builds.get(session, full.build_id).state == "running"
