"""Fetching over HTTP: credentials, refusals, redirects, an unprivileged fetcher."""

from __future__ import annotations

import base64
import os
import pwd
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from buildfarm.errors import EnvironmentProblem, ExternalFailure, Forbidden, InvalidInput, NotFound
from buildfarm.sources import resolve
from buildfarm.sources.contract import Credential, FetchLimits, FetchRequest, Snapshot
from buildfarm.sources.fetcher import fetch_snapshot, list_refs
from buildfarm.sources.gitrun import GitRunner
from buildfarm.sources.mirror import Mirror
from buildfarm.sources.resolve import addresses_of
from buildfarm.sources.rules import checked_url
from tests.sources.githttp import GitServer

PASSWORD = "p%ss w:rd/ü+&'\"$(id)"

pytestmark = pytest.mark.system  # each fetch starts a fetcher


@pytest.fixture
def server(upstream) -> Iterator[GitServer]:
    with GitServer(upstream.path.parent) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def authority(server: GitServer, tmp_path: Path) -> str:
    """Makes the server speak TLS with a certificate of a private authority, whose own certificate it is."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")

    def openssl(name: str, *more: str) -> None:
        files = ("-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
        command = ["openssl", "req", "-x509", *key, *files, *more]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)

    openssl("ca")
    openssl("server", "-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=IP:127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.scheme = "https"
    return (tmp_path / "ca.pem").read_text()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that other users may pass through, as pytest's own are not."""
    made = Path(tempfile.mkdtemp(prefix="sources-"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def get(server: GitServer, folder: Path) -> Callable[..., Snapshot]:
    numbers = iter(range(100))

    def fetch(**changes: object) -> Snapshot:
        usual = {"url": server.url, "ref": "refs/heads/main", "mirror_dir": folder / "mirror"}
        request = FetchRequest.model_validate({**usual, **changes})
        return fetch_snapshot(request, folder / f"{next(numbers)}.tar")

    return fetch


def _robot(password: str) -> Credential:
    return Credential(username="robot", password=SecretStr(password))


def test_a_public_repository_is_fetched_and_fetched_again(upstream, get, server):
    assert get().commit == upstream.git("rev-parse", "main")
    commit = upstream.commit("More", a="2\n")
    assert get().commit == commit
    assert all(authorization is None for _, authorization in server.seen)


def test_the_right_credentials_open_a_private_repository(upstream, get, server, folder):
    server.password = PASSWORD
    assert get(credential=_robot(PASSWORD)).commit == upstream.git("rev-parse", "main")
    request = FetchRequest(url=server.url, mirror_dir=folder / "mirror", credential=_robot(PASSWORD))
    assert list_refs(request)["refs/heads/main"].commit == upstream.git("rev-parse", "main")


def test_a_private_authority_is_believed_by_the_source_that_names_it_alone(upstream, get, server, authority):
    server.password = PASSWORD
    with pytest.raises(EnvironmentProblem) as error:
        get(credential=_robot(PASSWORD))
    assert error.value.code == "source.tls"
    assert all(authorization is None for _, authorization in server.seen)
    robot = _robot(PASSWORD).model_copy(update={"ca": authority})
    assert get(credential=robot).commit == upstream.git("rev-parse", "main")


@pytest.mark.parametrize("credential", [None, _robot("wrong-" + PASSWORD)], ids=["none", "wrong"])
def test_missing_and_wrong_credentials_are_refused_and_never_told(get, server, folder, credential, capfd):
    server.password = PASSWORD
    with pytest.raises(Forbidden) as error:
        get(credential=credential)
    assert error.value.code == "source.authentication"
    told = f"{error.value} {error.value.facts} {error.value!r} {capfd.readouterr()}"
    for secret in ("p%ss", base64.b64encode(f"robot:wrong-{PASSWORD}".encode()).decode()[12:-4]):
        assert secret not in told
    for path in folder.rglob("*"):
        if path.is_file():
            assert b"p%ss" not in path.read_bytes()


def test_credentials_are_on_no_command_line_and_in_no_environment(get, server):
    server.password = "canary-4711"
    found: list[bytes] = []

    def look() -> None:
        for process in Path("/proc").glob("[0-9]*"):
            for name in ("cmdline", "environ"):
                try:
                    text = (process / name).read_bytes()
                except OSError:
                    continue
                if b"canary-4711" in text or base64.b64encode(b"robot:canary-4711") in text:
                    found.append(text)

    server.while_serving = look
    assert get(credential=_robot("canary-4711")).commit
    assert any(authorization for _, authorization in server.seen)
    assert found == []


def test_a_credential_is_not_shown_by_its_request(folder):
    request = FetchRequest(url="https://ghe.example/a/b", mirror_dir=folder, credential=_robot("canary-4711"))
    assert "canary" not in f"{request!r} {request} {request.model_dump_json()}"


def test_credentials_with_control_characters_are_refused(get):
    with pytest.raises(InvalidInput) as error:
        get(credential=_robot("a\nhost=evil.example"))
    assert error.value.code == "source.credential_refused"


def test_redirects_are_not_followed(get, server):
    elsewhere = server.url.replace("127.0.0.1", "localhost") + "/info/refs?service=git-upload-pack"
    server.answer = (302, {"Location": elsewhere}, b"")
    with pytest.raises(InvalidInput) as error:
        get()
    assert error.value.code == "source.redirected"
    assert len(server.seen) == 1


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (404, NotFound, "source.no_repository"),
        (403, Forbidden, "source.authentication"),
        (500, ExternalFailure, "source.unreachable"),
        (503, ExternalFailure, "source.unreachable"),
        (429, ExternalFailure, "source.unreachable"),
        (200, NotFound, "source.ref_unknown"),
    ],
)
def test_what_a_host_answers_is_said_plainly(get, server, status, kind, code):
    server.answer = (status, {"Content-Type": "text/html"}, b"<html>")
    with pytest.raises(kind) as error:
        get()
    assert error.value.code == code, error.value.facts


def test_a_host_that_does_not_listen_is_unreachable(get):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(ExternalFailure) as error:
        get(url=f"http://127.0.0.1:{port}/a")
    assert error.value.code == "source.unreachable"


def test_a_host_that_never_answers_is_given_up(get):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(ExternalFailure) as error:
            get(url=f"http://127.0.0.1:{port}/a", limits=FetchLimits(seconds=1.5))
    assert error.value.code == "source.timeout"


def test_a_name_nobody_knows_is_unreachable(get):
    with pytest.raises(ExternalFailure) as error:
        get(url="https://nowhere.invalid/a/b")
    assert error.value.code == "source.unreachable"


def test_an_ssh_host_that_does_not_listen_is_unreachable(get):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
    with pytest.raises(ExternalFailure) as error:
        get(url=f"ssh://git@127.0.0.1:{port}/a/b")
    assert error.value.code == "source.unreachable"


def test_a_fetcher_started_by_root_works_as_nobody(upstream, get, server, folder):
    owners: set[int] = set()

    def look() -> None:
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (
                    b"git-remote-http" in (process / "cmdline").read_bytes()
                    and str(folder).encode() in (process / "environ").read_bytes()
                ):
                    owners.add(process.stat().st_uid)
            except OSError:
                continue

    server.while_serving = look
    taken = get()
    expected = pwd.getpwnam("nobody").pw_uid if os.geteuid() == 0 else os.geteuid()
    assert owners == {expected}
    assert (folder / "mirror/repo.git/HEAD").stat().st_uid == expected
    assert (folder / "mirror/repo.git").stat().st_mode & 0o777 == 0o700
    assert taken.path.stat().st_uid == os.geteuid()


def test_a_mirror_behind_a_closed_folder_is_used_by_who_may_open_it(get, folder):
    folder.chmod(0o700)
    assert get().commit
    folder.chmod(0o711)
    assert get().commit, "and by the unprivileged user once the way is open"


def test_a_name_that_leads_to_a_metadata_service_is_refused(monkeypatch):
    for address in ("169.254.169.254", "fe80::1", "::ffff:169.254.169.254"):
        answer = [(2, 1, 6, "", ("10.0.0.1", 443)), (2, 1, 6, "", (address, 443))]
        monkeypatch.setattr(resolve.socket, "getaddrinfo", lambda *_, answer=answer, **__: answer)
        with pytest.raises(InvalidInput) as error:
            addresses_of(checked_url("https://ghe.example/a", allow_file=False), ("*", "::/0"))
        assert error.value.code == "source.url_refused"


def test_git_connects_to_the_addresses_that_were_judged(server, tmp_path, upstream):
    port = server.server_address[1]
    url = checked_url(f"https://ghe.example:{port}/a", allow_file=False)
    runner = GitRunner(url, scratch=tmp_path, deadline=time.monotonic() + 20, addresses=["127.0.0.1"])
    with pytest.raises(ExternalFailure) as error:
        Mirror(upstream.path / ".git", runner).list_refs(url.text, limit=1)
    # The name resolves nowhere, yet the loopback server was reached: it just does not speak TLS.
    assert "resolve" not in error.value.facts["git"].lower()


def test_a_name_that_leads_into_the_private_network_is_refused_before_anything_is_asked(
    get, server, monkeypatch
):
    port = server.server_address[1]
    answer = [(2, 1, 6, "", ("127.0.0.1", port))]
    monkeypatch.setattr(resolve.socket, "getaddrinfo", lambda *_, **__: answer)
    url = checked_url(f"https://git.example:{port}/a", allow_file=False)
    with pytest.raises(InvalidInput) as error:
        addresses_of(url, ())
    assert error.value.code == "source.address_refused"
    assert addresses_of(url, ("git.example",)) == ["127.0.0.1"]
    assert server.seen == []
