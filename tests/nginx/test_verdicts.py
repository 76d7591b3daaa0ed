"""What nginx remembers of a credential, for how long, where, and what it does when nobody can be asked."""

from __future__ import annotations

import os
import select
import time
from pathlib import Path

from buildfarm.access import tokens
from tests.conftest import House
from tests.front.conftest import get
from tests.front.corpus import FILE, PAGE
from tests.front.stage import basic
from tests.index.conftest import put_one
from tests.nginx.conftest import Appliance
from tests.nginx.stub import StubWeb, verdict
from tests.waiting import wait_for

JSON = "application/vnd.pypi.simple.v1+json"
LINES = f"Accept: {JSON}\r\nAccept-Encoding: gzip\r\n"
#: Seconds that an allow is fresh, and a little more.
FRESH_S, REVOKED_S = 3.1, 8.0


def status(appliance: Appliance, who: str = "one", path: str = PAGE) -> int:
    lines = (basic(who), LINES) if who else (LINES,)
    return appliance.ask(get(path, *lines)).status


def let_it_get_stale() -> None:
    moment = time.monotonic() + FRESH_S
    wait_for(lambda: time.monotonic() > moment)


def test_a_fleet_with_one_cold_credential_asks_once(before_stub: Appliance, stub: StubWeb) -> None:
    def slowly(_head: bytes) -> bytes:
        wait_for(lambda: all_sent)
        return verdict(204, "allow")

    all_sent, stub.says = [], slowly
    wires = [before_stub.wire().send(get(PAGE, basic("one"), LINES)) for _ in range(200)]
    all_sent.append(True)
    assert {wire.answer().status for wire in wires} == {200}
    assert stub.verdicts_asked == 1


def test_a_verdict_is_of_one_credential_and_one_channel(before_stub: Appliance, stub: StubWeb) -> None:
    stub.says = lambda head: verdict(204, "allow") if b"/dev " in head and b"Basic" in head else verdict(401)
    assert status(before_stub) == 200
    assert status(before_stub, path="/stable/simple/") == 401
    assert status(before_stub, "") == 401
    assert stub.verdicts_asked == 3
    assert all(b"X-Forwarded-For: 127.0.0.1\r\n" in head for head in stub.asked)


def test_only_a_public_channel_is_cached_by_others(before_stub: Appliance, stub: StubWeb) -> None:
    stub.says = lambda head: verdict(204, "allow" if b"Basic" in head else "public")
    private, public = (before_stub.ask(get(FILE, line)) for line in (basic("one"), ""))
    assert private.headers["cache-control"] == "max-age=31536000, immutable, private"
    assert public.headers["cache-control"] == "max-age=31536000, immutable"


def test_without_web_the_known_go_on_and_the_others_are_told_to_come_again(
    before_stub: Appliance, stub: StubWeb
) -> None:
    stub.says = lambda head: verdict(204, "allow") if b"Basic" in head else verdict(401)
    assert status(before_stub) == 200
    stub.end()
    let_it_get_stale()
    before_stub.reload()  # as after a new certificate: what is known stays known
    assert [status(before_stub, path=path) for path in (PAGE, FILE, "/dev/simple/")] == [200, 200, 200]
    unknown = before_stub.ask(get(PAGE, basic("two"), LINES))
    assert (unknown.status, unknown.headers["retry-after"]) == (503, "2")
    assert status(before_stub, "") == 401  # asked for credentials, which may be known ones
    assert before_stub.ask(get("/healthz")).status == 503


def test_while_web_errs_or_hangs_the_known_go_on(before_stub: Appliance, stub: StubWeb) -> None:
    assert status(before_stub) == 200
    let_it_get_stale()
    stub.says = lambda _head: verdict(500)
    assert (status(before_stub), status(before_stub, "two")) == (200, 503)
    let_it_get_stale()
    over = []
    stub.says = lambda _head: bytes(wait_for(lambda: over, seconds=60) or b"")
    unknown, known = (before_stub.wire().send(get(PAGE, basic(who), LINES)) for who in ("three", "one"))
    ready, _, _ = select.select([unknown.socket, known.socket], [], [], 60)
    assert known.socket in ready  # whoever is known waits less
    assert known.answer().status == 200
    over.append(True)


def test_a_refusal_ends_what_was_allowed(before_stub: Appliance, stub: StubWeb) -> None:
    assert status(before_stub) == 200
    for number in (401, 403):
        stub.says = lambda _head, number=number: verdict(number)
        wait_for(lambda number=number: status(before_stub) == number, REVOKED_S)
    stub.says = lambda _head: verdict(503)
    wait_for(lambda: status(before_stub) == 503, REVOKED_S)
    stub.says = lambda _head: verdict(204, "allow")
    wait_for(lambda: status(before_stub) == 200, REVOKED_S)


def test_a_revoked_token_is_refused_within_five_seconds(appliance: Appliance) -> None:
    with appliance.house.database.begin() as session:
        token, secret = tokens.create(session, "laptop", ["read:dev"], actor="test")
        token_id = token.id
    assert status(appliance, secret) == 200
    with appliance.house.database.begin() as session:
        tokens.revoke(session, token_id, actor="test")
    wait_for(lambda: status(appliance, secret) == 401, REVOKED_S)


def test_guessing_is_slowed_down_and_harms_nobody_else(before_stub: Appliance, stub: StubWeb) -> None:
    wires = [before_stub.wire() for _ in range(600)]
    assert status(before_stub) == 200  # known for three seconds from here
    stub.says = lambda head: verdict(204, "allow") if basic("one").strip().encode() in head else verdict(401)
    for number, wire in enumerate(wires):  # all at once: how many a second web answers plays no part
        wire.send(get(PAGE, basic(f"guess{number}"), LINES))
    assert {wire.answer().status for wire in wires} == {401, 503}
    assert stub.verdicts_asked < 500
    wait_for(lambda: status(before_stub) == 200, "the second of many questions to pass", 3)


def test_no_credential_is_in_a_file_or_on_a_process_list(appliance: Appliance) -> None:
    good, bad = appliance.house.token("read:dev"), "hunter2-is-no-token"
    for secret in (good, bad):
        for request in (
            get(PAGE, basic(secret), LINES),
            get(FILE, basic(secret)),
            get(f"{PAGE}?secret={secret}", basic(secret), f"Referer: https://u:{secret}@farm/\r\n"),
            get("/api/v1/tokens", basic(secret)),
            get("/dev/legacy/", basic(secret), "Content-Length: 5\r\n", method="POST") + b"hello",
            get(PAGE, f"Bad Name: x\r\n{basic(secret)}"),
        ):
            appliance.ask(request)
    appliance.stop("web")
    appliance.ask(get("/healthz", basic(bad)))
    processes = [appliance.processes["nginx"].pid, *appliance.workers()]
    wait_for(lambda: "/healthz" in (appliance.out / "access.log").read_text())
    needles = [secret.encode() for secret in (good, bad)]
    needles += [basic(secret).split()[-1].encode() for secret in (good, bad)]
    places = [path for path in appliance.out.rglob("*") if path.is_file()]
    places += [appliance.folder / "nginx.log"]
    places += [Path(f"/proc/{pid}/{name}") for pid in processes for name in ("cmdline", "environ")]
    assert len(places) > 5
    for place in places:
        text = place.read_bytes()
        assert not [needle for needle in needles if needle in text], place


def test_what_leaves_the_blob_store_is_not_sent(
    before_stub: Appliance, stub: StubWeb, tmp_path: Path
) -> None:
    stub.says = lambda head: verdict(204, "allow") if b"/_verdict/" in head else verdict(404)
    outside = tmp_path / "outside"
    outside.write_bytes(b"secret")
    tree, blobs = before_stub.house.tree, before_stub.house.farm.settings.blobs_dir
    climbing = f"{blobs}/{os.path.relpath(outside, blobs)}"
    for number, target in enumerate((str(outside), climbing, os.path.relpath(outside, tree.root))):
        name = f"evil-{number}-py3-none-any.whl"
        os.symlink(target, tree.root / "dev" / "files" / "my-widget" / name)
        assert status(before_stub, path=f"/dev/files/my-widget/{name}") == 404
    (tree.root / "dev" / "files" / "my-widget" / "plain-1-py3-none-any.whl").write_bytes(b"no link")
    assert status(before_stub, path="/dev/files/my-widget/plain-1-py3-none-any.whl") == 404


def test_a_new_page_is_seen_at_once(before_stub: Appliance, house: House) -> None:
    for number in range(2, 6):
        put_one(house, f"my_widget-{number}.0-py3-none-any.whl", b"%d" % number)
        page = before_stub.ask(get(PAGE, basic("one"), LINES))
        assert page.headers["x-pypi-last-serial"] == str(house.tree.serial)
        assert status(before_stub, path=f"/dev/files/my-widget/my_widget-{number}.0-py3-none-any.whl") == 200
