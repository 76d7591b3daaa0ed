"""Deliveries of every sender through `POST /hooks/<source>`, whatever becomes of them."""

from __future__ import annotations

import hashlib
import hmac
import io
import json
import re
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from types import SimpleNamespace

import pytest
from sqlalchemy import event, select

from buildfarm import clock
from buildfarm.errors import ExternalFailure
from buildfarm.farm import builds
from buildfarm.farm.model import Build, Task
from buildfarm.scm import connect, intake
from buildfarm.scm.forges.access import Given, set_access
from buildfarm.scm.generic_settings import GenericSettings
from buildfarm.scm.kinds import KINDS, scm_for
from buildfarm.scm.model import Delivery
from buildfarm.scm.replay import replay
from buildfarm.sources.model import Source, SourceSecret
from tests.farm.senders import COMMIT, Sender, found, sender_of


@pytest.fixture(params=KINDS)
def every_sender(request: pytest.FixtureRequest, house) -> Sender:
    return sender_of(house, request.param)


@pytest.fixture(params=["github", "gitlab", "bitbucket-cloud", "generic"])
def sender(request: pytest.FixtureRequest, house) -> Sender:
    """One for each way to sign and to name refs."""
    return sender_of(house, request.param)


def test_a_push_is_accepted_and_starts_one_build(every_sender: Sender) -> None:
    body = every_sender.push()
    answer = every_sender.send(body)
    assert (answer.status_code, answer.json["state"]) == (202, "accepted")
    (build,) = found(every_sender.house, Build)
    assert answer.json["builds"] == [{"id": build.id, "url": f"http://farm.example/builds/{build.id}"}]
    assert (build.ref, build.commit, build.trigger) == (
        "refs/heads/main",
        COMMIT,
        f"webhook:{every_sender.scm}",
    )
    (delivery,) = found(every_sender.house, Delivery)
    assert (delivery.id, delivery.state, delivery.body) == (answer.json["delivery"], "accepted", body)
    assert every_sender.secret.secret not in json.dumps(delivery.headers)
    (task,) = found(every_sender.house, Task)
    assert (task.kind, task.subject, task.handed_over_at) == (
        "fetch",
        build.id,
        None,
    )  # Redis is away: it waits


def test_the_same_delivery_again_is_a_duplicate(every_sender: Sender) -> None:
    body = every_sender.push()
    first = every_sender.send(body)
    for _ in range(2):
        answer = every_sender.send(body)
        assert (answer.status_code, answer.json["state"]) == (200, "duplicate")
        assert answer.json["builds"] == first.json["builds"]
    assert len(found(every_sender.house, Build)) == len(found(every_sender.house, Delivery)) == 1


def test_the_same_commit_by_another_delivery_builds_once(sender: Sender) -> None:
    body = sender.push()
    sender.send(body)
    answer = sender.send(body + b" ", 2)
    assert (answer.status_code, answer.json["state"], answer.json["reason"]) == (
        200,
        "ignored",
        "already_built",
    )
    assert "already" in answer.json["message"]
    assert len(found(sender.house, Build)) == 1


def test_when_a_secret_was_last_used_is_told_to_the_minute(house, monkeypatch: pytest.MonkeyPatch) -> None:
    sender, noon = sender_of(house, "github"), clock.now().replace(microsecond=0)
    told = []
    for number, seconds in enumerate([0, 40, 61]):
        monkeypatch.setattr(clock, "now", lambda seconds=seconds: noon + timedelta(seconds=seconds))
        sender.send(sender.push(commit=f"{number + 5:040x}"), number)
        told.append((found(house, SourceSecret)[0].last_used_at - noon).total_seconds())
    assert told == [0, 0, 61]


def test_a_build_that_could_not_be_fetched_is_in_nobodys_way(sender: Sender) -> None:
    with sender.house.database.begin() as session:
        source = session.scalars(select(Source)).one()
        build = builds.start(
            session, source, ref="refs/heads/main", commit=None, trigger="manual", actor="ada"
        )
        session.flush()
        assert build.commit is None
    assert sender.send(sender.push()).json["reason"] == "already_built", "it may fetch this very commit"
    with sender.house.database.begin() as session:
        builds.fail(session, build.id, ExternalFailure("It is away.", code="source.unreachable"))
    assert sender.send(sender.push() + b" ", 2).status_code == 202


def test_credentials_in_headers_are_masked_and_signatures_are_not(sender: Sender) -> None:
    body = sender.push()
    secret = {
        "Authorization": "Basic canary", "Cookie": "canary", "X-Gitlab-Token": "canary",
        "X-Api-Key": "canary",
        "X-Forwarded-Access-Token": "canary", "Proxy-Authorization": "canary", "X-Amz-Credential": "canary",
    }  # fmt: skip
    headers = secret | sender.headers(body)
    client = sender.house.app.test_client(use_cookies=False)
    assert client.post(f"/hooks/{sender.name}", data=body, headers=headers).status_code == 202
    (delivery,) = found(sender.house, Delivery)
    kept = {name.lower(): value for name, value in delivery.headers.items()}
    assert {kept[name.lower()] for name in secret} == {"[masked]"}
    assert "canary" not in str(kept)
    signed = {name.lower(): value for name, value in headers.items() if "signature" in name.lower()}
    assert kept.items() >= signed.items()


def test_who_may_look_at_a_delivery_is_shown_nothing_to_send_it_again_with(every_sender: Sender) -> None:
    """Most SCMs sign neither their ids nor the time: signature and body would do, under another id."""
    body = every_sender.push()
    sent = every_sender.headers(body)
    delivery = every_sender.send(body).json["delivery"]
    client = every_sender.house.client(every_sender.house.token("view"))
    shown = client.get(f"/api/v1/deliveries/{delivery}").json["headers"]
    signed = {name for name in sent if "signature" in name.lower() or "token" in name.lower()}
    assert signed
    assert not {sent[name] for name in signed} & set(shown.values())
    assert shown.keys() >= {name.title() for name in sent}


def test_a_signature_in_a_header_of_the_sender_s_own_is_not_shown_either(house) -> None:
    told = GenericSettings.model_validate({"signature": {"header": "X-Acme-Sum"}})
    with house.database.begin() as session:
        _, secrets = connect.add_source(
            session, "widget", "https://git.example/acme/widget", scm="generic", branches=["main"],
            tier="dev", allow_file=False, actor="test", settings=told,
        )  # fmt: skip
    sender = Sender(house, "widget", "generic", secrets)
    body = sender.push()
    signature = hmac.new(secrets.secret.encode(), body, hashlib.sha256).hexdigest()
    headers = {"Content-Type": "application/json", "X-Acme-Sum": signature}
    answer = house.app.test_client().post("/hooks/widget", data=body, headers=headers)
    assert answer.status_code == 202
    shown = house.client(house.token("view")).get(f"/api/v1/deliveries/{answer.json['delivery']}").json
    assert shown["headers"]["X-Acme-Sum"] == "[not shown]"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"ref": "refs/heads/topic"}, "ref_not_followed"),
        ({"commit": "0" * 40}, "branch_deleted"),
    ],
)
def test_what_starts_nothing_says_why(sender: Sender, change: dict[str, str], reason: str) -> None:
    answer = sender.send(sender.push(**change))
    assert (answer.status_code, answer.json["state"], answer.json["reason"]) == (200, "ignored", reason)
    assert found(sender.house, Build) == []
    assert [delivery.reason for delivery in found(sender.house, Delivery)] == [reason]


def test_branch_patterns_and_tags_are_followed(every_sender: Sender) -> None:
    assert every_sender.send(every_sender.push(ref="refs/heads/release/1"), 1).status_code == 202
    event = "tag" if every_sender.scm == "gitlab" else "push"
    assert every_sender.send(every_sender.push(ref="refs/tags/v1"), 2, event=event).status_code == 202


def test_hooks_of_groups_speak_of_other_repositories_too(house) -> None:
    sender = sender_of(house, "github")
    body = sender.push(repository={"full_name": "acme/other"})
    assert sender.send(body).json["reason"] == "other_repository"


@pytest.mark.parametrize(
    ("url", "told", "is_it"),
    [
        ("https://git.example/top/acme/widget.git", "https://git.example/acme/widget.git", False),
        ("https://git.example/top/acme/widget.git", "https://git.example/sub/acme/widget.git", False),
        ("ssh://git@git.example/top/acme/widget.git", "https://git.example/acme/widget.git", False),
        ("https://git.example/gitlab/acme/widget.git", "https://git.example/gitlab/acme/widget.git", True),
        ("https://git.example/GitLab/Acme/Widget", "https://git.example/gitlab/acme/widget.git", True),
        ("ssh://git@git.example/acme/widget.git", "https://git.example/gitlab/acme/widget.git", True),
        ("https://git.example/gitlab/acme/widget.git", "https://git.example/elsewhere.git", True),
        ("https://git.example/gitlab/acme/widget.git", None, True),
        ("https://git.example/topacme/widget.git", None, False),
        ("file:///srv/repositories/acme/widget.git", "https://git.example/acme/widget.git", True),
    ],
)  # fmt: skip
def test_a_repository_of_the_same_name_in_another_group_is_another_one(
    house, url: str, told: str | None, *, is_it: bool
) -> None:
    sender = sender_of(house, "gitlab", url=url)
    project = {"path_with_namespace": "acme/widget", "git_http_url": told}
    answer = sender.send(sender.push(project=project))
    assert answer.status_code == (202 if is_it else 200)
    assert answer.json["reason"] == (None if is_it else "other_repository")


@pytest.mark.parametrize(
    ("scm", "api", "url", "is_it"),
    [
        ("gitlab", "https://git.example", "https://git.example/top/acme/widget.git", False),
        ("gitlab", "https://git.example/top", "https://git.example/top/acme/widget.git", True),
        ("bitbucket-data-center", "https://git.example/rest/api/latest",
         "https://git.example/scm/acme/widget.git", True),
        ("bitbucket-data-center", "https://git.example/bb/rest/api/latest",
         "https://git.example/bb/scm/acme/widget.git", True),
    ],
)  # fmt: skip
def test_where_no_delivery_says_it_the_api_s_address_says_below_which_path_the_scm_lives(
    house, scm: str, api: str, url: str, *, is_it: bool
) -> None:
    sender = sender_of(house, scm, url=url)
    with house.database.begin() as session:
        source = session.scalars(select(Source)).one()
        set_access(session, source, Given("glpat-of-the-farm-0123456789", api_url=api), actor="test")
    assert sender.send(sender.push()).json["reason"] == (None if is_it else "other_repository")


def test_an_unknown_source_and_a_wrong_signature_look_the_same(every_sender: Sender) -> None:
    body = every_sender.push()
    headers = every_sender.headers(body)
    client = every_sender.house.app.test_client()
    wrong = headers | {
        name: value[:-4] + ("AAA=" if value.endswith("=") else "0000")
        for name, value in headers.items()
        if "ignature" in name or name == "X-Gitlab-Token"
    }
    none = {"Content-Type": "application/json"}
    answers = [
        client.post("/hooks/nothing", data=body, headers=headers),
        client.post(f"/hooks/{every_sender.name}", data=body, headers=wrong),
        client.post(f"/hooks/{every_sender.name}", data=body, headers=none),
        client.post(f"/hooks/{every_sender.name}", data=b"", headers=none),
        client.post(f"/hooks/{every_sender.name}x", data=b"", headers=none),
        client.post("/hooks/%00", data=body, headers=headers),
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.data for answer in answers}) == 1
    same = [sorted((k, v) for k, v in answer.headers if k != "X-Request-ID") for answer in answers]
    assert all(one == same[0] for one in same)
    assert found(every_sender.house, Build) == []
    rejected = found(every_sender.house, Delivery)
    assert {row.state for row in rejected} == {"rejected"}
    assert {row.reason for row in rejected} <= {"signature_wrong", "signature_missing"}


def test_a_forged_delivery_does_not_occupy_the_id_of_the_true_one(sender: Sender) -> None:
    body = sender.push()
    headers = sender.headers(body)
    forged = sender.house.app.test_client().post(f"/hooks/{sender.name}", data=b"{}", headers=headers)
    if sender.scm != "gitlab":  # a classic token vouches for no body
        assert forged.status_code == 401
    assert sender.send(body).status_code == 202


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"\xff", b'{"ref": 5}', b"[" * 100_000, b'"x"'])
def test_signed_rightly_but_not_readable_is_a_bad_request(sender: Sender, body: bytes) -> None:
    answer = sender.send(body)
    if sender.scm in ("gitlab", "generic") and body == b'{"ref": 5}':
        assert answer.status_code == 200  # an event without a type
        return
    assert (answer.status_code, answer.json["code"]) == (400, "hook.unparsable")
    (delivery,) = found(sender.house, Delivery)
    assert (delivery.state, delivery.reason) == ("rejected", "body_unparsable")
    assert found(sender.house, Build) == []


def test_a_body_over_the_limit_is_refused_by_its_length_and_while_reading(open_house) -> None:
    house = open_house(limits={"hook_body_bytes": 1000})
    sender = sender_of(house, "github")
    body = sender.push(padding="x" * 2000)
    assert (sender.send(body).status_code, sender.send(body).json["code"]) == (413, "hook.too_large")
    chunked = {
        "wsgi.input_terminated": True,
        "wsgi.input": io.BytesIO(body),
        "HTTP_TRANSFER_ENCODING": "chunked",
    }
    client = house.app.test_client()
    answer = client.post("/hooks/widget", headers=sender.headers(body), environ_overrides=chunked)
    assert answer.status_code == 413
    small = sender.push()
    chunked["wsgi.input"] = io.BytesIO(small)
    answer = client.post("/hooks/widget", headers=sender.headers(small), environ_overrides=chunked)
    assert answer.status_code == 202


def test_a_call_may_be_larger_than_other_bodies(sender: Sender) -> None:
    body = sender.push(padding="x" * sender.house.app.config["MAX_CONTENT_LENGTH"])
    assert sender.send(body).status_code == 202


def test_a_refused_call_is_found_by_the_id_that_the_scm_gave_it(sender: Sender) -> None:
    body = sender.push()
    sent = sender.headers(body)
    unsigned = {name: sent[name] for name in sent if not re.search("signature|token", name, re.IGNORECASE)}
    sender.house.app.test_client().post(f"/hooks/{sender.name}", data=body, headers=unsigned)
    (delivery,) = found(sender.house, Delivery)
    given = scm_for(delivery.scm).delivery_id(delivery.headers)
    assert (delivery.state, bool(given)) == ("rejected", True)
    rows = sender.house.client(sender.house.token("admin")).get(f"/api/v1/deliveries?search={given}").json
    assert [one["id"] for one in rows["items"]] == [delivery.id]


def _told_of_bodies(sender: Sender, deliveries: list[Delivery]) -> list[tuple[int | None, bool]]:
    """The bytes of each body that are kept, and whether its page says that they are not all."""
    client, told = sender.house.client(sender.house.token("admin")), []
    for one in deliveries:
        row = client.get(f"/api/v1/deliveries/{one.id}").json
        said = "Only its first" in client.get(f"/deliveries/{one.id}").text
        assert said == row["is_body_cut"]
        told.append((row["body_bytes"], said))
    return told


def test_refused_calls_do_not_fill_the_disk(sender: Sender, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_REJECTED_PER_HOUR", 3)
    client = sender.house.app.test_client()
    for _ in range(6):
        assert client.post(f"/hooks/{sender.name}", data=b"x" * 100_000).status_code == 401
    kept = found(sender.house, Delivery)
    assert len(kept) == 3
    assert {len(row.body) for row in kept} == {16 * 1024}
    assert {row.body_sha256 for row in kept} == {hashlib.sha256(b"x" * 100_000).hexdigest()}
    assert all(is_cut for _, is_cut in _told_of_bodies(sender, kept))
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(clock, "now", lambda: later)
    client.post(f"/hooks/{sender.name}", data=b"x")
    assert (1, False) in _told_of_bodies(sender, found(sender.house, Delivery))
    assert len(found(sender.house, Delivery)) == 4


def test_who_cannot_sign_does_not_keep_the_one_writer(house, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(intake, "_REJECTED_PER_HOUR", 2)
    sender_of(house, "github")
    client, begun = house.app.test_client(), []
    event.listen(house.database.engine, "begin", begun.append)
    for _ in range(5):
        assert client.post("/hooks/widget", data=b"x").status_code == 401
    assert len(begun) == len(found(house, Delivery)) == 2


def test_a_rotated_secret_and_its_successor_both_open(house) -> None:
    sender = sender_of(house, "github")
    with house.database.begin() as session:
        source = session.scalars(select(Source)).one()
        fresh = connect.rotate_secrets(session, source, actor="ada")
    body = sender.push()
    assert sender.send(body, 1).status_code == 202
    assert sender.send(body + b" ", 2, secret=fresh.secret).status_code == 200
    with house.database.begin() as session:
        connect.remove_source(session, session.scalars(select(Source)).one(), actor="ada")
    assert sender.send(body + b"  ", 3, secret=fresh.secret).status_code == 401


def test_hooks_are_posted(house) -> None:
    sender_of(house, "github")
    for method in ("get", "put", "delete"):
        assert getattr(house.app.test_client(), method)("/hooks/widget").status_code == 405


@pytest.mark.parametrize("same_id", [True, False])
def test_many_deliveries_of_one_commit_at_once_make_one_build(each_house, *, same_id: bool) -> None:
    """Group and project hooks fire together; an SCM that times out sends again."""
    sender = sender_of(each_house, "github")
    _ = each_house.app
    body = sender.push()
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(sender.send, body, 1 if same_id else number) for number in range(6)]
        answers = [call.result() for call in calls]
    assert sorted(answer.status_code for answer in answers) == [200] * 5 + [202]
    states = {answer.json["state"] for answer in answers}
    assert states == {"accepted", "duplicate" if same_id else "ignored"}
    assert len(found(each_house, Build)) == 1
    assert len(found(each_house, Delivery)) == (1 if same_id else 6)


def test_deliveries_of_many_commits_at_once_are_all_taken(each_house) -> None:
    sender = sender_of(each_house, "github")
    _ = each_house.app
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(sender.send, sender.push(commit=f"{n:040x}"), n) for n in range(1, 9)]
        assert [call.result().status_code for call in calls] == [202] * 8
    assert sorted(build.number for build in found(each_house, Build)) == list(range(1, 9))


def test_a_delivery_is_replayed_into_another_build(sender: Sender) -> None:
    delivery = sender.send(sender.push()).json["delivery"]
    client = sender.house.client(sender.house.token("build"))
    again = client.post(f"/api/v1/deliveries/{delivery}/replay")
    (made,) = again.json["items"]
    assert (again.status_code, made["commit"], made["trigger"]) == (201, COMMIT, "replay")
    shown = client.get(f"/api/v1/deliveries/{delivery}").json
    assert (shown["state"], len(shown["builds"])) == ("accepted", 2)
    build = next(one for one in found(sender.house, Build) if one.id == made["id"])
    assert (build.ref, build.delivery_id) == ("refs/heads/main", delivery)
    assert build.title == "Round the rim"


def test_a_replay_goes_by_the_settings_of_today(sender: Sender) -> None:
    delivery = sender.send(sender.push(ref="refs/heads/topic")).json["delivery"]
    client = sender.house.client(sender.house.token("build"))
    refused = client.post(f"/api/v1/deliveries/{delivery}/replay")
    assert (refused.status_code, refused.json["code"]) == (409, "delivery.starts_nothing")
    assert "branch" in refused.json["title"].lower()
    with sender.house.database.begin() as session:
        session.query(Source).one().branches = ["topic"]
    assert client.post(f"/api/v1/deliveries/{delivery}/replay").status_code == 201


def test_what_was_not_verified_is_never_replayed(sender: Sender) -> None:
    sender.send(sender.push(), secret="whsec_" + "d3Jvbmc" * 8)
    (delivery,) = found(sender.house, Delivery)
    client = sender.house.client(sender.house.token("build"))
    refused = client.post(f"/api/v1/deliveries/{delivery.id}/replay")
    assert (refused.status_code, refused.json["code"]) == (409, "delivery.unverified")
    assert client.post("/api/v1/deliveries/dlv_nothing/replay").status_code == 404
    viewer = sender.house.client(sender.house.token("view"))
    assert viewer.post(f"/api/v1/deliveries/{delivery.id}/replay").status_code == 403
    assert found(sender.house, Build) == []


def test_deliveries_of_a_removed_source_are_not_replayed(sender: Sender) -> None:
    delivery = sender.send(sender.push()).json["delivery"]
    with sender.house.database.begin() as session:
        connect.remove_source(session, session.query(Source).one(), actor="test")
    client = sender.house.client(sender.house.token("build"))
    refused = client.post(f"/api/v1/deliveries/{delivery}/replay")
    assert (refused.status_code, refused.json["code"]) == (409, "delivery.source_removed")


def test_a_newer_push_ends_older_builds_of_its_branch_and_of_no_other(sender: Sender) -> None:
    house = sender.house
    first, second = (
        sender.send(sender.push(commit=commit * 40), number).json["builds"][0]["id"]
        for number, commit in enumerate("34", 1)
    )
    other = sender.send(sender.push(ref="refs/heads/release/1", commit="5" * 40), 3).json["builds"][0]["id"]
    with house.database.read() as session:
        old = session.get_one(Build, first)
        assert (old.state, old.superseded_by) == ("cancelled", second)
        assert old.first_error == "Superseded by build 2, a newer push to this branch."
        assert {session.get_one(Build, one).state for one in (second, other)} == {"queued"}
        states = {task.subject: task.state for task in session.scalars(select(Task))}
    assert (states[first], states[second]) == ("cancelled", "queued")


def test_pushes_that_are_committed_together_see_each_others_ends(house) -> None:
    sender = sender_of(house, "github")
    assert sender.send(sender.push(commit="0" * 39 + "1"), 1).status_code == 202
    back, forth = "b" * 40, "f" * 40
    receipts = []
    with house.database.begin() as session:
        together = SimpleNamespace(read=house.database.read, write=lambda work: work(session))
        for number, (before, commit) in enumerate([("1" * 40, back), (back, forth), (forth, back)], 2):
            body = sender.push(before=before, commit=commit)
            headers = sender.headers(body, number)
            receipts.append(intake.receive(together, sender.name, headers, body, clock.now()))
    assert [one.state for one in receipts] == ["accepted"] * 3
    first, second, third = (one.builds[0] for one in receipts)
    assert [house.state(one) for one in (first, second, third)] == ["cancelled", "cancelled", "queued"]


def test_an_older_push_that_arrives_later_ends_its_own_build(sender: Sender) -> None:
    house, (a, b, c) = sender.house, (letter * 40 for letter in "abc")

    def push(number: int, before: str, commit: str) -> str:
        return sender.send(sender.push(before=before, commit=commit), number).json["builds"][0]["id"]

    newest = push(3, b, c)
    middle = push(2, a, b)
    assert [house.state(one) for one in (newest, middle)] == ["queued", "cancelled"]
    with house.database.read() as session:
        old = session.get_one(Build, middle)
        assert (old.superseded_by, old.first_error) == (
            newest, "Superseded by build 1, a newer push to this branch."
        )  # fmt: skip
    oldest = push(1, "1" * 40, a)
    assert [house.state(one) for one in (newest, oldest)] == ["queued", "cancelled"]
    back = push(4, c, "d" * 40)
    assert [house.state(one) for one in (newest, back)] == ["cancelled", "queued"]


def test_a_branch_that_is_set_back_is_built_as_it_is(sender: Sender) -> None:
    a, b = "a" * 40, "b" * 40
    first = sender.send(sender.push(before=a, commit=b), 1).json["builds"][0]["id"]
    back = sender.send(sender.push(before=b, commit=a), 2).json["builds"][0]["id"]
    assert [sender.house.state(one) for one in (first, back)] == ["cancelled", "queued"]


def test_tags_are_built_whatever_is_pushed_after_them(sender: Sender) -> None:
    event = "tag" if sender.scm == "gitlab" else "push"
    made = [
        sender.send(sender.push(ref="refs/tags/v1", commit=commit * 40), number, event=event).json["builds"]
        for number, commit in enumerate("34", 1)
    ]
    assert [sender.house.state(builds[0]["id"]) for builds in made] == ["queued", "queued"]


def test_a_superseded_build_that_runs_is_told_and_says_why_it_ended(house) -> None:
    sender = sender_of(house, "generic")
    with house.database.read() as session:
        source_id = session.scalars(select(Source.id)).one()
    running, jobs = house.build(source_id, "cp313-x", "cp312-x", ref="refs/heads/main")
    token = house.claim(jobs["cp313-x"])
    newer = sender.send(sender.push()).json["builds"][0]["id"]
    beat = {"phase": "build"}
    headers = {"Authorization": f"Bearer {token}"}
    client = house.app.test_client()
    assert client.post("/jobapi/v1/attempt/heartbeat", json=beat, headers=headers).json == {"go_on": False}
    house.finish(token, "cancelled", first_error="The farm asked to stop.")
    with house.database.read() as session:
        build = session.get_one(Build, running)
        assert (build.state, build.superseded_by) == ("cancelled", newer)
        assert build.first_error == "Superseded by build 2, a newer push to this branch."


def test_a_build_that_is_being_published_is_not_superseded(house) -> None:
    sender = sender_of(house, "generic")
    with house.database.read() as session:
        source_id = session.scalars(select(Source.id)).one()
    built = house.built(source_id, ref="refs/heads/main")
    sender.send(sender.push())
    assert house.state(built) == "built"


def test_a_replay_of_an_old_push_ends_nothing(house) -> None:
    sender = sender_of(house, "generic")
    old = sender.send(sender.push(commit="3" * 40), 1)
    newer = sender.send(sender.push(commit="4" * 40), 2).json["builds"][0]["id"]
    with house.database.begin() as session:
        replay(session, old.json["delivery"], actor="ada")
    assert house.state(newer) == "queued"
