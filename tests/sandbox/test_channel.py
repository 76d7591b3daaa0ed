"""The container's only door, spoken to as a container would."""

import http.client
import json
import os
import socket
import threading
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from buildfarm.errors import ExternalFailure
from buildfarm.sandbox.channel import MAX_UNKNOWN, Channel
from buildfarm.sandbox.compilecache import CompileCache
from buildfarm.sandbox.doorserver import SOCKET_NAME
from buildfarm.sandbox.port import IndexAnswer
from buildfarm.sandbox.spec import Limits
from tests.sandbox.conftest import FakeFarm

WHEEL = "x-1-py3-none-any.whl"


class Client(http.client.HTTPConnection):
    def __init__(self, directory):
        super().__init__("farm", timeout=60)
        self.directory = directory

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        descriptor = os.open(self.directory, os.O_PATH)
        try:
            self.sock.connect(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
        finally:
            os.close(descriptor)

    def ask(self, method, path, body=None, headers=None):
        self.request(method, path, body=body, headers=headers or {})
        answer = self.getresponse()
        return answer.status, answer.read()


@pytest.fixture
def door(tmp_path):
    """Open a door in a directory whose path is far longer than a socket address may be."""
    opened = []

    def make(farm=None, **limits):
        directory = tmp_path / ("d" * 120) / "door"
        directory.mkdir(parents=True)
        outputs = tmp_path / "out"
        outputs.mkdir()
        channel = Channel(farm or FakeFarm(), directory, outputs, Limits(**limits))
        channel.__enter__()
        client = Client(directory)
        opened.append((channel, client))
        return channel, client

    yield make
    for channel, client in opened:
        client.close()
        channel.__exit__()


@pytest.fixture
def wheelhouse_of(tmp_path):
    def make(*names):
        for name in names:
            (tmp_path / name).write_bytes(b"wheel")
        return tmp_path

    return make


def test_the_index_is_relayed_with_its_headers(door, tmp_path):
    class Index(FakeFarm):
        def index_get(self, path, headers):
            assert headers == {"accept": "application/json"}
            return IndexAnswer(200, {"ETag": '"1"', "Set-Cookie": "no"}, iter([b"ab", b"", b"cd"]))

    _, client = door(Index())
    client.request("GET", "/simple/x/", headers={"Accept": "application/json", "Cookie": "no"})
    answer = client.getresponse()

    assert answer.read() == b"abcd"
    assert answer.headers["etag"] == '"1"'
    assert "set-cookie" not in answer.headers


def test_many_requests_are_answered_at_the_same_time(door):
    together = threading.Barrier(4, timeout=60)

    class Index(FakeFarm):
        def index_get(self, path, headers):
            together.wait()
            return IndexAnswer(200, {}, iter([path.encode()]))

    _, client = door(Index())
    clients = [Client(client.directory) for _ in range(4)]
    answers = []
    threads = [
        threading.Thread(target=lambda c=c, n=n: answers.append(c.ask("GET", f"/simple/p{n}/")))
        for n, c in enumerate(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for other in clients:
        other.close()

    assert sorted(answers) == [(200, b"/simple/p%d/" % n) for n in range(4)]


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/simple",
        "/simple/",
        "/hooks/x",
        "/files/../api/v1/x",
        "/files/x/..",
        "http://other/simple/x/",
        "/simple\\..\\api",
        "/simple/%2e%2e/%2e%2e/source",
        "/simple/%2E%2E/",
        "/simple/..%2f..%2fsource/",
        "/files/x/..%2f..%2f..%2fsource",
        "/files/x/%5c..%5csource",
        "/files/x/%0d%0aHost:%20other",
        "/files/x/y/z",
        "/simple/x/?y=../../source",
        "/simple//",
        "//other/simple/x/",
        "/crates/",
        "/crates/index/../../source",
        "/crates/index/le/af/%2e%2e",
        "/crates/index/le/af/other",
        "/crates/index/le/af/leaf/config.json",
        "/crates/files/..%2f..%2fsource/1.0.0/download",
        "/crates/files/leaf/1.0.0/../download",
        "/crates/files/leaf/1.0.0/download?x",
        "/go/",
        "/go/go.example/../../source/@v/list",
        "/go/go.example/%2e%2e/@v/list",
        "/go/go.example/x/@v/..%2fsource.zip",
        "/go/go.example/x/@v/master.info",
        "/go/go.example/Upper/@v/list",
        "/go/go.example//x/@v/list",
        "/go/sumdb/sum.example/supported",
    ],
)
def test_nothing_but_the_index_is_reachable(door, path):
    farm = FakeFarm()
    _, client = door(farm)

    assert client.ask("GET", path)[0] == 404
    assert farm.asked == []


@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/simple/x", "/simple/x/"),
        ("/simple/Zope.Interface/", "/simple/Zope.Interface/"),
        ("/files/x/x-1+cpu-py3-none-any.whl", "/files/x/x-1%2Bcpu-py3-none-any.whl"),
        ("/files/x/x-1%2Bcpu-py3-none-any.whl.metadata", "/files/x/x-1%2Bcpu-py3-none-any.whl.metadata"),
        ("/files/x/x-1%252e%252e.tar.gz", "/files/x/x-1%252e%252e.tar.gz"),
        ("/files/x/x?#1.tar.gz", "/files/x/x%3F%231.tar.gz"),
        ("/crates/index/config.json", "/crates/index/config.json"),
        ("/crates/index/le/af/leaf", "/crates/index/le/af/leaf"),
        ("/crates/files/Leaf/1.0.0%2Bb.2/download", "/crates/files/Leaf/1.0.0+b.2/download"),
        ("/go/go.example/%21deep/thing/@latest", "/go/go.example/!deep/thing/@latest"),
        ("/go/go.example/x/@v/v2.0.0+incompatible.zip", "/go/go.example/x/@v/v2.0.0+incompatible.zip"),
    ],
)
def test_the_farm_is_asked_in_its_own_spelling(door, path, asked):
    farm = FakeFarm()
    _, client = door(farm)
    client.ask("GET", path)

    assert farm.asked == [asked]


def test_names_that_are_nowhere_are_noted_until_there_are_too_many(door, wheelhouse_of):
    farm = FakeFarm(wheelhouse=wheelhouse_of("there-1-py3-none-any.whl"))
    channel, client = door(farm)
    for path in (
        "/simple/there/",
        "/files/there/there-2-py3-none-any.whl",
        "/simple/No_Such/",
        "/simple/no.such/",
    ):
        client.ask("GET", path)
    assert channel.traffic.unknown == ["no-such"]
    for number in range(MAX_UNKNOWN):
        assert not channel.traffic.is_probing
        assert client.ask("GET", f"/files/no{number}/x.whl")[0] == 404
    assert channel.traffic.is_probing
    asked = len(farm.asked)
    assert client.ask("GET", "/simple/one-more/")[0] == 429
    assert len(farm.asked) == asked
    assert client.ask("GET", "/simple/there/")[0] == 200


def test_crates_and_go_modules_that_are_nowhere_are_noted_with_the_version_that_was_asked_for(door):
    class Registries(FakeFarm):
        def index_get(self, path, headers):
            there = path in (
                "/crates/index/config.json",
                "/crates/index/le/af/leaf",
                "/go/go.example/m/@v/list",
            )
            return IndexAnswer(200 if there else 404, {}, iter([b"x"]))

    channel, client = door(Registries())
    for path in (
        "/crates/index/config.json",
        "/crates/index/le/af/leaf",
        "/crates/files/leaf/1.0.0/download",
        "/crates/index/se/cr/secret",
        "/go/go.example/m/@v/list",
        "/go/go.example/m/@latest",
        "/go/go.example/m/@v/v1.0.0-secret.info",
        "/go/go.example/m/@v/v1.0.0-secret.mod",
        "/go/go.example/other/@v/list",
        "/go/go.example/other/@latest",
    ):
        client.ask("GET", path)

    assert channel.traffic.unknown == [
        "leaf@1.0.0", "secret", "go.example/m@v1.0.0-secret", "go.example/other"
    ]  # fmt: skip


@pytest.mark.parametrize(("method", "status"), [("HEAD", 405), ("POST", 501), ("DELETE", 501)])
def test_the_index_cannot_be_asked_in_another_way(door, method, status):
    _, client = door()

    assert client.ask(method, "/simple/x/")[0] == status


def test_an_index_that_is_away_is_a_502_and_counted(door):
    class Away(FakeFarm):
        def index_get(self, path, headers):
            raise ExternalFailure("away")

    channel, client = door(Away())

    assert client.ask("GET", "/simple/x/")[0] == 502
    assert channel.traffic.index_failures == 1


def test_an_answer_that_breaks_off_does_not_look_whole(door):
    def body():
        yield b"half"
        raise ExternalFailure("gone")

    class Breaks(FakeFarm):
        def index_get(self, path, headers):
            return IndexAnswer(200, {}, body())

    channel, client = door(Breaks())
    with pytest.raises(http.client.IncompleteRead):
        client.ask("GET", "/files/x/x-1.tar.gz")
    assert channel.traffic.index_failures == 1


def test_a_file_is_stored_with_its_digest(door):
    channel, client = door()

    assert client.ask("PUT", f"/out/{WHEEL}", b"abc")[0] == 201
    (output,) = channel.traffic.outputs
    assert output.path.read_bytes() == b"abc"
    assert output.sha256 == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "../x-1-py3-none-any.whl",
        "..%2fx",
        "x.whl",
        "evil.txt",
        "x-1.zip",
        "a/b-1.tar.gz",
        "-1.tar.gz",
        "x-1-py3-none-any%2f..%2f..%2ffinish.whl",
        "x-1-py3-none-any?x=.whl",
        "x-1-py3-none-<b>.whl",
    ],
)
def test_a_name_that_is_no_distribution_is_refused(door, tmp_path, name):
    channel, client = door()

    assert client.ask("PUT", f"/out/{name}", b"abc")[0] == 400
    assert channel.traffic.outputs == []
    assert channel.traffic.refusal
    assert list((tmp_path / "out").iterdir()) == []


def test_count_size_and_repetition_are_limited(door):
    channel, client = door(output_bytes=10, output_count=2)
    assert client.ask("PUT", f"/out/{WHEEL}", b"123456")[0] == 201
    for name, body in ((WHEEL, b"1"), ("y-1.tar.gz", b"12345")):
        status, reason = client.ask("PUT", f"/out/{name}", body)
        assert status == 400, reason
    assert client.ask("PUT", "/out/y-1.tar.gz", b"1234")[0] == 201
    assert client.ask("PUT", "/out/z-1.tar.gz", b"")[0] == 400
    assert len(channel.traffic.outputs) == 2


def test_a_file_that_the_builder_cannot_keep_is_the_builders_fault(door, monkeypatch):
    channel, client = door(output_bytes=1 << 20)
    monkeypatch.setattr(Path, "open", lambda _path, _mode: open("/dev/full", "wb"))  # noqa: SIM115

    status, reason = client.ask("PUT", f"/out/{WHEEL}", bytes(1 << 20))
    assert status == 507
    assert reason.decode().startswith(f"The builder cannot keep {WHEEL}: ")
    assert channel.traffic.failure
    assert channel.traffic.refusal is None
    assert channel.traffic.outputs == []


def test_a_file_that_ends_early_is_not_kept(door, tmp_path):
    channel, client = door()
    client.putrequest("PUT", f"/out/{WHEEL}")
    client.putheader("Content-Length", "10")
    client.endheaders(b"abc")
    client.sock.shutdown(socket.SHUT_WR)

    assert client.getresponse().status == 400
    assert channel.traffic.outputs == []
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "status"),
    [(b'{"a": 1}', 201), (b"[]", 400), (b"{", 400), (b"\xff", 400), (b'{"a":"' + b"x" * 70_000 + b'"}', 413)],
)
def test_facts_are_one_small_object(door, body, status):
    channel, client = door()

    assert client.ask("PUT", "/facts", body)[0] == status
    assert channel.traffic.facts == (json.loads(body) if status == 201 else {})


def test_an_entry_of_the_cache_that_ends_early_is_not_kept(door, tmp_path):
    channel, client = door()
    channel.cache = CompileCache(tmp_path / "cache")
    assert client.ask("PUT", "/cache/whole", b"abc")[0] == 201
    assert client.ask("GET", "/cache/whole") == (200, b"abc")
    client.putrequest("PUT", "/cache/half")
    client.putheader("Content-Length", "10")
    client.endheaders(b"abc")
    client.sock.shutdown(socket.SHUT_WR)

    assert client.getresponse().status == 400
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["whole"]


def test_a_length_is_required(door):
    _, client = door()
    client.putrequest("PUT", f"/out/{WHEEL}")
    client.putheader("Transfer-Encoding", "chunked")
    client.endheaders()

    assert client.getresponse().status == 411


def test_what_is_looked_at_before_the_last_word_counts_is_known_by_then(tmp_path):
    """A watch that saw the end first would miss that a child was killed for its memory."""
    directory, outputs, seen = tmp_path / "door", tmp_path / "out", []
    directory.mkdir()
    outputs.mkdir()

    @contextmanager
    def looked():
        seen.append(channel.traffic.has_ended_well)
        yield
        seen.append(channel.traffic.has_ended_well)

    channel = Channel(FakeFarm(), directory, outputs, Limits(), on_facts=looked)
    with channel, closing(Client(directory)) as client:
        assert client.ask("PUT", "/facts", b'{"exit_code": 0}')[0] == 201
    assert seen == [False, True]
