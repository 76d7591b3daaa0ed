"""Connections as they are in the wild: pipelined, slow, half, many, cut off; and splices byte for byte."""

from __future__ import annotations

import os
import re
import signal
import socket
import threading
import time
from email.utils import parsedate_to_datetime

import pytest

from buildfarm.index.pagetree import FORMS
from tests.front.conftest import FakeWeb, Site, get
from tests.front.corpus import FILE, JSON, PAGE, ROOT
from tests.front.stage import basic
from tests.front.test_grammar import FOREIGN
from tests.front.wire import Wire
from tests.waiting import wait_for
from webapp.peer import name_of

Faked = tuple[Site, FakeWeb]


def page(site: Site, *lines: str, path: str = PAGE, **more: str) -> bytes:
    return get(path, site.facts["READER"], *lines, **more)


def flood(connection: socket.socket, piece: bytes, most: int) -> int:
    """How many bytes the other side takes until it takes no more for a fifth of a second."""
    connection.setblocking(False)
    sent, quiet_since = 0, time.monotonic()
    while sent < most and time.monotonic() - quiet_since < 0.2:
        try:
            sent += connection.send(piece[sent % len(piece) :])
            quiet_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.005)
    connection.settimeout(20)
    return sent


# Requests -------------------------------------------------------------------------------------------


def test_pipelined_requests_are_answered_in_order(shared: Site) -> None:
    wire = shared.wire()
    paths = [PAGE, FILE, ROOT, "/dev/simple/none/", f"{FILE}.metadata"]
    wire.send(b"".join(page(shared, path=path) for path in paths))
    answers = [wire.answer() for _ in paths]
    assert [answer.status for answer in answers] == [200, 200, 200, 404, 200]
    assert (answers[1].body, answers[4].body) == (b"0123456789", b"Metadata-Version: 2.1\n")


def test_from_the_first_request_that_is_webs_all_are(shared: Site) -> None:
    wire = shared.wire()
    wire.send(page(shared) + get("/healthz") + page(shared))
    assert ["server" in wire.answer().headers for _ in range(3)] == [False, True, True]
    wire.send(page(shared))
    assert wire.answer().headers["server"] == "gunicorn"


def test_web_holds_more_connections_than_a_login_may_have_files(site: Site) -> None:
    site.stop("web")
    site.start_web("prlimit", "--nofile=100:")
    wires = [site.web_wire().send(get("/healthz")) for _ in range(300)]
    assert {wire.answer().status for wire in wires} == {200}


def test_a_head_may_come_in_pieces(shared: Site) -> None:
    wire, head = shared.wire(), page(shared)
    for place in range(0, len(head), 7):
        wire.send(head[place : place + 7])
    assert wire.answer().status == 200


def test_half_a_head_has_its_time_and_is_told(shared: Site) -> None:
    wire = shared.wire().send(page(shared)[:-2])
    answer = wire.answer()
    assert (answer.status, answer.headers["connection"]) == (408, "close")
    assert answer.body == b"The request did not arrive in time.\n"
    assert wire.rest() == b""


def test_a_drip_of_bytes_buys_no_time(shared: Site) -> None:
    wire = shared.wire()
    head = page(shared, "X-Slow: " + "a" * 700 + "\r\n")
    began = time.monotonic()
    with pytest.raises(OSError, match=r"reset|pipe"):  # noqa: PT012
        for one in head:
            wire.send(bytes([one]))
            time.sleep(0.05)
    assert time.monotonic() - began < 25  # all of it would take more than 35 s


def test_a_connection_that_says_nothing_ends(shared: Site) -> None:
    silent, idle = shared.wire(), shared.wire()
    idle.send(page(shared)).answer()
    assert (silent.rest(), idle.rest()) == (b"", b"")


def test_connections_end_as_the_request_says(shared: Site) -> None:
    for raw in (page(shared, "Connection: close\r\n"), page(shared, version="1.0")):
        wire = shared.wire().send(raw + page(shared))
        answer = wire.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert wire.rest() == b""
    wire = shared.wire().send(page(shared, "Connection: keep-alive\r\n"))
    assert "connection" not in wire.answer().headers
    assert wire.send(page(shared)).answer().status == 200


def test_a_client_that_sends_no_more_gets_its_answer(shared: Site) -> None:
    for raw in (page(shared), get("/healthz")):
        wire = shared.wire().send(raw)
        wire.socket.shutdown(socket.SHUT_WR)
        assert wire.answer().status == 200
        assert wire.rest() == b""


def test_every_answer_has_a_date(shared: Site) -> None:
    for raw in (page(shared), page(shared, path="/dev/simple/none/"), get(PAGE)):
        asked = time.time()
        date = parsedate_to_datetime(shared.wire().send(raw).answer().headers["date"])
        assert asked - 5 < date.timestamp() <= time.time()


def test_a_refusal_keeps_the_connection(shared: Site) -> None:
    wire = shared.wire()
    assert wire.send(get(PAGE)).answer().status == 401
    assert wire.send(get(PAGE, shared.facts["STRANGER"])).answer().status == 401
    assert wire.send(page(shared)).answer().status == 200


def test_one_address_has_so_many_connections(shared: Site) -> None:
    wait_for(lambda: shared.wire().send(page(shared, "Connection: close\r\n")).answer().status == 200)
    wires = [shared.wire() for _ in range(60)]
    refused: list[Wire] = []

    def are_told() -> bool:
        refused[:] = [wire for wire in wires if b"503" in wire.peek()]
        return len(refused) >= 5

    wait_for(are_told)
    assert len(refused) <= 30
    answer = refused[-1].answer()
    assert (answer.status, answer.body) == (503, b"This address has too many connections here; close some.\n")
    for wire in wires:
        wire.close()
    wait_for(lambda: shared.wire().send(page(shared, "Connection: close\r\n")).answer().status == 200)


def test_connections_to_web_that_ended_count_no_more(shared: Site) -> None:
    """An address may have 50 here, and a connection that nobody ends has ten minutes."""
    wait_for(lambda: shared.wire().send(page(shared, "Connection: close\r\n")).answer().status == 200)
    for number in range(120):
        wire = shared.wire().send(get("/healthz", *["Connection: close\r\n"][: number % 2]))
        assert wire.answer().status == 200, number
        wire.close()


def test_whoever_does_not_read_is_not_written_to(shared: Site) -> None:
    wire, ask = shared.wire(), page(shared, f"Accept: {JSON}\r\n")
    sent = flood(wire.socket, ask, 64 << 20)
    assert sent < 32 << 20
    rest = threading.Thread(target=wire.send, args=(ask[sent % len(ask) :],))
    rest.start()
    assert {wire.answer().status for _ in range(sent // len(ask) + 1)} == {200}
    rest.join(20)


# Splices --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FOREIGN)
def test_what_is_not_in_the_grammar_reaches_web_as_it_is(faked: Faked, name: str) -> None:
    site, web = faked
    raw = FOREIGN[name].encode("latin-1") + page(site)
    wire = site.wire().send(raw)
    connection, _ = web.take()
    got = b""
    while len(got) < len(raw):
        got += connection.recv(65536)
    assert got == raw
    connection.sendall(b"whatever it says")
    connection.close()
    assert wire.rest() == b"whatever it says"


def test_web_knows_whose_connection_it_is(faked: Faked) -> None:
    site, web = faked
    site.wire().send(get("/", "X-Forwarded-For: 6.6.6.6\r\n", "Forwarded: for=6.6.6.6\r\n"))
    _, name = web.take()
    prefix, _, scheme, address = name.decode().split("/")
    assert (scheme, address) == ("http", "127.0.0.1")
    assert name_of("", "", "").decode().startswith(prefix)


def test_a_splice_streams_both_ways_at_once(faked: Faked) -> None:
    site, web = faked
    wire = site.wire().send(get("/events"))
    connection, _ = web.take()
    connection.recv(1000)
    for number in range(3):
        event = f"data: {number}\n\n".encode()
        connection.sendall(event)
        assert wire.socket.recv(100) == event
        wire.send(b"x")
        assert connection.recv(100) == b"x"


def test_a_splice_waits_for_the_slower_end(faked: Faked) -> None:
    site, web = faked
    wire = site.wire().send(get("/", "Content-Length: 1000000000\r\n"))
    connection, _ = web.take()
    most = 256 << 20
    up = flood(wire.socket, b"u" * 65536, most)
    down = flood(connection, b"d" * 65536, most)
    assert max(up, down) < 64 << 20
    got = {"down": 0, "up": 0}

    def drain(source: socket.socket, key: str, size: int) -> None:
        while got[key] < size:
            got[key] += len(source.recv(1 << 20))

    other = threading.Thread(target=drain, args=(connection, "up", up))
    other.start()
    drain(wire.socket, "down", down)
    other.join(20)
    assert got["down"] == down
    assert got["up"] >= up


def test_the_end_of_either_side_reaches_the_other(faked: Faked) -> None:
    site, web = faked
    wire = site.wire().send(get("/", "Content-Length: 3\r\n") + b"abc")
    wire.socket.shutdown(socket.SHUT_WR)
    connection, _ = web.take()
    while connection.recv(1000):
        pass
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    assert wire.answer().body == b"ok"
    connection.close()
    assert wire.rest() == b""
    other = site.wire().send(get("/"))
    connection, _ = web.take()
    other.close()
    while connection.recv(1000):
        pass


def test_a_refused_body_does_not_hide_the_refusal(faked: Faked) -> None:
    """Web answers early and ends; the client, still sending, reads the answer."""
    site, web = faked
    wire = site.wire().send(get("/", "Content-Length: 100000000\r\n"))
    connection, _ = web.take()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    connection.close()
    for _ in range(50):
        wire.send(b"x" * 10_000)
    assert wire.answer().status == 413


def test_a_refusal_is_read_though_the_body_no_longer_gets_through(faked: Faked) -> None:
    """Web may be gone before its answer is read; the body finds that out, and the answer still counts."""
    site, web = faked

    def refuse() -> None:
        for _ in range(100):
            connection, _ = web.take()
            connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            connection.close()

    other = threading.Thread(target=refuse)
    other.start()
    answers = []
    for _ in range(100):
        wire = site.wire().send(get("/", "Content-Length: 100000000\r\n"))
        for _ in range(20):
            wire.send(b"x" * 1000)
        answers.append(wire.answer().status)
        wire.close()
    other.join(20)
    assert set(answers) == {413}


def test_web_does_not_wait_for_a_client_that_lingers(faked: Faked) -> None:
    site, web = faked
    wire = site.wire().send(get("/"))
    connection, _ = web.take()
    connection.recv(1000)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
    connection.shutdown(socket.SHUT_WR)
    connection.settimeout(4.0)  # the client may linger for five
    assert connection.recv(1000) == b""
    assert wire.answer().body == b"ok"
    assert wire.rest() == b""


def test_web_that_goes_without_a_word_is_a_503(faked: Faked) -> None:
    site, web = faked
    wire = site.wire().send(get("/"))
    web.take()[0].close()
    answer = wire.answer()
    wait_for(lambda: '"status": 503, "message": "The farm\'s web process ended' in site.log())
    assert (answer.status, answer.headers["retry-after"]) == (503, "2")
    assert answer.body == b"The farm's web process ended; try again in a moment.\n"


def test_web_that_goes_as_soon_as_it_came_is_a_503_every_time(faked: Faked) -> None:
    """Its end may be there before the front has seen its beginning."""
    site, web = faked

    def take_and_close() -> None:
        for _ in range(300):
            web.take()[0].close()

    other = threading.Thread(target=take_and_close)
    other.start()
    assert {site.wire().send(get("/", "Connection: close\r\n")).answer().status for _ in range(300)} == {503}
    other.join(20)


def test_uploads_in_chunks_and_with_an_expectation(shared: Site) -> None:
    boundary = "Content-Type: multipart/form-data; boundary=x\r\n"
    wire = shared.wire()
    wire.send(
        get("/dev/legacy/", boundary, "Expect: 100-continue\r\n", "Content-Length: 4\r\n", method="POST")
    )
    assert wire.answer().status == 100
    wire.send(b"body")
    assert wire.answer().status == 401
    uploader = basic(shared.house.token("upload:dev"))
    wire = shared.wire()
    wire.send(get("/dev/legacy/", boundary, uploader, "Transfer-Encoding: chunked\r\n", method="POST"))
    wire.send(b"3\r\n--x\r\n2\r\n--\r\n0\r\n\r\n")
    answer = wire.answer()
    assert answer.status == 400
    assert answer.reason.startswith("The upload form cannot be read")


# Verdicts -------------------------------------------------------------------------------------------


def test_many_that_ask_at_once_are_one_question(faked: Faked) -> None:
    site, web = faked
    wires = [site.wire().send(page(site)) for _ in range(20)]
    question = web.verdict()
    assert question.startswith(b"GET /_verdict/dev HTTP/1.1\r\n")
    assert b"\r\nX-Forwarded-For: 127.0.0.1\r\n" in question
    assert {wire.answer().status for wire in wires} == {200}
    assert web.is_idle


def test_a_refusal_is_remembered_and_guessing_pushes_nobody_out(faked: Faked) -> None:
    site, web = faked
    good = site.wire().send(page(site))
    web.verdict()
    assert good.answer().status == 200
    wire = site.wire()
    for _ in range(2):
        wire.send(get(PAGE, site.facts["STRANGER"]))
    web.verdict("401 Unauthorized")
    assert [wire.answer().status for _ in range(2)] == [401, 401]
    assert good.send(page(site)).answer().status == 200
    assert web.is_idle


def test_whoever_may_not_read_is_told_so(faked: Faked) -> None:
    site, web = faked
    wire = site.wire().send(page(site))
    web.verdict("403 Forbidden")
    assert wire.answer().status == 403


@pytest.mark.parametrize("line", ["503 Service Unavailable", "200 OK", "500 Oops", "204 No Content", "x"])
def test_no_verdict_is_no_allow(faked: Faked, line: str) -> None:
    site, web = faked
    wire = site.wire().send(page(site))
    web.verdict(line)
    answer = wire.answer()
    assert answer.status == 503
    assert answer.body == b"The farm cannot tell at the moment whether these credentials are good.\n"


def test_known_readers_go_on_while_web_is_away(own_faked: Faked) -> None:
    site, web = own_faked
    wire = site.wire().send(page(site))
    web.verdict()
    assert wire.answer().status == 200
    web.close()
    os.unlink(web.path)
    deadline = time.monotonic() + 4  # longer than an allow is fresh
    while time.monotonic() < deadline:
        assert wire.send(page(site)).answer().status == 200
        time.sleep(0.1)
    assert site.wire().send(get(PAGE, site.facts["STRANGER"])).answer().status == 503
    away = site.wire().send(get("/healthz")).answer()
    assert (away.status, away.body) == (
        503, b"The farm's web process is away; what is in the index can be installed.\n",
    )  # fmt: skip


# Ends and logs --------------------------------------------------------------------------------------


def test_a_front_that_ends_finishes_what_it_sends(own_faked: Faked) -> None:
    site, web = own_faked
    tree = site.house.tree
    big = site.folder / "big"
    big.write_bytes(os.urandom(1 << 20) * 32)
    tree.link("dev/files/my-widget/my_widget-9.0.tar.gz", big)
    idle, busy = site.wire(), site.wire()
    idle.send(page(site))
    web.verdict()
    assert idle.answer().status == 200
    busy.send(page(site, path="/dev/files/my-widget/my_widget-9.0.tar.gz"))
    busy.socket.recv(1000, socket.MSG_PEEK)
    front = site.processes["front"]
    front.send_signal(signal.SIGTERM)
    assert idle.rest() == b""
    with pytest.raises(ConnectionRefusedError):
        site.wire()
    assert busy.answer().body == big.read_bytes()
    assert busy.rest() == b""
    assert front.wait(20) == 0
    tree.drop("dev/files/my-widget/my_widget-9.0.tar.gz")


def test_large_files_come_whole_and_in_ranges_to_slow_readers(shared: Site) -> None:
    big = shared.folder / "large"
    big.write_bytes(os.urandom(1 << 20) * 8)
    path = "/dev/files/my-widget/my_widget-8.0.tar.gz"
    shared.house.tree.link(path.removeprefix("/"), big)
    wire = shared.wire()
    wire.send(page(shared, path=path) + page(shared, "Range: bytes=1000000-\r\n", path=path) + page(shared))
    time.sleep(0.2)
    data = big.read_bytes()
    assert wire.answer().body == data
    assert wire.answer().body == data[1_000_000:]
    assert wire.answer().status == 200
    shared.house.tree.drop(path.removeprefix("/"))


def test_the_log_has_every_request_and_no_credential(own_faked: Faked) -> None:
    site, web = own_faked
    wire = site.wire().send(page(site))
    web.verdict()
    wire.answer()
    wire.send(page(site, path=f"{PAGE}?token=bft_secret")).answer()
    wait_for(lambda: site.log().count('"event": "request"') == 2)
    assert f'"path": "{PAGE}", "status": 200' in site.log()
    assert re.search(r"bft_|Basic|[Aa]uthorization", site.log()) is None


# Changes --------------------------------------------------------------------------------------------


def test_a_large_page_that_was_replaced_is_answered_as_it_is_now(faked: Faked) -> None:
    """Whether or not the tree's serial has moved yet, and without web."""
    site, web = faked
    tree = site.house.tree
    bodies = [bytes([number]) * 400_000 for number in range(3)]
    tree.put_page("dev", "large", dict.fromkeys(FORMS, bodies[0]), 1)
    tree.note_change()
    wire = site.wire()
    ask = page(site, f"Accept: {JSON}\r\n", "Accept-Encoding: gzip\r\n", path="/dev/simple/large/")
    wire.send(ask)
    web.verdict()
    assert wire.answer().body == bodies[0]
    for number in (1, 2):
        tree.put_page("dev", "large", dict.fromkeys(FORMS, bodies[number]), number + 1)
        assert wire.send(ask).answer().body == bodies[number]
    tree.drop_project("dev", "large")
    tree.note_change()


def test_no_answer_is_older_than_the_newest_change(faked: Faked) -> None:
    site, web = faked
    tree = site.house.tree
    wire = site.wire()
    forms = {"json.gz": b"", "json.zst": b"", "html.gz": b""}
    tree.put_page("dev", "restless", forms, 1)
    tree.note_change()
    ask = page(site, f"Accept: {JSON}\r\n", "Accept-Encoding: gzip\r\n", path="/dev/simple/restless/")
    wire.send(ask)
    web.verdict()
    assert wire.answer().status == 200
    for number in range(100):
        body = b"%d" % number
        tree.put_page("dev", "restless", forms | {"json.gz": body}, number)
        tree.note_change()
        assert wire.send(ask).answer().body == body
        if number % 10 == 0:
            assert wire.send(ask).answer().body == body
    tree.drop_project("dev", "restless")
    tree.note_change()
    assert wire.send(ask).answer().status == 404
