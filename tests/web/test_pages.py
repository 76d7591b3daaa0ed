"""Every page, for everybody: who sees it, and that it holds nothing the content policy forbids."""

import gzip
import re

import farm_seed
import pytest

from buildfarm.farm.show import build_detail
from webapp.app import CONTENT_SECURITY_POLICY
from webapp.pages import builds

PAGES = [
    "/",
    "/sources",
    "/sources/widget",
    "/sources/gadget",
    "/sources/sprocket",
    "/sources/widget/why",
    "/connections/acme",
    "/sources/gadget/why?of=try/zstd",
    "/deliveries",
    "/deliveries?search=main+2026-11-29",
    "/deliveries?state=rejected&source=gadget",
    "/deliveries/{accepted}",
    "/deliveries/{rejected}",
    "/builds",
    "/builds?state=failed",
    "/jobs/{failed_job}",
    "/jobs/{failed_job}?line=12",
    "/jobs/{running_job}",
    "/jobs/{queued_job}",
    "/jobs/{retried_job}",
    "/jobs/{retried_job}/attempts/1",
    "/jobs/{good_job}",
    "/projects",
    "/projects?q=wid",
    "/projects/widget",
    "/projects/gadget",
    "/projects/widget/1.2.0",
    "/projects/widget/1.3.0",
    "/queue",
    "/mirrors",
    "/mirrors/rules",
    "/mirrors/rules/science",
    "/waves",
    "/waves/wave-1",
    "/pr-widget-17/",
    "/waves/preview?trigger=project&subject=setuptools==99&channel=dev",
    "/account",
]
INLINE = re.compile(r"<script(?![^>]* src=)|<style|\sstyle\s*=|\son[a-z]+\s*=|javascript:", re.IGNORECASE)
TEXT = re.compile(r">[^<]*<|\"[^\"]*\"")


def filled(page: str, seed: farm_seed.Seed) -> str:
    return page.format(**{name: value for name, value in vars(seed).items() if isinstance(value, str)})


@pytest.mark.parametrize("page", PAGES)
def test_who_is_not_logged_in_is_sent_to_the_login_and_back(shown, page):
    path = filled(page, shown.seed)
    answer = shown.client().get(path)
    assert answer.status_code == 302
    assert answer.location.startswith("/login?next=")
    assert b"widget" not in answer.data.replace(path.encode(), b"")


@pytest.mark.parametrize("name", [farm_seed.MEMBER, farm_seed.ADMIN])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_opens_under_the_policy_and_holds_nothing_inline(shown, page, name):
    answer = shown.client(name).get(filled(page, shown.seed))
    assert answer.status_code == 200
    assert answer.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
    assert answer.headers["Cache-Control"] == "private, no-store"
    # What people wrote is in texts and attribute values; the tags that are left are ours.
    assert not INLINE.search(TEXT.sub("><", answer.text))
    assert farm_seed.HOSTILE not in answer.text
    assert "<img" not in answer.text


def test_a_release_shows_what_the_validator_found_and_what_judged(shown):
    page = shown.client(farm_seed.MEMBER).get("/projects/widget/1.3.0").text
    assert "N-06: &lt;script&gt;" in page
    assert 'title="packaging 26.3">judged by rules 3 in 12 ms' in page
    assert "refused today</span> <small>Z-01: &lt;script&gt;" in page


def test_the_first_page_names_files_that_the_rules_refuse_today(shown):
    page = shown.client(farm_seed.MEMBER).get("/").text
    assert re.search(r'<a href="/projects/widget/1.3.0"><code>widget-1.3.0[^<]*</code></a> Z-01: &lt;', page)


def test_every_build_opens_whatever_its_state(shown):
    client = shown.client(farm_seed.MEMBER)
    for build in shown.seed.builds.values():
        answer = client.get(f"/builds/{build}")
        assert answer.status_code == 200
        assert "<img" not in answer.text


def test_a_source_shows_its_requests_and_who_may_not_approve_gets_no_button(shown):
    waiting = r'<input type="hidden" name="commit" value="(f0f0[f0]+)"><button>'
    assert re.findall(waiting, shown.client(farm_seed.ADMIN).get("/sources/widget").text)
    page = shown.client(farm_seed.MEMBER).get("/sources/widget").text
    assert "waits for approval" in page
    assert re.search(r'<a href="/pr-widget-17/">pr-widget-17</a> <span class="muted">until <', page)
    assert not re.findall(waiting, page)
    build = shown.client(farm_seed.ADMIN).get(f"/builds/{shown.seed.builds['old1']}").text
    assert "Of pull request 17" in build
    assert "/compare" not in build


def test_who_may_only_look_gets_no_forms_that_would_be_refused(shown):
    client = shown.client(farm_seed.MEMBER)
    for page in (
        "/sources",
        "/sources/widget",
        "/projects/widget/1.3.0",
        f"/builds/{shown.seed.builds['failed']}",
    ):
        forms = re.findall(r'<form method="post" action="([^"]+)"', client.get(page).text)
        assert set(forms) == {"/theme", "/logout"}, page


def test_a_failed_build_quotes_the_telling_line_and_links_to_it(shown):
    page = shown.client(farm_seed.MEMBER).get(f"/builds/{shown.seed.builds['failed']}").text
    target = f"/jobs/{shown.seed.failed_job}?line=13#L13"
    assert f'<a class="telling" href="{target}"><code>{farm_seed.FAILURE}</code></a>' in page
    log = shown.client(farm_seed.MEMBER).get(target).text
    assert "failed here" in log
    assert f"<code>buildfarm job reproduce {shown.seed.failed_job} --attempt 1 --run</code>" in log
    for text in (page, log):
        assert '<span class="cause">missing-header</span>' in text
        assert "Name the package that has the header in the recipe" in text
    assert re.search(r'<li id="L13"[^>]* class=hit>.*fatal error: zstd.h', log)


def test_a_failed_job_says_what_is_different_since_the_last_good_one(shown):
    text = shown.client(farm_seed.MEMBER).get(f"/jobs/{shown.seed.failed_job}").text
    rows = re.findall(r"<tr><td>(.*?)</td></tr>", text)
    cells = [re.sub(r"<[^>]+>", " ", row.replace("</td><td", " | <td")).split() for row in rows]
    assert cells == [
        ["commit", "|", "4d1f4d1f4d1f", "|", "83b4ac24535c"],
        ["recipe", "|", "0dd10dd10dd1", "|", "7ec17ec17ec1"],
        ["pytest", "|", "9.0.1", "|", "not", "read"],
        ["setuptools", "|", "83.0.0", "|", "84.2.1"],
    ]
    assert "the last good one" not in shown.client(farm_seed.MEMBER).get(f"/jobs/{shown.seed.good_job}").text


def test_a_rejected_delivery_names_the_remedy_and_the_step_that_failed(shown):
    page = shown.client(farm_seed.MEMBER).get(f"/deliveries/{shown.seed.rejected}").text
    assert "none of the source&#39;s live secrets made it" in page
    assert "Copy the secret into the SCM again" in page
    assert "X-Hub-Signature-256 was made with another secret" in page


def test_an_empty_farm_shows_the_first_steps_and_a_full_one_does_not(shown, bare):
    assert "From an empty farm to" in bare.client(farm_seed.ADMIN).get("/").text
    assert "From an empty farm to" not in shown.client(farm_seed.ADMIN).get("/").text


def test_lists_go_on_where_the_page_before_ended(shown):
    client = shown.client(farm_seed.MEMBER)
    newest = client.get("/builds").text
    rows = re.findall(r'<a class="strong" href="/builds/(bld_\d+)"', newest)
    assert rows == sorted(rows, reverse=True)
    older = client.get(f"/builds?before={rows[4]}").text
    assert re.findall(r'<a class="strong" href="/builds/(bld_\d+)"', older) == rows[5:]


def test_what_is_not_there_is_a_page_with_a_sentence(shown):
    client = shown.client(farm_seed.MEMBER)
    for path, code in (
        ("/nowhere", "http.404"),
        ("/builds/bld_no", "build.unknown"),
        ("/sources/no", "source.unknown"),
        ("/projects/no", "project.unknown"),
        ("/projects/widget/9", "release.unknown"),
        ("/jobs/job_no", "job.unknown"),
        ("/deliveries/no", "delivery.unknown"),
    ):
        answer = client.get(path)
        assert answer.status_code == 404
        assert f"<code>{code}</code>" in answer.text


def test_a_bad_credential_is_answered_with_a_page_too(shown):
    answer = shown.client().get("/nowhere", headers={"Authorization": "Bearer nonsense"})
    assert answer.status_code == 404


def test_static_files_with_their_digest_are_kept_for_ever_and_others_are_not(shown):
    page = shown.client().get("/login").text
    (style,) = re.findall(r'href="(/static/app.css[^"]*)"', page)
    assert "immutable" in shown.client().get(style).headers["Cache-Control"]
    assert shown.client().get("/static/app.css").headers["Cache-Control"] == "no-cache"


def test_a_page_weighs_little(shown):
    client = shown.client(farm_seed.ADMIN)
    files = {"/", *re.findall(r'"(/static/[^"#]+)', client.get("/").text)}
    assert sum(len(gzip.compress(client.get(file).data)) for file in files) < 40_000


def test_jobs_are_a_matrix_only_where_that_says_more_than_a_list(shown):
    with shown.farm.database.read() as session:
        jobs = build_detail(session, shown.seed.builds["published 1.3.0"]).jobs
    whole = builds.matrix(jobs)
    assert whole is not None
    assert (len(whole.interpreters), len(whole.platforms), len(whole.cells)) == (3, 2, 6)
    diagonal = [
        job for job in jobs if job.target in {"cp311-manylinux_2_28_x86_64", "cp312-musllinux_1_2_x86_64"}
    ]
    assert len(diagonal) == 2
    assert builds.matrix(diagonal) is None
    assert builds.matrix(jobs[:1]) is builds.matrix([]) is None


def test_a_release_shows_its_description_and_what_is_wrong_with_it(shown):
    client = shown.client(farm_seed.MEMBER)
    page = client.get("/projects/widget/1.2.0").text
    assert '<article class="card description"><h1 id="user-content-widget">Widget' in page
    assert '<a href="https://widget.example" rel="nofollow">all of it</a>' in page
    page = client.get("/projects/widget/1.3.0").text
    assert "does not render as its author meant it: line 2: Bullet list ends" in page
    assert "* a<br>b" in page
