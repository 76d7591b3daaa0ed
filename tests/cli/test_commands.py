"""Each noun against a live farm: what it prints, as JSON and for people, and how it ends."""

import io
import re
import stat
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.cli import source_hook
from buildfarm.farm import claims, jobs
from buildfarm.farm.model import Build, Comparison, Job, Task
from buildfarm.scm.forges.model import ForgeAccess
from buildfarm.scm.hooking import perform
from buildfarm.scm.offered.model import OfferedRepository
from buildfarm.sources import show
from tests.scm.forge_server import ForgeServer
from tests.waiting import wait_for


def test_a_source_is_added_with_what_the_scm_needs(run):
    made = run("source", "add", "gadget", "file:///srv/gadget.git", "--project", "gadget", "--json")
    assert made.code == 0
    assert {"hook_url", "secret", "signing_token"} <= set(made.json)
    shown = run("source", "show", "gadget")
    assert "http://farm.example/hooks/gadget" in shown.out
    assert made.json["secret"] not in shown.out
    assert run("source", "add", "gadget", "file:///srv/gadget.git").code == 1


def test_a_credential_comes_from_files_and_is_never_printed(run, tmp_path):
    (tmp_path / "password").write_text("canary-4711\n")
    given = ("--username", "robot", "--password-file", str(tmp_path / "password"))
    url = "https://git.example/acme/gadget.git"
    made = run("source", "add", "gadget", url, *given, "--json")
    assert made.json["credential"]["kind"] == "password"
    again = run("source", "set-credential", "gadget", *given)
    assert again.out == "The source gadget has a credential: password.\n"
    shown = run("source", "show", "gadget")
    assert "robot" in shown.out
    assert run("source", "set-credential", "gadget").code == 2
    gone = run("source", "remove-credential", "gadget")
    assert gone.out == "The credential of gadget is forgotten.\n"
    assert run("source", "remove-credential", "gadget").code == 1
    assert not [one for one in (made, again, shown) if "canary" in one.out + one.err]


def test_a_token_for_the_scm_comes_from_a_file_or_stdin_and_is_never_printed(run, tmp_path):
    (tmp_path / "token").write_text("canary-4711\n")
    given = ("--scm", "github", "--scm-token-file", str(tmp_path / "token"))
    url = "https://ghe.example/acme/gadget.git"
    made = run("source", "add", "gadget", url, *given, "--json")
    assert made.code == 0
    again = run("source", "set-scm-token", "gadget", "--token-file", str(tmp_path / "token"))
    assert again.out == "Builds of gadget are told to https://ghe.example/api/v3.\n"
    shown = run("source", "show", "gadget")
    assert "https://ghe.example/api/v3  0 waiting" in shown.out
    lonely = run("source", "add", "other", url, "--scm-api-url", "https://api.ghe.example")
    assert (lonely.code, "--scm-token-file" in lonely.err) == (2, True)
    gone = run("source", "remove-scm-token", "gadget")
    assert gone.out == "The SCM of gadget is told nothing more.\n"
    assert run("source", "remove-scm-token", "gadget").code == 1
    assert not [one for one in (made, again, shown) if "canary" in one.out + one.err]


def test_the_hook_is_made_with_the_source_and_what_is_wrong_with_it_is_said(run, full, tmp_path, monkeypatch):
    monkeypatch.setattr(perform, "_PING_S", 0.1)  # nobody calls this farm
    monkeypatch.setattr(source_hook, "_LOOK_S", 0.05)
    ghe = ForgeServer("github", "/api/v3")
    (tmp_path / "token").write_text(ghe.token)
    database = full.farm.database

    def ordered():
        with database.read() as session:
            query = select(Task).where(Task.kind == "hook", Task.state == "queued")
            return session.scalars(query).first()

    def work():
        task = wait_for(ordered)
        with database.begin() as session:
            claims.claim(session, Task, task.id, task.attempt)
        perform.Performer(database, "http://farm.example", (task.id, task.attempt)).perform(task.subject)

    url, given = "https://ghe.example/acme/gadget.git", ("--scm-token-file", str(tmp_path / "token"))
    with ThreadPoolExecutor() as worker:
        working = worker.submit(work)
        made = run(
            "source", "add", "gadget", url, "--scm", "github", *given, "--scm-api-url", ghe.url + "/api/v3",
            "--install-hook", "--json",
        )  # fmt: skip
        working.result(60)
        assert made.code == 1
        hook_id = made.json["hook"]["health"]["hook_id"]
        ghe.before = lambda _method, _path: (401, {}, {"message": "Bad credentials"})
        working = worker.submit(work)
        kept = run("source", "remove", "gadget", "--remove-hook")
        working.result(60)
        assert (kept.code, "[hook.not_removed]" in kept.err, "does not take the token" in kept.err) == (
            1,
            1,
            1,
        )
        shown = run("source", "hook", "show", "gadget")
        assert "LAST" in shown.out
        assert "forge.token_refused" in shown.out
        ghe.before = lambda _method, _path: None
        working = worker.submit(work)
        gone = run("source", "remove", "gadget", "--remove-hook")
        working.result(60)
    assert gone.out == f"The source gadget is removed. Its hook {hook_id} was removed from the SCM.\n"
    assert not [key for key in ghe.made if "/hooks/" in key]
    ghe.close()
    assert made.json["hook"]["health"]["ping"] == "lost"
    assert len(ghe.of("repos/create-webhook")) == 1
    assert "No call came within" in made.json["hook"]["health"]["ping_detail"]
    assert run("source", "hook", "check", "widget").code == 1  # it has no token
    assert run("source", "add", "other", url, "--install-hook").code == 2


def test_a_hook_that_stays_behind_is_named(run, full, tmp_path):
    (tmp_path / "token").write_text("canary-4711\n")
    given = ("--scm", "github", "--scm-token-file", str(tmp_path / "token"))
    run("source", "add", "gadget", "https://ghe.example/acme/gadget.git", *given)
    with full.farm.database.begin() as session:
        session.scalars(select(ForgeAccess)).one().hook_id = "12"
    rotated = run("source", "rotate", "gadget")
    assert "`buildfarm source hook repair gadget` gives it these." in rotated.err
    assert run("source", "rotate", "widget").err == ""
    left = "Its hook 12 is still in the SCM and calls in vain: remove it there."
    assert run("source", "remove", "gadget").out == f"The source gadget is removed. {left}\n"
    assert run("source", "remove", "gadget").err.startswith(
        "buildfarm: There is no source gadget. [source.unknown]"
    )


def test_a_connection_is_added_shown_rotated_and_removed(run, tmp_path):
    (tmp_path / "token").write_text("canary-4711\n")
    given = ("--scm", "github", "--branch", "main", "--scm-token-file", str(tmp_path / "token"))
    made = run("connection", "add", "acme", "https://ghe.example/acme", *given, "--json")
    assert made.code == 0
    assert made.json["hook_url"] == "http://farm.example/hooks/acme"
    assert run("connection", "add", "acme", "https://ghe.example/acme", *given).code == 1
    assert "https://ghe.example/acme" in run("connection", "list").out
    assert "http://farm.example/hooks/acme" in run("connection", "show", "acme").out
    assert "Nobody has asked about it yet" in run("connection", "hook", "show", "acme").out
    assert run("source", "rotate", "acme", "--json").json["secret"] != made.json["secret"]
    assert run("source", "show", "acme").code == 1
    assert [row["name"] for row in run("source", "list", "--json").json["items"]] == ["widget"]
    assert run("connection", "add", "other", "https://ghe.example/other", "--install-hook").code == 2
    assert run("connection", "remove", "acme").out == "The connection acme is removed.\n"
    assert run("connection", "show", "acme").code == 1


def test_offered_repositories_are_listed_accepted_and_dismissed(run, full):
    run("connection", "add", "acme", "https://ghe.example/acme", "--scm", "github", "--branch", "main")
    urls = [f"https://ghe.example/acme/{name}.git" for name in ("gadget", "sprocket", "cog", "bolt")]
    with full.farm.database.begin() as session:
        connection = show.get_connection(session, "acme")
        for number, url in enumerate(urls):
            session.add(
                OfferedRepository(
                    id=f"ofr_{number}", connection_id=connection.id, path="acme/thing", url=url,
                    ref="refs/heads/main", state="offered", recipes=["default"], told_at=clock.now(),
                )
            )  # fmt: skip
    assert all(url in run("source", "offered").out for url in urls)
    accepted = run("source", "accept", urls[0], "--name", "gadget", "--project", "gadget", "--json")
    assert (accepted.json["name"], accepted.json["projects"]) == ("gadget", ["gadget"])
    told = run("source", "accept", urls[2], "--name", "cog").out
    assert "buildfarm source grant cog PROJECT" in told
    assert "[offer.nothing_granted]" in told
    told = run("source", "accept", urls[3], "--name", "bolt", "--project", "bolt").out
    assert "What was pushed is built: http://farm.example/builds/bld_" in told
    assert run("source", "dismiss", urls[1]).out == "acme/thing is offered no more.\n"
    assert run("source", "offered", "--json").json["items"] == []
    assert len(run("source", "offered", "--all", "--json").json["items"]) == 4
    assert run("source", "accept", "https://ghe.example/acme/unheard.git").code == 1


def test_sources_are_listed_rotated_granted_and_removed(run):
    assert [row["name"] for row in run("source", "list", "--json").json["items"]] == ["widget"]
    assert "widget" in run("source", "list").out
    assert run("source", "rotate", "widget", "--json").json["secret"].startswith("whsec_")
    assert run("source", "grant", "widget", "widget-extra", "--json").json["projects"] == [
        "widget",
        "widget-extra",
    ]
    assert run("source", "remove", "widget").out == "The source widget is removed.\n"
    assert run("source", "list").err == "None.\n"


def test_what_a_source_follows_and_where_it_is_can_be_changed(run):
    told = run("source", "follow", "widget", "--branch", "main", "--branch", "release/*", "--path", "lib/*")
    followed = "branches main, release/*; tags *; only where lib/* changed; pull requests: own"
    assert told.out == f"widget follows {followed}.\n"
    back = run("source", "follow", "widget", "--path", "", "--tag", "v*", "--json").json
    assert (back["branches"], back["tags"], back["paths"]) == (["main", "release/*"], ["v*"], [])
    assert (
        run("source", "follow", "widget", "--pull-requests", "none", "--json").json["pull_requests"] == "none"
    )
    assert run("source", "follow", "widget", "--pull-requests", "all").code == 2
    moved = run("source", "move", "widget", "https://git.example/acme/moved.git")
    assert moved.out == "The source widget is at https://git.example/acme/moved.git.\n"
    assert run("source", "move", "widget", "ftp://git.example/x.git").code == 2


def test_a_generic_source_is_told_how_its_sender_signs(run):
    given = ("--scm", "generic", "--signature-header", "X-Acme-Signature", "--signature-prefix", "sha256=")
    pointers = ("--pointer", "ref=/push/ref", "--pointer", "commit=/push/new")
    made = run("source", "add", "gadget", "https://git.example/gadget.git", *given, *pointers, "--json")
    assert made.code == 0
    assert made.json["scm_settings"]["signature"] == {"header": "X-Acme-Signature", "prefix": "sha256="}
    assert "X-Acme-Signature" in run("source", "show", "gadget").out
    bad = run("source", "add", "other", "https://git.example/x.git", *given, "--pointer", "ref=push")
    assert (bad.code, "pointers" in bad.err) == (2, True)


def test_why_walks_to_one_sentence_and_deliveries_are_searched(run):
    told = run("why", "widget", "v1.0")
    assert told.code == 0
    assert "The source follows it." in told.out
    assert told.out.splitlines()[-1].startswith("Build #")
    answer = run("why", "widget", "topic", "--json").json
    assert answer["sentence"] == "This branch or tag is not one that the source follows."
    assert [clue["name"] for clue in answer["clues"]] == ["followed", "delivery", "build", "sweep"]
    assert run("why", "nothing", "main").code == 1
    found = run("delivery", "list", "--search", "ada RELEASE", "--json").json["items"]
    assert [row["ref"] for row in found] == ["refs/tags/v1.0"]
    assert run("delivery", "list", "--search", "nowhere").err == "None.\n"


def test_the_hook_is_written_with_safe_modes(run, tmp_path):
    done = run("source", "hook", "script", "widget", "--into", str(tmp_path))
    assert done.code == 0
    script, config = tmp_path / "post-receive", tmp_path / "buildfarm-hook.json"
    assert stat.S_IMODE(script.stat().st_mode) == 0o755
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    assert "whsec_" in config.read_text()
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.startswith(".")) == []


def test_deliveries_say_why_and_what_next(run, full):
    assert full.delivery_id in run("delivery", "list").out
    shown = run("delivery", "show", "dlv_0000000000")
    assert "next" in shown.out
    assert (
        run("delivery", "list", "--state", "rejected", "--json").json["items"][0]["reason"]
        == "signature_wrong"
    )
    refused = run("delivery", "replay", "dlv_0000000000")
    assert refused.code == 1
    assert "only what was verified is replayed" in refused.err


def test_builds_are_listed_shown_and_cancelled(run, full):
    assert full.build_id in run("build", "list").out
    assert "widget #1" in run("build", "show", full.build_id).out
    assert run("build", "show", full.build_id, "--json").json["files"][0]["sha256"] == "d" * 64
    assert run("build", "cancel", full.build_id).code == 0
    assert run("build", "cancel", "bld_nothing").code == 1


def test_a_job_shows_what_it_made_and_read(run, full):
    shown = run("job", "show", full.job_id)
    assert "widget-1.0-cp313-cp313-linux_x86_64.whl" in shown.out
    assert "setuptools-84.0-py3-none-any.whl" in shown.out
    assert run("job", "show", full.job_id, "--json").json["attempts"][0]["builder"] == "builder-one"


def test_a_failed_job_says_what_went_wrong_where_and_what_to_do(run, full, web):
    with full.farm.database.begin() as session:
        job = session.get_one(Job, full.waiting_job_id)
        job.state, job.cause, job.failure_class, job.error_line = "failed", "user_code", "link", 212
    told = [" ".join(line.split()) for line in run("job", "show", full.waiting_job_id).out.splitlines()]
    assert "class link" in told
    assert f"line 212, {web.url}/jobs/{full.waiting_job_id}?line=212#L212" in told
    assert any(line.startswith("next Name the library") for line in told)
    assert run("job", "show", full.waiting_job_id, "--json").json["job"]["failure_class"] == "link"


def test_a_failed_job_is_held_against_the_last_good_one(run, full):
    with full.farm.database.begin() as session:
        good = session.get_one(Job, full.job_id)
        build = Build(
            id="bld_zzzzzzzzzzzz", number=2, source_id=good.build.source_id, trigger="manual", ref="main",
            commit="b" * 40, channel="dev", state="failed", created_at=clock.now(),
        )  # fmt: skip
        values = jobs.queued_values(good.source_id, good.queue, clock.now()) | {
            "state": "failed",
            "required": True,
        }
        session.add_all([build, Job(id="job_z", build=build, target=good.target, spec=good.spec, **values)])
    shown = run("job", "show", "job_z").out
    assert f"Since #1, the last good one ({full.job_id})\n" in shown
    assert re.search(f"commit +{'a' * 40}  {'b' * 40}\n", shown)
    assert re.search(r"setuptools +84\.0\n", shown)


def test_what_it_takes_to_run_an_attempt_again_is_said_with_the_command(run, full):
    shown = run("job", "reproduce", full.job_id)
    assert "ended       succeeded\n" in shown.out
    assert "read        1 files of the index\n" in shown.out
    again = f"buildfarm job reproduce {full.job_id} --attempt 1 --run --into {full.job_id}_1"
    assert shown.out.endswith(f"command     {again}\n")
    assert run("job", "reproduce", full.job_id, "--json").json["command"] == again
    early = run("job", "reproduce", full.waiting_job_id)
    assert (early.code, "No builder has taken" in early.err) == (1, True)
    assert run("job", "reproduce", full.job_id, "--attempt", "7").code == 1


def test_a_release_is_promoted_taken_down_and_yanked(run):
    shown = run("release", "show", "widget==1.0").out
    assert "from dev to staging" in shown
    assert "N-06: 1.0 is odd." in shown
    assert "12  rules 3, packaging 26.3" in shown
    made = run("release", "promote", "Widget==1.0", "--from", "dev", "--to", "staging", "--json")
    assert (made.code, made.json["to_channel"]) == (0, "staging")
    assert "dev staging" in run("project", "show", "widget").out
    again = run("release", "promote", "widget==1.0", "--from", "dev", "--to", "staging")
    assert (again.code, "holds widget 1.0 already" in again.err) == (1, True)
    assert made.json["id"] in run("promotion", "list").out
    assert run("promotion", "undo", made.json["id"]).code == 0
    assert run("release", "yank", "widget==1.0", "--reason", "broken", "--json").json["yanked"] is True
    assert run("release", "unyank", "widget==1.0").out == "widget 1.0 is not yanked.\n"


@pytest.mark.parametrize("text", ["widget", "==1.0", "widget==", "widget=1.0"])
def test_a_release_is_named_with_its_version(run, text):
    ended = run("release", "show", text)
    assert (ended.code, "is not NAME==VERSION" in ended.err) == (2, True)


def test_tokens_are_made_listed_and_revoked(run):
    made = run("token", "create", "--scope", "read:dev", "--scope", "build", "--json").json
    assert made["token"].startswith("bft_")
    assert made["scopes"] == ["build", "read:dev"]
    assert made["id"] in run("token", "list").out
    assert run("token", "revoke", made["id"]).code == 0
    assert run("token", "revoke", made["id"]).code == 1
    assert run("token", "create", "--scope", "fly").code == 2


def test_a_user_is_added_with_a_password_from_standard_input(run, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("a long password\n"))
    assert run("user", "add", "ada", "--admin", "--password-stdin", "--json").json["is_admin"] is True
    assert "ada" in run("user", "list").out


def test_builders_images_channels_projects_and_the_journal_are_listed(run):
    assert run("builder", "add", "builder-two", "--tier", "dev", "--json").json["token"].startswith("bft_")
    assert "builder-two" in run("builder", "list").out
    assert run("builder", "drain", "builder-two").code == 0
    assert run("builder", "list", "--json").json["items"][1]["drained_at"]
    assert "drained" not in run("builder", "undrain", "builder-two").out
    assert run("builder", "drain", "nobody").code == 1
    assert "manylinux_2_28_x86_64" in run("image", "list").out
    assert "http://farm.example/staging/simple/" in run("channel", "list").out
    assert run("project", "list", "-q", "widg", "--json").json["items"][0]["latest"] == "1.0"
    assert "publish" in run("journal", "list", "--limit", "200").out
    assert run("wave", "offers").err == "None.\n"
    assert run("wave", "offers", "--channel", "nowhere").code == 1
    assert run("journal", "checkpoint").out.endswith("farm.example\n1\n\n")


def test_a_list_says_that_there_is_more(run):
    listed = run("journal", "list", "--limit", "2")
    assert "go on after 2" in listed.err


def test_channels_are_made_changed_and_shown(run):
    made = run("channel", "add", "canary", "--json")
    assert (made.code, made.json["index_url"]) == (0, "http://farm.example/canary/simple/")
    assert run("channel", "add", "guarded", "--kind", "mirror").code == 0
    union = ("channel", "add", "all", "--kind", "union", "--part", "stable", "--part", "guarded")
    assert run(*union, "--public", "--json").json["parts"] == ["stable", "guarded"]
    assert run("channel", "set", "all", "--private", "--json").json["public"] is False
    assert run("channel", "show", "guarded", "--json").json["kind"] == "mirror"
    assert [row["name"] for row in run("channel", "list", "--json").json["items"]][-2:] == ["guarded", "all"]
    assert (run("channel", "set", "all").code, run("channel", "show", "none").code) == (2, 1)


def test_namespaces_are_reserved_shown_and_given_up(run):
    made = run("namespace", "add", "Acme", "--owner", "source:widget", "--json")
    assert (made.code, made.json["prefix"], made.json["owners"]) == (0, "acme", ["source:widget"])
    assert run("namespace", "add", "acme").code == 1
    assert "acme" in run("namespace", "list").out
    assert run("project", "add", "acme-one").code == 0
    assert run("namespace", "show", "acme", "--json").json["projects"] == ["acme-one"]
    assert run("namespace", "remove", "acme").out == "The namespace acme is given up.\n"


def test_a_project_is_added_and_marked_and_told_apart(run):
    added = run("project", "add", "w1dget")
    assert (added.code, added.err) == (0, "Mind: w1dget looks like widget.\n")
    marked = run("project", "status", "widget", "archived", "--reason", "See gadget.", "--json").json
    assert (marked["status"], marked["status_reason"]) == ("archived", "See gadget.")
    assert "archived" in run("project", "show", "widget").out


def test_a_release_is_withdrawn(run):
    assert run("release", "withdraw", "widget==1.0").code == 2
    done = run("release", "withdraw", "widget==1.0.0", "--reason", "A key leaked.")
    assert (done.code, done.out) == (0, "widget 1.0 is withdrawn.\n")
    assert "withdrawn" in run("release", "show", "widget==1.0").out
    assert run("release", "withdraw", "widget==1.0", "--reason", "Again.").code == 1


def _compare(house, is_equal: bool) -> None:
    """End the newest build that compares, as the farm does."""

    def newest() -> str | None:
        with house.farm.database.read() as session:
            found = select(Build.id).where(Build.compares_id == house.build_id, Build.title == "waited for")
            return session.scalars(found).first()

    build_id = wait_for(newest, "the second build")
    with house.farm.database.begin() as session:
        differences = [] if is_equal else [{"member": "widget/a.py", "what": "time"}]
        rebuilt = ("d" if is_equal else "e") * 64
        session.add(
            Comparison(
                build_id=build_id, filename="a.whl", sha256="d" * 64, job_id=house.job_id, attempt=1,
                builder="one", rebuilt_sha256=rebuilt, rebuilt_job_id="job_2", rebuilt_attempt=1,
                rebuilt_builder="two", is_equal=is_equal, differences=differences, compared_at=clock.now(),
            )
        )  # fmt: skip
        session.get_one(Build, build_id).state = "compared"


@pytest.mark.parametrize(("is_equal", "code", "word"), [(True, 0, "equal"), (False, 1, "differs")])
def test_a_build_is_compared_and_the_table_says_what_differs(run, full, is_equal, code, word):
    with full.farm.database.begin() as session:
        session.get_one(Build, full.build_id).state = "published"
    begun = run("build", "compare", full.build_id, "--json").json
    assert (begun["state"], begun["compares_id"]) == ("queued", full.build_id)
    with full.farm.database.begin() as session:
        session.get_one(Build, full.build_id).title = "waited for"
    with ThreadPoolExecutor() as pool:
        compared = pool.submit(_compare, full, is_equal)
        ended = run("build", "compare", full.build_id, "--wait")
        compared.result()
    assert (ended.code, word in ended.out) == (code, True), ended.err
    assert ("widget/a.py: time" in ended.out) is not is_equal


def test_the_farm_is_paused_and_resumed_and_who_waits_reads_why(run, full):
    assert run("queue", "show", "--json").json["paused"] is None
    assert "new disks" in run("queue", "pause", "--reason", "new disks").out
    assert run("queue", "show", "--json").json["paused"]["reason"] == "new disks"
    assert "has paused the farm: new disks" in run("job", "show", full.waiting_job_id).out
    assert run("queue", "resume", "--json").json["paused"] is None


def test_the_jobs_of_a_source_are_limited(run):
    assert run("source", "limit", "widget", "2", "--json").json["jobs_max"] == 2
    assert (
        run("source", "limit", "widget").out == "Any number of its jobs is with builders at a time: widget.\n"
    )
    assert run("source", "limit", "widget", "0").code == 2
