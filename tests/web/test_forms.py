"""What forms change, who may send them, and that a foreign page cannot."""

import json
import re

import farm_requests
import farm_seed
import pytest
from sqlalchemy import select

from buildfarm.farm.model import Task
from buildfarm.farm.show import build_detail
from buildfarm.index.show import release_detail
from buildfarm.scm.model import Delivery
from buildfarm.sources.show import source_detail

#: path, fields, where an administrator is led (None: a page is shown)
TOKEN = {"token": "api-token", "install": "yes", "scm": "github"}
REPOSITORY = {"name": "fresh", "url": "https://ghe.example/acme/fresh.git", "tier": "dev"}
OWNER = {"name": "umbrella", "url": "https://ghe.example/umbrella", "tier": "dev", "scm": "github"}
RULE = {"name": "fresh", "channel": "mirror", "patterns": "num*, widg?t", "newest": "2", "daily": "3"}
FORMS = [
    ("/sources", {"name": "fresh", "url": "https://git.example/fresh.git", "tier": "dev"}, None),
    ("/connections", OWNER, None),
    ("/sources/acme/secrets", {}, None),
    ("/offered/ofr_offered/accept", {"name": "thing", "projects": "thing"}, "/builds/"),
    ("/offered/ofr_plain/accept", {"name": "thing"}, "/sources/thing?pushed=refs%2Fheads%2Fmain"),
    ("/offered/ofr_offered/dismiss", {}, "/sources#offered"),
    ("/sources/widget/builds", {"ref": "main"}, "/builds/"),
    ("/sources/widget/pull-requests/18/approve", {"commit": farm_requests.WAITING}, "/builds/"),
    ("/sources/widget/projects", {"projects": "widget-extra, widget_more"}, "/sources/widget"),
    ("/sources/widget/secrets", {}, None),
    ("/mirrors/rules", RULE, "/mirrors/rules/fresh"),
    ("/mirrors/rules/check", RULE, None),
    ("/mirrors/rules/science/remove", {}, "/mirrors/rules"),
    ("/builds/{running}/cancel", {}, "/builds/{running}"),
    ("/builds/{failed}/again", {}, "/builds/"),
    ("/builds/{good}/compare", {}, "/builds/"),
    ("/builds/{release}/rebuild", {}, "/builds/"),
    (
        "/projects/widget/1.3.0/promote",
        {"from": "staging", "to": "stable"},
        "/projects/widget/1.3.0?done=promoted",
    ),
    ("/promotions/{promotion}/undo", {}, "/projects/widget/1.3.0?done=undone"),
    ("/projects/widget/1.3.0/yank", {"reason": "broken"}, "/projects/widget/1.3.0?done=yanked"),
    ("/waves", {"trigger": "project", "subject": "setuptools==99", "channel": "staging"}, "/waves/wave-2"),
    ("/waves/wave-1/promote", {"partial": "yes"}, "/waves/wave-1"),
    ("/waves/wave-1/cancel", {}, "/waves/wave-1"),
    ("/queue/pause", {"reason": "new disks"}, "/queue"),
    ("/queue/resume", {}, "/queue"),
    ("/builders/builder-one/drain", {}, "/queue"),
    ("/builders/builder-one/undrain", {}, "/queue"),
    ("/projects/widget/1.3.0/unyank", {}, "/projects/widget/1.3.0?done=unyanked"),
]


class Sender:
    """A logged-in browser that sends forms as pages do."""

    def __init__(self, house, name: str) -> None:
        self.house, self.client = house, house.client(name)
        self.token = re.findall(r'name="csrf" value="([^"]+)"', self.client.get("/account").text)[0]

    def send(self, path: str, token: str | None = None, headers=None, **fields: str):
        seed = self.house.seed
        named = {name: build for name, build in seed.builds.items() if name.isalpha()}
        path = path.format(promotion=seed.promotion, release=seed.builds["published 1.3.0"], **named)
        form = {"csrf": self.token if token is None else token, **fields}
        return self.client.post(path, data=form, headers=headers)


@pytest.mark.parametrize(("path", "fields", "target"), FORMS, ids=[path for path, *_ in FORMS])
def test_an_administrator_may_send_the_form(house, path, fields, target):
    answer = Sender(house, farm_seed.ADMIN).send(path, **fields)
    if target is None:
        assert answer.status_code == 200
    else:
        assert answer.status_code == 303
        assert answer.location.startswith(target.format(running=house.seed.builds["running"]))


@pytest.mark.parametrize(("path", "fields", "_target"), FORMS, ids=[path for path, *_ in FORMS])
def test_who_may_only_look_may_not_send_it(house, path, fields, _target):
    assert Sender(house, farm_seed.MEMBER).send(path, **fields).status_code == 403


@pytest.mark.parametrize(("path", "fields", "_target"), FORMS, ids=[path for path, *_ in FORMS])
def test_a_form_without_the_token_or_from_elsewhere_changes_nothing(house, path, fields, _target):
    sender = Sender(house, farm_seed.ADMIN)
    for token, headers in (("", None), ("x" * 32, None), (None, {"Sec-Fetch-Site": "cross-site"})):
        answer = sender.send(path, token, headers, **fields)
        assert answer.status_code == 403
        assert "form.foreign" in answer.text


def test_a_new_source_shows_its_secrets_once_and_where_they_go(house):
    sender = Sender(house, farm_seed.ADMIN)
    page = sender.send(
        "/sources",
        name="fresh",
        url="https://ghe.example/a/fresh.git",
        scm="github",
        projects="fresh",
        branches="main dev/*",
    ).text
    assert "http://farm.example/hooks/fresh" in page
    assert "Payload URL" in page
    with house.farm.database.read() as session:
        source = source_detail(session, "fresh")
    assert (source.projects, source.branches) == (("fresh",), ("main", "dev/*"))
    (secret,) = re.findall(r'aria-label="the secret"><code>([^<]+)</code>', page)
    assert secret not in sender.client.get("/sources/fresh").text


def connect(sender: Sender, path: str, fields: dict[str, str]):
    """Send a form that has a field of the name that `Sender.send` has for its own token."""
    return sender.client.post(path, data={"csrf": sender.token, **fields})


def test_a_token_with_the_source_installs_its_hook_and_the_page_shows_the_steps(house):
    sender = Sender(house, farm_seed.ADMIN)
    assert connect(sender, "/sources", REPOSITORY | TOKEN).location == "/sources/fresh#connected"
    page = sender.client.get("/sources/fresh").text
    assert "It is being installed by a worker." in page
    assert "api-token" not in page
    with house.farm.database.read() as session:
        (task,) = session.scalars(select(Task).where(Task.kind == "hook"))
    assert task.queue == "notify"


def test_a_token_with_a_connection_installs_its_hook(house):
    sender = Sender(house, farm_seed.ADMIN)
    assert connect(sender, "/connections", OWNER | TOKEN).location == "/connections/umbrella#connected"
    assert "It is being installed by a worker." in sender.client.get("/connections/umbrella").text


def test_a_token_alone_installs_nothing_and_the_secrets_are_shown(house):
    fields = {**REPOSITORY, "scm": "github", "token": "api-token"}
    page = connect(Sender(house, farm_seed.ADMIN), "/sources", fields).text
    assert "Payload URL" in page
    with house.farm.database.read() as session:
        assert session.scalars(select(Task).where(Task.kind == "hook")).all() == []


def test_a_source_whose_token_is_refused_is_not_added(house):
    sender = Sender(house, farm_seed.ADMIN)
    answer = connect(sender, "/sources", REPOSITORY | TOKEN | {"api_url": "http://elsewhere.example"})
    assert answer.status_code == 400
    assert sender.client.get("/sources/fresh").status_code == 404


def test_a_connection_has_a_page_of_its_own_where_sources_have_theirs(house):
    client = house.client(farm_seed.ADMIN)
    assert client.get("/sources/acme").location == "/connections/acme"
    assert client.get("/connections/widget").status_code == 404
    page = client.get("/sources").text
    assert "acme/offered-thing" in page
    assert "acme/plain-thing" not in page
    assert "acme/plain-thing" in client.get("/connections/acme").text


def test_a_refused_source_says_why(house):
    answer = Sender(house, farm_seed.ADMIN).send(
        "/sources", name="Not a name", url="https://git.example/a.git"
    )
    assert answer.status_code == 400
    assert "cannot be the name of a source" in answer.text


def test_cancelling_hurries_the_end_of_what_runs(house, monkeypatch):
    withdrawn = []
    monkeypatch.setattr(type(house.farm.queues), "withdraw", lambda _self, *work: withdrawn.append(work[1]))
    Sender(house, farm_seed.ADMIN).send("/builds/{running}/cancel")
    with house.farm.database.read() as session:
        build = build_detail(session, house.seed.builds["running"])
    assert withdrawn
    assert set(withdrawn) <= {job.id for job in build.jobs}


def test_building_again_takes_the_same_commit(house):
    answer = Sender(house, farm_seed.ADMIN).send("/builds/{failed}/again")
    with house.farm.database.read() as session:
        new = build_detail(session, answer.location.rpartition("/")[2])
        old = build_detail(session, house.seed.builds["failed"])
    assert (new.source, new.ref, new.commit) == (old.source, old.ref, old.commit)
    assert (new.trigger, new.actor, new.state) == ("manual", farm_seed.ADMIN, "queued")


def test_the_confirmation_tells_what_a_promotion_changes_before_it_does(house):
    sender = Sender(house, farm_seed.ADMIN)
    page = sender.client.get("/projects/widget/1.2.0/promote?from=dev&to=staging").text
    assert "<td>1.3.0</td>" in page
    assert page.count(".whl</code>") == 6
    with house.farm.database.read() as session:
        assert release_detail(session, "widget", "1.2.0").channels[1].files == 0
    sender.send("/projects/widget/1.2.0/promote", **{"from": "dev", "to": "staging"})
    with house.farm.database.read() as session:
        assert release_detail(session, "widget", "1.2.0").channels[1].files == 6
    again = sender.client.get("/projects/widget/1.2.0/promote?from=dev&to=staging").text
    assert "Nothing would change" in again


def test_a_yank_shows_its_reason_on_the_page(house):
    sender = Sender(house, farm_seed.ADMIN)
    sender.send("/projects/widget/1.3.0/yank", reason=farm_seed.HOSTILE)
    page = sender.client.get("/projects/widget/1.3.0").text
    assert "Yanked.</strong> &lt;script&gt;" in page
    assert "Promote to stable" not in page


def test_a_delivery_is_replayed_by_its_button_and_a_rejected_one_has_none(house):
    sender = Sender(house, farm_seed.ADMIN)
    path = f"/deliveries/{house.seed.accepted}"
    assert f'action="{path}/replay"' in sender.client.get(path).text
    with house.farm.database.begin() as session:
        delivery = session.get_one(Delivery, house.seed.accepted)
        delivery.headers = {"Content-Type": "application/json", "X-GitHub-Event": "push"}
        push = {"ref": "refs/tags/v1.3.0", "before": "1" * 40, "after": "2" * 40}
        delivery.body = json.dumps(push).encode()
    answer = sender.send(f"{path}/replay")
    assert (answer.status_code, answer.location.startswith("/builds/")) == (303, True), answer.text
    assert sender.send(f"{path}/replay", token="foreign").status_code == 403
    assert "/replay" not in sender.client.get(f"/deliveries/{house.seed.rejected}").text
