"""`buildfarm verify` as its user meets it."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from buildfarm.cli.verify import verify
from buildfarm.journal import merkle
from buildfarm.trust.vault import Vault

TOKEN = "bft_0123456789abcdefghij"
OTHER = "demo-1.0.tar.gz"


class Farm:
    """An index on loopback that serves what its `pages` hold, to who has the token."""

    def __init__(self):
        self.pages, self.asked, self.wants_token, self.log = {}, [], False, None
        farm = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                farm.asked.append(self.path)
                expected = "Basic " + base64.b64encode(f"__token__:{TOKEN}".encode()).decode()
                if (
                    farm.wants_token
                    and not self.path.startswith("/tuf/")
                    and self.headers.get("Authorization") != expected
                ):
                    return self.send_error(401)
                found = farm.pages.get(self.path) or farm.proof(self.path)
                if found is None:
                    return self.send_error(404)
                self.send_response(200)
                self.send_header("Content-Length", str(len(found)))
                self.end_headers()
                self.wfile.write(found)
                return None

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def publish(self, channel, made, filename):
        page = f"/{channel}/simple/demo/"
        files = json.loads(self.pages.get(page, b'{"files": []}'))["files"]
        files.append({"filename": filename, "url": f"../../files/{filename}#sha256=00"})
        self.pages[page] = json.dumps({"meta": {"api-version": "1.4"}, "files": files}).encode()
        self.pages[f"/{channel}/files/{filename}"] = made.data
        self.pages[f"/{channel}/files/{filename}.sigstore.json"] = made.bundle
        self.pages["/tuf/targets/trusted_root.json"] = made.root_path.read_bytes()
        self.pages["/tuf/checkpoint"] = made.checkpoint.note.encode()
        self.log = made.log

    def proof(self, path):
        sizes = re.fullmatch(r"/tuf/consistency\?from=(\d+)&to=(\d+)", path)
        if not sizes or self.log is None:
            return None
        proof = merkle.consistency_proof(int(sizes[1]), int(sizes[2]), self.log.get)
        return json.dumps({"hashes": [base64.b64encode(each).decode() for each in proof]}).encode()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def farm():
    farm = Farm()
    yield farm
    farm.stop()


@pytest.fixture
def wheel(kit, published, tmp_path):
    path = tmp_path / "dist" / kit.WHEEL
    path.parent.mkdir()
    path.write_bytes(published.data)
    return path


@pytest.fixture
def run(tmp_path, monkeypatch):
    for name in ("BUILDFARM_URL", "BUILDFARM_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def run(*arguments, **env):
        return CliRunner().invoke(verify, [str(each) for each in arguments], env=env)

    return run


def beside(wheel, published):
    bundle = wheel.with_name(f"{wheel.name}.sigstore.json")
    bundle.write_bytes(published.bundle)
    return bundle


def test_a_file_with_its_bundle_and_a_given_root_verifies_offline(run, wheel, published):
    beside(wheel, published)
    done = run(wheel, "--root", published.root_path, "--offline")
    assert done.exit_code == 0, done.output
    assert "✗" not in done.output
    assert "✓ inclusion-proof: entry 5 of 7" in done.output
    assert "built from git+https://ghe.example/acme/demo at refs/tags/v1.0" in done.output
    assert "1 build dependency" in done.output


def test_offline_opens_no_connection(wheel, published, tmp_path, farm):
    beside(wheel, published)
    probe = (
        "import sys\n"
        "sys.addaudithook(lambda e, a: (_ for _ in ()).throw(AssertionError(e)) "
        "if e in ('socket.connect', 'socket.getaddrinfo') else None)\n"
        "from buildfarm.cli.verify import verify\n"
        "verify()\n"
    )
    environment = {**os.environ, "BUILDFARM_URL": farm.url, "XDG_STATE_HOME": str(tmp_path / "state")}
    command = [sys.executable, "-c", probe, str(wheel), "--root", str(published.root_path)]
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [*command, "--offline"], env=environment, cwd=root, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert farm.asked == []


@pytest.mark.parametrize("as_json", [False, True])
def test_a_failed_check_exits_1_and_names_check_expectation_finding_and_next_step(
    run, wheel, published, as_json
):
    beside(wheel, published)
    wheel.write_bytes(b"something else")
    got = hashlib.sha256(b"something else").hexdigest()
    done = run(wheel, "--root", published.root_path, *["--json"] * as_json)
    assert done.exit_code == 1
    if as_json:
        (file,) = json.loads(done.stdout)["files"]
        (check,) = [check for check in file["checks"] if not check["ok"]]
        assert check["name"] == "file-digest"
        assert (check["expected"], check["got"]) == (published.attested.file_sha256, got)
        assert check["hint"]
        assert file["status"] == "failed"
        assert file["origin"] is None
    else:
        assert "✗ file-digest" in done.output
        assert f"expected: {published.attested.file_sha256}" in done.output
        assert f"got: {got}" in done.output
        assert "next: " in done.output
        assert "built from" not in done.output


def test_a_file_without_a_statement_exits_2(run, wheel, published):
    done = run(wheel, "--root", published.root_path)
    assert done.exit_code == 2
    assert "no statement about this file" in done.output


def test_without_a_root_nothing_is_decided(run, wheel, published):
    beside(wheel, published)
    done = run(wheel)
    assert done.exit_code == 3
    assert "BUILDFARM_URL" in done.output


def test_the_first_use_pins_the_root_aloud_and_the_second_is_silent(
    run, wheel, published, farm, kit, tmp_path
):
    farm.publish("dev", published, kit.WHEEL)
    fingerprint = hashlib.sha256(published.root_path.read_bytes()).hexdigest()
    done = run(wheel, BUILDFARM_URL=farm.url)
    assert done.exit_code == 0, done.output
    assert "First use" in done.stderr
    assert fingerprint in done.stderr
    pinned = tmp_path / "config" / "buildfarm" / f"127.0.0.1_{farm.server.server_port}" / "trusted_root.json"
    assert pinned.read_bytes() == published.root_path.read_bytes()
    again = run(wheel, "--json", BUILDFARM_URL=farm.url)
    assert again.exit_code == 0
    assert again.stderr == ""
    assert json.loads(again.stdout)["root"]["sha256"] == fingerprint


def test_a_changed_root_is_refused_with_what_to_do(run, wheel, published, farm, kit):
    farm.publish("dev", published, kit.WHEEL)
    run(wheel, BUILDFARM_URL=farm.url)
    farm.pages["/tuf/targets/trusted_root.json"] += b"\n"
    done = run(wheel, BUILDFARM_URL=farm.url)
    assert done.exit_code == 3
    assert "not the one that was pinned" in done.output
    assert "administrator" in done.output
    assert run(wheel, BUILDFARM_URL=farm.url).exit_code == 3


def test_the_pinned_root_serves_offline_and_without_a_pin_offline_decides_nothing(
    run, wheel, published, farm, kit
):
    farm.publish("dev", published, kit.WHEEL)
    beside(wheel, published)
    assert run(wheel, "--offline", BUILDFARM_URL=farm.url).exit_code == 3
    run(wheel, BUILDFARM_URL=farm.url)
    farm.asked.clear()
    assert run(wheel, "--offline", BUILDFARM_URL=farm.url).exit_code == 0
    assert farm.asked == []


def test_a_pinned_root_serves_while_the_farm_is_down(run, wheel, published, farm, kit):
    farm.publish("dev", published, kit.WHEEL)
    beside(wheel, published)
    run(wheel, BUILDFARM_URL=farm.url)
    farm.stop()
    done = run(wheel, BUILDFARM_URL=farm.url)
    assert done.exit_code == 0
    assert "- log-memory: not checked, the farm's log cannot be reached" in done.output


@pytest.mark.parametrize("url", ["{}/staging/", "{}/staging", "{}/staging/simple/", "{}/staging/simple"])
def test_the_bundle_comes_from_the_channel_that_was_named(run, wheel, published, farm, kit, url):
    farm.publish("staging", published, kit.WHEEL)
    done = run(wheel, "--index", url.format(farm.url))
    assert done.exit_code == 0, done.output
    assert "/staging/simple/demo/" in farm.asked
    assert run(wheel, "--index", f"{farm.url}/dev/").exit_code == 2


def test_every_file_of_a_release_is_verified(run, farm, kit, vault, tmp_path):
    log = kit.Log()
    one = kit.publish(vault, tmp_path, log, b"one", kit.make_facts())
    two = kit.publish(vault, tmp_path, log, b"two", kit.make_facts(filename=OTHER))
    later = kit.publish(vault, tmp_path, log, b"x", kit.make_facts(filename="demo-2.0.tar.gz", version="2.0"))
    farm.publish("dev", one, kit.WHEEL)
    farm.publish("dev", two, OTHER)
    farm.publish("dev", later, "demo-2.0.tar.gz")
    done = run("Demo==1.0.0", "--json", BUILDFARM_URL=farm.url)
    assert done.exit_code == 0, done.output
    assert {file["filename"] for file in json.loads(done.stdout)["files"]} == {kit.WHEEL, OTHER}
    del farm.pages[f"/dev/files/{OTHER}.sigstore.json"]
    assert run("demo==1.0", BUILDFARM_URL=farm.url).exit_code == 2
    farm.pages[f"/dev/files/{kit.WHEEL}"] = b"swapped"
    assert run("demo==1.0", BUILDFARM_URL=farm.url).exit_code == 1


def test_a_release_that_is_not_there_or_not_to_be_asked_for_is_not_decided(run, published, farm, kit):
    farm.publish("dev", published, kit.WHEEL)
    for arguments in (["demo==9.9"], ["nothing==1.0"], ["demo==x y"], ["no-such-file.whl"]):
        assert run(*arguments, BUILDFARM_URL=farm.url).exit_code == 3, arguments
    assert run("demo==1.0", "--offline", BUILDFARM_URL=farm.url).exit_code == 3
    assert run("demo==1.0", "--root", published.root_path).exit_code == 3


def test_a_farm_that_cannot_be_reached_is_not_decided(run, wheel, published):
    done = run(wheel, "--root", published.root_path, BUILDFARM_URL="http://127.0.0.1:9")
    assert done.exit_code == 3
    assert "cannot be read" in done.output


def test_the_token_opens_a_private_channel_and_is_sent_to_its_farm_alone(run, wheel, published, farm, kit):
    farm.publish("dev", published, kit.WHEEL)
    farm.wants_token = True
    elsewhere = Farm()
    seen = run(wheel, "--root", published.root_path, BUILDFARM_URL=farm.url)
    assert seen.exit_code == 3
    assert "BUILDFARM_TOKEN" in seen.output
    arguments = [wheel, "--root", published.root_path]
    assert run(*arguments, BUILDFARM_URL=farm.url, BUILDFARM_TOKEN=TOKEN).exit_code == 0
    page = json.loads(farm.pages["/dev/simple/demo/"])
    page["files"][0]["url"] = f"{elsewhere.url}/x/{kit.WHEEL}"
    farm.pages["/dev/simple/demo/"] = json.dumps(page).encode()
    elsewhere.pages[f"/x/{kit.WHEEL}.sigstore.json"] = published.bundle
    elsewhere.wants_token = True  # answers 200 only to who shows the token
    done = run(*arguments, BUILDFARM_URL=farm.url, BUILDFARM_TOKEN=TOKEN)
    assert elsewhere.asked
    assert done.exit_code == 3
    elsewhere.stop()


def test_a_log_that_forked_since_the_last_time_is_noticed(run, wheel, published, kit, vault, tmp_path):
    beside(wheel, published)
    assert run(wheel, "--root", published.root_path).exit_code == 0
    state = tmp_path / "state" / "buildfarm" / "checkpoints.json"
    remembered = json.loads(state.read_text())
    for value in remembered.values():
        value["root"] = "00" * 32
    state.write_text(json.dumps(remembered))
    done = run(wheel, "--root", published.root_path)
    assert done.exit_code == 1
    assert "✗ log-memory" in done.output


def grown(kit, vault, tmp_path, published):
    """The farm's log after another release."""
    facts = kit.make_facts(filename="demo-2.0.tar.gz", version="2.0")
    return kit.publish(vault, tmp_path, published.log, b"two", facts)


def log_memory(done):
    (file,) = json.loads(done.stdout)["files"]
    (check,) = [check for check in file["checks"] if check["name"] == "log-memory"]
    return check


def test_the_farms_log_must_have_grown_out_of_the_one_seen_before(
    run, wheel, published, farm, kit, vault, tmp_path
):
    farm.publish("dev", published, kit.WHEEL)
    assert "first checkpoint" in log_memory(run(wheel, "--json", BUILDFARM_URL=farm.url))["detail"]
    farm.publish("dev", grown(kit, vault, tmp_path, published), "demo-2.0.tar.gz")
    check = log_memory(run(wheel, "--json", BUILDFARM_URL=farm.url))
    assert check["detail"] == "grown from 7 to 9 entries; the bundle's 7 are their beginning"
    assert check["checked"]


def test_a_farm_that_shows_an_earlier_log_than_before_is_refused(
    run, wheel, published, farm, kit, vault, tmp_path
):
    farm.publish("dev", published, kit.WHEEL)
    farm.publish("dev", grown(kit, vault, tmp_path, published), "demo-2.0.tar.gz")
    assert run(wheel, BUILDFARM_URL=farm.url).exit_code == 0
    farm.pages["/tuf/checkpoint"] = published.checkpoint.note.encode()
    done = run(wheel, "--json", BUILDFARM_URL=farm.url)
    assert done.exit_code == 1
    assert log_memory(done)["expected"] == "at least 9"


def test_growth_that_is_not_proved_is_refused_and_not_remembered(
    run, wheel, published, farm, kit, vault, tmp_path
):
    farm.publish("dev", published, kit.WHEEL)
    assert run(wheel, BUILDFARM_URL=farm.url).exit_code == 0
    farm.publish("dev", grown(kit, vault, tmp_path, published), "demo-2.0.tar.gz")
    honest, farm.log = farm.log, kit.Log()
    for number in range(9):
        farm.log.append(b"forged %d" % number)
    done = run(wheel, "--json", BUILDFARM_URL=farm.url)
    assert done.exit_code == 1
    assert "do not belong to one history" in log_memory(done)["detail"]
    farm.log = honest
    assert "grown from 7 to 9" in log_memory(run(wheel, "--json", BUILDFARM_URL=farm.url))["detail"]


@pytest.mark.parametrize("note", [None, b"no note", b"other.example/log\n9\n" + b"A" * 43 + b"=\n\n"])
def test_a_farm_that_does_not_show_its_log_is_refused(run, wheel, published, farm, kit, note):
    farm.publish("dev", published, kit.WHEEL)
    farm.pages["/tuf/checkpoint"] = note
    done = run(wheel, BUILDFARM_URL=farm.url)
    assert done.exit_code == 1, done.output
    assert "✗ log-memory" in done.output


def test_a_checkpoint_that_the_pinned_log_did_not_sign_is_refused(run, wheel, published, farm, kit):
    farm.publish("dev", published, kit.WHEEL)
    changed = published.checkpoint.note.replace("\n7\n", "\n8\n")
    farm.pages["/tuf/checkpoint"] = changed.encode()
    done = run(wheel, "--json", BUILDFARM_URL=farm.url)
    assert done.exit_code == 1
    assert "not signed by the log" in log_memory(done)["detail"]


def test_a_log_that_is_shown_and_then_not_proved_decides_nothing(
    run, wheel, published, farm, kit, vault, tmp_path
):
    farm.publish("dev", published, kit.WHEEL)
    farm.publish("dev", grown(kit, vault, tmp_path, published), "demo-2.0.tar.gz")
    farm.log = None
    assert run(wheel, BUILDFARM_URL=farm.url).exit_code == 3


def test_a_bundle_that_is_proved_in_another_history_is_refused_at_first_sight(
    run, vault, farm, kit, tmp_path
):
    wheel = tmp_path / kit.WHEEL
    shutil.copytree(tmp_path / "signer", tmp_path / "fork")
    honest, split = kit.Log(), kit.Log()
    for log in (honest, split):
        log.append(b"row 0")
    split.append(b"row 1")
    shown = kit.publish(vault, tmp_path, honest, b"wheel bytes", kit.make_facts())
    with contextlib.closing(Vault(tmp_path / "fork", kit.FARM)) as second:
        other = kit.publish(second, tmp_path, split, b"wheel bytes", kit.make_facts())
    wheel.write_bytes(other.data)
    beside(wheel, other)
    farm.publish("dev", other, kit.WHEEL)
    done = run(wheel, "--json", BUILDFARM_URL=farm.url)
    assert done.exit_code == 0, done.output
    farm.publish("dev", grown(kit, vault, tmp_path, shown), "demo-2.0.tar.gz")
    shutil.rmtree(tmp_path / "state")
    done = run(wheel, "--json", BUILDFARM_URL=farm.url)
    assert done.exit_code == 1
    assert "not the beginning of the farm's log" in log_memory(done)["detail"]
    farm.publish("dev", shown, kit.WHEEL)
    shutil.rmtree(tmp_path / "state")
    done = run(wheel, "--json", BUILDFARM_URL=farm.url)
    assert done.exit_code == 1
    assert "a longer log than the farm has" in log_memory(done)["detail"]


def test_offline_growth_is_not_checked_and_not_remembered(run, wheel, published, kit, vault, tmp_path):
    beside(wheel, published)
    later = grown(kit, vault, tmp_path, published)
    other = wheel.with_name("demo-2.0.tar.gz")
    other.write_bytes(later.data)
    beside(other, later)
    arguments = ["--root", published.root_path, "--offline", "--json"]
    assert not log_memory(run(wheel, *arguments))["checked"]
    assert "nothing proves it against the 7" in log_memory(run(other, *arguments))["detail"]
    assert "the same 7 entries" in log_memory(run(wheel, *arguments))["detail"]


def test_a_bundle_cannot_write_control_characters_to_the_terminal(run, wheel, published):
    value = json.loads(published.bundle)
    value["mediaType"] = "\x1b[2J\x1b]0;owned\x07"
    value["dsseEnvelope"]["payloadType"] = "\u202e\x1b[31m"
    wheel.with_name(f"{wheel.name}.sigstore.json").write_text(json.dumps(value))
    done = run(wheel, "--root", published.root_path)
    assert done.exit_code == 1
    assert not {"\x1b", "\x07", "\u202e"} & set(done.output)


def test_a_bundle_that_is_named_must_exist(run, wheel, published, tmp_path):
    moved = tmp_path / "elsewhere.json"
    moved.write_bytes(published.bundle)
    assert run(wheel, "--root", published.root_path, "--bundle", moved).exit_code == 0
    assert run(wheel, "--root", published.root_path, "--bundle", tmp_path / "none").exit_code == 3
    assert run(wheel, "--root", tmp_path / "none").exit_code == 3
