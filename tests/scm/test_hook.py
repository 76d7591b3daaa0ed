"""The post-receive script in a real bare repository, pushed to with git, against a loopback farm."""

from __future__ import annotations

import ast
import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm import post_receive as script
from buildfarm.scm.hook import CONFIG_MODE, CONFIG_NAME, hook_config, post_receive
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import EventKind
from buildfarm.scm.secret import Secret, new_secret
from tests.ports import free_port

GENERIC = scm_for("generic")
# Git's own start, the hook's Python and a busy machine come on top of the script's patience.
SLOWEST_PUSH = script.PUSH_PATIENCE + 27


class Farm:
    """A hook URL that keeps what it is sent and answers as told; `stop` leaves nothing listening."""

    def __init__(self) -> None:
        self.secret = Secret("one", new_secret("signing"), "signing")
        self.received: list[tuple[dict[str, str], bytes]] = []
        self.answer: tuple[int, object] = (202, {"builds": [{"url": "/builds/bld_1"}]})
        self.hold = threading.Event()
        self.hold.set()
        self.port = free_port()
        self.server: ThreadingHTTPServer | None = None

    def start(self) -> None:
        farm = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                farm.received.append((dict(self.headers), body))
                farm.hold.wait(30)
                status, answer = farm.answer
                self.send_response(status)
                self.end_headers()
                self.wfile.write(json.dumps(answer).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self.hold.set()
        if self.server:
            self.server.shutdown()
            self.server.server_close()
            self.server = None

    def events(self):
        """What came, verified and parsed by the farm's own receiver."""
        found = []
        for headers, body in self.received:
            result = GENERIC.verify(headers, body, [self.secret], datetime.now(UTC))
            assert result.ok, result
            found.append((result.delivery_id, GENERIC.parse(headers, body)[0]))
        return found


@pytest.fixture
def farm() -> Iterator[Farm]:
    made = Farm()
    yield made
    made.stop()


class Repository:
    """A bare repository with the hook, and a clone to push from."""

    def __init__(self, folder: Path, farm: Farm) -> None:
        self.bare, self.clone = folder / "widget.git", folder / "clone"
        self.spool = self.bare / "buildfarm-spool"
        self.hook = self.bare / "hooks" / "post-receive"
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith("GIT_")
        } | {
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_AUTHOR_NAME": "Mira Holm",
            "GIT_AUTHOR_EMAIL": "mira@scm.example",
            "GIT_COMMITTER_NAME": "Mira Holm",
            "GIT_COMMITTER_EMAIL": "mira@scm.example",
            "GL_USER": "mira",
        }
        self.git("init", "-q", "--bare", str(self.bare), at=folder)
        self.git("init", "-q", "-b", "main", str(self.clone), at=folder)
        self.git("remote", "add", "origin", str(self.bare))
        (self.bare / "hooks").mkdir(exist_ok=True)
        # The tests that are about the script's patience install it as it is.
        self.install(post_receive().replace(f"PUSH_PATIENCE = {script.PUSH_PATIENCE}", "PUSH_PATIENCE = 60"))
        self.config = self.bare / "hooks" / CONFIG_NAME
        self.config.write_text(
            hook_config(f"http://127.0.0.1:{farm.port}/hooks/widget", farm.secret.value), encoding="utf-8"
        )
        self.config.chmod(CONFIG_MODE)

    def install(self, text: str) -> None:
        self.hook.write_text(text, encoding="utf-8")
        self.hook.chmod(0o755)

    def run(self, command: list[str], at: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=at, env=self.environment, capture_output=True, text=True, timeout=240, check=False
        )

    def git(self, *arguments: str, at: Path | None = None) -> str:
        done = subprocess.run(
            ["git", *arguments],
            cwd=at or self.clone,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip() + done.stderr

    def commit(self, message: str) -> str:
        self.git("commit", "-q", "--allow-empty", "-m", message)
        return self.git("rev-parse", "HEAD")

    def push(self, *refs: str) -> tuple[str, float]:
        """What the pusher read, and the seconds it took. A refused push fails the test."""
        begun = time.monotonic()
        shown = self.git("push", "origin", *(refs or ("main",)))
        return shown, time.monotonic() - begun

    def waiting(self) -> list[str]:
        return [json.loads(path.read_text())["id"] for path in sorted(self.spool.glob("*.json"))]

    def flush(self) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(self.hook), "--flush"],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=240,
        )


@pytest.fixture
def repository(tmp_path: Path, farm: Farm) -> Repository:
    return Repository(tmp_path, farm)


def test_a_push_arrives_signed_and_the_pusher_sees_the_build(farm, repository):
    farm.start()
    head = repository.commit("Round the rim\n\nIt wobbled.")

    shown, _ = repository.push()

    ((_, event),) = farm.events()
    assert (event.kind, event.ref, event.commit) == (EventKind.PUSH, "refs/heads/main", head)
    assert (event.repository, event.actor, event.title) == ("widget", "mira", "Round the rim")
    assert f"buildfarm: refs/heads/main: http://127.0.0.1:{farm.port}/builds/bld_1" in shown
    assert repository.waiting() == []


def test_every_ref_of_a_push_is_announced_tags_with_their_commit_and_deletions_too(farm, repository):
    farm.start()
    head = repository.commit("One [skip ci]")
    repository.git("tag", "-a", "v1", "-m", "Version 1")
    repository.push("main", "main:topic", "v1")
    repository.push(":topic")

    events = [event for _, event in farm.events()]

    assert [(event.ref, event.commit) for event in events[:3]] == [
        ("refs/heads/main", head),
        ("refs/heads/topic", head),
        ("refs/tags/v1", head),
    ]
    assert [event.skip for event in events[:3]] == [True, True, False]
    assert (events[3].ref, events[3].deleted) == ("refs/heads/topic", True)


def test_a_farm_that_is_down_loses_nothing_and_gets_all_in_order_under_the_same_ids(farm, repository):
    first = repository.commit("First")
    shown, seconds = repository.push()
    assert "buildfarm: queued, will retry with the next push" in shown
    assert seconds < SLOWEST_PUSH
    (first_id,) = repository.waiting()

    farm.answer = (503, {"detail": "The database is away."})
    farm.start()
    second = repository.commit("Second")
    shown, _ = repository.push()
    assert "The database is away." in shown
    assert [delivery_id for delivery_id, _ in farm.events()] == [first_id]
    queued = repository.waiting()
    assert queued[0] == first_id

    farm.answer = (200, {"message": "Nothing to build.", "builds": []})
    third = repository.commit("Third")
    shown, _ = repository.push()

    arrived = farm.events()[1:]
    assert [event.commit for _, event in arrived] == [first, second, third]
    assert [delivery_id for delivery_id, _ in arrived][:2] == queued
    assert len({delivery_id for delivery_id, _ in arrived}) == 3
    assert repository.waiting() == []
    assert "queued" not in shown
    assert "buildfarm: refs/heads/main: Nothing to build." in shown


def test_a_farm_that_never_answers_holds_the_pusher_a_few_seconds_at_most(farm, repository):
    farm.start()
    farm.hold.clear()
    repository.install(post_receive())
    topics = [f"topic{number}" for number in range(19)]
    for topic in topics:
        repository.commit(f"Commit {topic}")
        repository.git("branch", topic)

    shown, seconds = repository.push("main", *topics)

    assert seconds < SLOWEST_PUSH < len(topics) * script.PUSH_PATIENCE
    # Whose clock of the two runs out first, the pusher's or the call's, is chance.
    assert "did not answer in time" in shown or "cannot be reached (timed out)" in shown
    assert len(repository.waiting()) == 20


def test_a_flush_from_cron_delivers_what_waits_with_a_fresh_timestamp(farm, repository):
    repository.commit("First")
    repository.push()
    assert repository.flush().returncode == 1
    (path,) = repository.spool.glob("*.json")
    assert "timestamp" not in path.read_text()

    farm.start()
    done = repository.flush()

    assert (done.returncode, repository.waiting()) == (0, [])
    assert len(farm.events()) == 1
    assert repository.flush().stdout == ""


@pytest.mark.parametrize("status", [400, 404, 413])
def test_what_the_farm_will_never_take_is_set_aside_with_its_reason(status, farm, repository):
    farm.start()
    farm.answer = (status, {"detail": "No such thing."})
    repository.commit("First")

    shown, _ = repository.push()

    (refused,) = (repository.spool / "refused").glob("*.json")
    assert (json.loads(refused.read_text())["status"], repository.waiting()) == (status, [])
    assert "refused: No such thing." in shown


@pytest.mark.parametrize("status", [301, 401, 408, 429, 500])
def test_what_the_farm_may_take_later_is_kept(status, farm, repository):
    farm.start()
    farm.answer = (status, [])
    repository.commit("First")

    shown, _ = repository.push()

    assert len(repository.waiting()) == 1
    assert f"the farm answered {status}" in shown


def test_an_answer_cannot_steer_the_pushers_terminal(farm, repository):
    farm.start()
    farm.answer = (202, {"builds": [{"url": "/\x1b]0;owned\x07\nremote: fake"}, 7, {}]})
    repository.commit("First")

    shown, _ = repository.push()

    assert "\x07" not in shown
    assert "]0;owned" in shown
    assert "\nremote: remote: fake" not in shown


def test_a_push_waits_for_another_that_sends_and_cron_does_not(farm, repository):
    farm.start()
    repository.install(post_receive())
    repository.commit("First")
    repository.spool.mkdir()
    lock = os.open(repository.spool, os.O_RDONLY)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        shown, seconds = repository.push()
        flushed = repository.flush()
    finally:
        os.close(lock)

    assert script.PUSH_PATIENCE <= seconds < SLOWEST_PUSH
    assert "queued" in shown
    assert (flushed.returncode, farm.received) == (1, [])
    repository.flush()
    assert len(farm.events()) == 1


def test_missing_settings_keep_the_push_and_name_the_file(farm, repository):
    repository.config.unlink()
    repository.commit("First")

    shown, _ = repository.push()

    assert CONFIG_NAME in shown
    assert len(repository.waiting()) == 1


def test_a_spool_file_that_cannot_be_read_is_set_aside_and_holds_up_nothing(farm, repository):
    farm.start()
    repository.commit("First")
    repository.spool.mkdir()
    (repository.spool / "0-broken.json").write_text("{")

    repository.push()

    assert len(farm.events()) == 1
    assert repository.waiting() == []
    assert (repository.spool / "refused" / "0-broken.json").exists()


def test_settings_that_others_can_read_are_pointed_out(farm, repository):
    farm.start()
    repository.config.chmod(0o644)
    repository.commit("First")

    assert "chmod 600" in repository.push()[0]


def test_a_mirrored_repository_is_queued_quickly_and_drained_by_cron(farm, repository):
    head = repository.commit("First")
    names = "".join(f"create refs/heads/topic{number} {head}\n" for number in range(300))
    subprocess.run(["git", "update-ref", "--stdin"], cwd=repository.clone, input=names, text=True, check=True)

    _, seconds = repository.push("--all")
    assert seconds < 120  # it waits for the disk, which others write to
    assert len(repository.waiting()) == 301

    farm.start()
    assert repository.flush().returncode == 0
    assert len({delivery_id for delivery_id, _ in farm.events()}) == 301


def test_the_script_is_self_contained_and_speaks_python_3_8():
    text = post_receive()
    tree = ast.parse(text, feature_version=(3, 8))
    imported = {
        (name.name if isinstance(node, ast.Import) else node.module).partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in node.names
    }

    assert text.startswith("#!/usr/bin/env python3\n")
    assert imported - {"__future__"} <= sys.stdlib_module_names


def test_the_settings_hold_url_token_and_authority():
    token = new_secret("signing")

    assert json.loads(hook_config("https://farm.example/hooks/w", token, "/etc/ssl/farm.pem")) == {
        "url": "https://farm.example/hooks/w",
        "signing_token": token,
        "ca_file": "/etc/ssl/farm.pem",
    }
    assert token not in post_receive()


@pytest.mark.parametrize(("url", "token"), [("ftp://farm.example/", ""), ("https://farm.example/", "short")])
def test_settings_that_cannot_work_are_refused(url, token):
    with pytest.raises(InvalidInput):
        hook_config(url, token or new_secret("signing"))
