"""Large files of recipes that ask for them, from a store that speaks the documented protocol."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from buildfarm.errors import FarmError
from buildfarm.sources.contract import Credential, FetchLimits
from buildfarm.sources.lfs import _POINTER, _POINTER_BYTES
from tests.sources.conftest import Upstream
from tests.sources.githttp import GitHandler, GitServer

pytestmark = pytest.mark.system

DATA = b"\0large\n" * 50_000


def pointer(data: bytes) -> str:
    digest = hashlib.sha256(data).hexdigest()
    return f"version https://git-lfs.github.com/spec/v1\noid sha256:{digest}\nsize {len(data)}\n"


class Handler(GitHandler):
    """The batch API for repositories, and the store itself."""

    server: LfsServer

    def do_POST(self) -> None:  # noqa: N802  (the name http.server looks for)
        if not self.path.endswith("/info/lfs/objects/batch"):
            self.do_GET()
            return
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append(asked | {"authorization": self.headers.get("Authorization")})
        objects = [self.server.about(one["oid"], one["size"]) for one in asked["objects"]]
        body = json.dumps({"transfer": "basic", "objects": objects}).encode()
        self._reply(self.server.status, {"Content-Type": "application/vnd.git-lfs+json"}, body)

    def do_GET(self) -> None:  # noqa: N802
        if not self.path.startswith("/store/"):
            super().do_GET()
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.fetched.append((self.path, headers))
        self._reply(200, {}, self.server.data)


class LfsServer(GitServer):
    handler = Handler

    def __init__(self, root) -> None:
        super().__init__(root)
        self.status, self.data, self.href = 200, DATA, ""
        self.asked: list[dict[str, Any]] = []
        self.fetched: list[tuple[str, dict[str, str]]] = []

    def about(self, oid: str, size: int) -> dict[str, Any]:
        href = self.href or f"http://127.0.0.1:{self.server_address[1]}/store/{oid}?signed=1"
        actions = {"download": {"href": href, "header": {"X-Store": "yes"}}}
        return {"oid": oid, "size": size, "actions": {} if self.href == "none" else actions}


@pytest.fixture
def server(upstream: Upstream) -> Iterator[LfsServer]:
    upstream.commit("Add data", **{"data.bin": pointer(DATA), "copy.bin": pointer(DATA), "small": "text\n"})
    with LfsServer(upstream.path.parent) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def get(server, take):
    return lambda **more: take(**{"url": server.url, "allow_file": False, "lfs": True} | more)


def test_what_pointers_name_is_in_their_places_and_git_sees_no_change(server, get, unpack, git_in):
    taken = get()
    source = unpack(taken)
    assert (source / "data.bin").read_bytes() == (source / "copy.bin").read_bytes() == DATA
    assert git_in(source, "status", "--porcelain") == ""
    ((path, headers),) = server.fetched
    assert path.endswith("?signed=1")
    assert headers["x-store"] == "yes"
    (asked,) = server.asked
    assert (asked["operation"], asked["authorization"]) == ("download", None)
    assert asked["objects"] == [{"oid": hashlib.sha256(DATA).hexdigest(), "size": len(DATA)}]
    assert get().sha256 == taken.sha256


def test_they_stay_pointers_where_nobody_asks(server, get, unpack):
    assert (unpack(get(lfs=False)) / "data.bin").read_text() == pointer(DATA)
    assert server.asked == []


def test_the_credential_goes_to_the_source_s_own_host_alone(server, get):
    server.password = "canary"
    credential = Credential(username="robot", password=SecretStr("canary"))
    expected = f"Basic {base64.b64encode(b'robot:canary').decode()}"
    get(credential=credential)
    assert server.asked[0]["authorization"] == server.fetched[0][1]["authorization"] == expected
    with LfsServer(server.root) as other:
        thread = threading.Thread(target=other.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        server.href = f"http://127.0.0.1:{other.server_address[1]}/store/x"
        get(credential=credential)
        other.shutdown()
        thread.join()
    assert "canary" not in str(other.fetched)
    assert other.fetched[0][1].keys() == {"accept-encoding", "user-agent", "x-store", "host"}


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"data": DATA[:-1]}, "source.lfs_wrong"),
        ({"data": DATA + b"x"}, "source.lfs_wrong"),
        ({"data": DATA[:-1] + b"x"}, "source.lfs_wrong"),
        ({"href": "none"}, "source.lfs_missing"),
        ({"href": "http://store.example/x"}, "source.url_refused"),
        ({"href": "https://169.254.169.254/x"}, "source.url_refused"),
        ({"href": "https://robot:pw@store.example/x"}, "source.url_refused"),
        ({"href": "file:///etc/passwd"}, "source.url_refused"),
        ({"href": "http://127.0.0.1:1/x"}, "source.unreachable"),
        ({"status": 403}, "source.authentication"),
        ({"status": 404}, "source.lfs_missing"),
        ({"status": 302}, "source.unreachable"),
    ],
)
def test_what_a_store_may_get_wrong_is_said_and_nothing_is_kept(server, get, tmp_path, change, code):
    vars(server).update(change)
    with pytest.raises(FarmError) as error:
        get()
    assert error.value.code == code, error.value
    assert list(tmp_path.glob("snapshot-*.tar")) == []


def test_limits_count_what_pointers_name_before_it_is_fetched(server, get):
    for limits in (FetchLimits(file_bytes=len(DATA) - 1), FetchLimits(bytes=2 * len(DATA))):
        with pytest.raises(FarmError) as error:
            get(limits=limits)
        assert error.value.code in {"source.file_too_large", "source.too_large"}
    assert server.asked == []


def test_over_ssh_and_from_files_it_says_what_to_do(upstream, server, take):
    with pytest.raises(FarmError) as error:
        take(lfs=True)
    assert (error.value.code, "https" in error.value.hint) == ("source.lfs_refused", True)


@given(st.binary(max_size=64), st.integers(0, 10**15 - 1))
def test_a_pointer_is_known_by_its_every_byte(data: bytes, size: int) -> None:
    text = pointer(data).replace(f"size {len(data)}", f"size {size}").encode()
    assert _POINTER.fullmatch(text)
    assert len(text) in _POINTER_BYTES
    assert not _POINTER.fullmatch(text + b"x")
    assert not _POINTER.fullmatch(text.replace(b"\n", b"\r\n"))
