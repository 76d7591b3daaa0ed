"""A person's way through the farm, in a real browser."""

import re

import farm_seed
import pytest
from playwright.sync_api import expect

from buildfarm import clock
from buildfarm.farm.model import Attempt, Job
from buildfarm.farm.rules import State

pytestmark = pytest.mark.browser


def test_from_home_to_the_failing_line(site):
    page = site.visit()
    page.click("#lines >> text=gadget")
    expect(page.locator("#notices")).to_contain_text("The last delivery was rejected")
    page.click("#deliveries >> text=request")
    expect(page.locator(".notice")).to_contain_text("Copy the secret into the SCM again")
    page.click("text=Builds")
    page.click("a.strong:text('gadget #2')")
    page.click(".telling")
    expect(page.locator("#L13")).to_be_in_viewport()
    expect(page.locator("#L13")).to_have_class(re.compile("hit"))
    expect(page.locator("details[data-phase=build]")).to_have_attribute("open", "")
    expect(page.locator("details[data-phase=deps]")).not_to_have_attribute("open", "")
    assert site.troubles == []


def test_a_running_log_grows_without_reload_and_ends(site):
    page = site.visit()
    page.goto(f"/jobs/{site.seed.running_job}")
    page.evaluate("window.kept = true")
    site.say("build", "gcc \x1b[32mone\x1b[0m\n")
    expect(page.locator("#L13 .c32")).to_have_text("one")
    site.say("test", "<b>116 passed</b>\n")
    expect(page.locator("details[data-phase=test] #L14")).to_contain_text("<b>116 passed</b>")
    with site.farm.database.begin() as session:
        session.get_one(Attempt, (site.seed.running_job, 1)).state = State.SUCCEEDED
        job = session.get_one(Job, site.seed.running_job)
        job.state, job.finished_at = State.SUCCEEDED, clock.now()
    expect(page.locator("#head .badge")).to_have_text("succeeded")
    assert page.evaluate("window.kept")
    assert site.troubles == []


def test_a_log_goes_on_after_the_web_process_was_killed(site):
    page = site.visit()
    page.goto(f"/jobs/{site.seed.running_job}")
    page.evaluate("window.kept = true")
    site.say("build", "before\n")
    expect(page.locator("#L13")).to_contain_text("before")
    site.server.kill()
    site.say("build", "meanwhile\n")
    site.server.start()
    site.say("build", "after\n")
    expect(page.locator("#L15")).to_contain_text("after")
    numbers = page.locator(".chunk li > a").all_inner_texts()
    assert [int(number) for number in numbers if number] == sorted(
        {int(number) for number in numbers if number}
    )
    assert page.locator("text=meanwhile").count() == 1
    assert page.evaluate("window.kept")


def test_following_lets_go_when_the_reader_scrolls_up(site, until):
    page = site.visit()
    site.say("build", "".join(f"line {index}\n" for index in range(200)))
    page.goto(f"/jobs/{site.seed.running_job}")
    site.say("build", "last\n")
    expect(page.locator("#L213")).to_be_in_viewport()
    place = page.evaluate("scrollY") - 1500
    page.mouse.move(600, 400)
    page.mouse.wheel(0, -1500)
    expect(page.locator("#follow")).not_to_be_checked()
    until(lambda: abs(page.evaluate("scrollY") - place) < 5)  # it may glide there
    site.say("build", "more\n")
    expect(page.locator("#L214")).to_be_attached()
    assert abs(page.evaluate("scrollY") - place) < 5
    page.check("#follow")
    until(lambda: page.evaluate("innerHeight + scrollY >= document.body.scrollHeight - 60"))


def test_a_page_that_gets_no_connection_polls(site):
    page = site.visit()
    page.route("**/events?*", lambda route: route.fulfill(status=503, body="busy"))
    page.goto(f"/jobs/{site.seed.running_job}")
    site.say("build", "polled\n")
    expect(page.locator("#L13")).to_contain_text("polled")


def test_a_line_of_a_long_log_opens_by_its_link_and_gaps_open_by_click(site):
    for start in range(0, 6000, 500):
        site.say("build", "".join(f"line {start + index}\n" for index in range(500)))
    page = site.visit()
    page.goto(f"/jobs/{site.seed.running_job}#L3000")
    expect(page.locator("#L3000")).to_be_in_viewport()
    expect(page.locator("#L3000")).to_have_class(re.compile("chosen"))
    assert page.locator("#L2000").count() == 0
    page.locator(".gap a").first.click()
    expect(page.locator("#L1000")).to_be_attached()
    page.goto(f"/jobs/{site.seed.running_job}?line=3000#L3000-L3004")
    expect(page.locator(".chosen")).to_have_count(5)
    assert site.troubles == []


def test_promoting_through_the_form_and_taking_it_back(site):
    page = site.visit()
    page.goto("/projects/widget")
    page.click("text=1.3.0 >> nth=0")
    page.click("text=Promote to stable")
    expect(page.locator("main")).to_contain_text("nothing of widget")
    page.click("button:text('Promote to stable')")
    expect(page.locator("[role=status]")).to_contain_text("every client sees it now")
    expect(page.locator(".rungs").first).not_to_contain_text("not there")
    page.locator("button:text('Undo')").first.click()
    expect(page.locator("[role=status]")).to_contain_text("undone")
    expect(page.locator(".rungs").first).to_contain_text("not there")
    assert site.troubles == []


def test_copying_the_theme_and_the_slash_key(site):
    page = site.visit(permissions=["clipboard-read", "clipboard-write"])
    page.goto("/projects/widget/1.3.0")
    page.locator(".snippet .copy").first.click()
    assert page.evaluate("navigator.clipboard.readText()").startswith("pip install --index-url")
    page.click("button[value=dark]")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    assert page.evaluate("getComputedStyle(document.documentElement).backgroundColor") == "rgb(20, 23, 28)"
    page.reload()
    assert page.locator("html").get_attribute("data-theme") == "dark"
    page.keyboard.press("/")
    page.keyboard.type("gad")
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_contain_text("gadget")
    assert site.troubles == []


def test_a_build_page_follows_its_build(site):
    page = site.visit()
    page.goto(f"/builds/{site.seed.builds['running']}")
    page.evaluate("window.kept = true")
    page.click("button:text('Cancel')")
    expect(page.locator("#head")).to_contain_text("asked to end")
    with site.farm.database.begin() as session:
        session.get_one(Job, site.seed.running_job).phase = "repair"
    expect(page.locator("#jobs")).to_contain_text("repair")
    assert site.troubles == []


def test_without_scripts_everything_is_readable_and_forms_work(site):
    page = site.visit(java_script_enabled=False)
    page.goto(f"/jobs/{site.seed.running_job}")
    expect(page.locator("#L12")).to_contain_text("gcc -Wall")
    assert 'http-equiv="refresh"' in page.content()
    page.goto("/sources/widget")
    expect(page.locator(".copy").first).to_be_hidden()
    page.fill("#ref", "main")
    page.click("button:text('Build')")
    expect(page.locator("h1")).to_contain_text("widget #11")
    page.click("button[value=dark]")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")


def test_somebody_who_may_only_look_finds_their_way(site):
    page = site.visit(farm_seed.MEMBER)
    for link in ("Builds", "Deliveries", "Sources", "Projects", "Queue"):
        page.click(f"nav >> text={link}")
        expect(page.locator("h1")).to_have_text(link)
    page.click(f"text={farm_seed.MEMBER}")
    page.fill("#token-name", "laptop")
    page.click("button:text('Make token')")
    expect(page.locator("[role=status] code")).to_contain_text("bft_")
    assert site.troubles == []
