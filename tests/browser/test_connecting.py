"""Connecting a repository in the browser: the form, what a worker does, and the steps that the page shows."""

import hashlib
import hmac
import json
import threading
from collections.abc import Iterator

import pytest
import requests
from playwright.sync_api import expect
from sqlalchemy import select

from buildfarm.farm import claims
from buildfarm.farm.model import Task
from buildfarm.scm.hooking.perform import Performer
from tests.scm.forge_server import Answer, Call, ForgeServer

pytestmark = pytest.mark.browser


class Ghe(ForgeServer):
    """A GitHub that calls the hook when it is asked to ping it."""

    def __init__(self, farm_url: str) -> None:
        super().__init__("github", "/api/v3")
        self.farm_url, self.secret, self.pings = farm_url, "", []
        self.judge = self._judge

    def close(self) -> None:
        super().close()
        for ping in self.pings:
            ping.join(30)

    def _judge(self, call: Call) -> Answer | None:
        if call.body and "config" in call.body:
            self.secret = call.body["config"]["secret"]
        if call.operation == "repos/list-webhooks":
            return 200, {}, [one for key, one in self.made.items() if "/hooks/" in key]
        if call.operation == "repos/ping-webhook":
            self.pings.append(threading.Thread(target=self._ping))
            self.pings[-1].start()
        return None

    def _ping(self) -> None:
        body = json.dumps({"zen": "Design for failure.", "hook_id": 1}).encode()
        signature = hmac.new(self.secret.encode(), body, hashlib.sha256).hexdigest()
        headers = {
            "Content-Type": "application/json", "X-GitHub-Event": "ping",
            "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "X-Hub-Signature-256": f"sha256={signature}",
        }  # fmt: skip
        requests.post(f"{self.farm_url}/hooks/fresh", data=body, headers=headers, timeout=60)


@pytest.fixture
def ghe(site) -> Iterator[Ghe]:
    server = Ghe(site.server.url)
    yield server
    server.close()


def work(site) -> None:
    """Do what was ordered about a hook, as the worker that speaks to SCMs does."""
    with site.farm.database.begin() as session:
        task = session.scalars(select(Task).where(Task.kind == "hook", Task.state == "queued")).one()
        claims.claim(session, Task, task.id, task.attempt)
    Performer(site.farm.database, site.server.url, (task.id, task.attempt)).perform(task.subject)


@pytest.mark.parametrize("scripts", [True, False], ids=["scripts", "no-scripts"])
def test_a_repository_is_connected_by_one_form_and_each_step_is_seen(site, ghe, scripts):
    page = site.visit(java_script_enabled=scripts)
    page.goto("/sources")
    page.click("#add summary")
    page.fill("#name", "fresh")
    page.fill("#url", "https://ghe.example/acme/fresh.git")
    page.select_option("#scm", "github")
    page.fill("#token", ghe.token)
    page.fill("#api-url", ghe.url + "/api/v3")
    page.click("button:text('Add source')")
    steps = page.get_by_role("list", name="Steps").get_by_role("listitem")
    expect(steps).to_have_count(4)
    expect(steps.nth(1)).to_contain_text("It is being installed by a worker.")
    work(site)
    page.reload()
    for number, sentence in enumerate(
        ["The farm speaks to", "It is in the SCM", "It came after", "A call came in"]
    ):
        expect(steps.nth(number)).to_contain_text(sentence)
        expect(steps.nth(number)).to_have_class("good")
    expect(page.locator("#connected")).to_contain_text("good")
    assert ghe.wrong == []
    assert site.troubles == []


def test_what_the_scm_refuses_is_said_at_its_step(site, ghe):
    ghe.before = lambda _method, _path: (401, {}, {"message": "Bad credentials"})
    page = site.visit()
    page.goto("/sources")
    page.click("#connect summary")
    page.fill("#c-name", "umbrella")
    page.fill("#c-url", "https://ghe.example/umbrella")
    page.select_option("#c-scm", "github")
    page.fill("#c-token", ghe.token)
    page.fill("#c-api-url", ghe.url + "/api/v3")
    page.click("button:text('Connect')")
    work(site)
    page.reload()
    step = page.get_by_role("list", name="Steps").get_by_role("listitem").nth(1)
    expect(step).to_contain_text("does not take the token")
    expect(step).to_have_class("bad")


def test_an_offered_repository_is_accepted_or_dismissed_by_one_button(site):
    page = site.visit()
    page.goto("/sources")
    page.click("#offered >> button:text('Accept')")
    expect(page.locator("h1")).to_have_text("offered-thing")
    expect(page.locator("#notices")).to_contain_text("is not built: offered-thing may publish no project.")
    page.goto("/connections/acme")
    page.get_by_role("region", name="acme/plain-thing").get_by_role("button", name="Dismiss").click()
    expect(page.locator("h1")).to_have_text("Sources")
    page.goto("/connections/acme")
    expect(page.get_by_role("region", name="acme/plain-thing")).to_contain_text("dismissed")
    assert site.troubles == []
