"""https: the farm's own authority, supplied certificates, and what real clients say to them."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import ssl
import subprocess
import sys
import termios
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from buildfarm import clock
from buildfarm.cli.address import Address, address_of, authority, front_options
from buildfarm.config import Settings, Tls
from buildfarm.errors import EnvironmentProblem
from buildfarm.trust import tls
from tests.conftest import House, wheel
from tests.front.conftest import Site, get
from tests.front.corpus import PAGE
from tests.index.conftest import put_one
from tests.ports import free_port
from tests.waiting import wait_for

NAMES = ("localhost", "127.0.0.1", "::1", "farm.example")


@pytest.fixture
def secure(shared: Site, tmp_path: Path) -> Site:
    """A front of the shared farm that speaks https under an authority of its own."""
    site = Site(shared.house, tmp_path, free_port(), shared.web_socket, shared.env, facts=shared.facts)
    site.start_front("--own-tls", str(tmp_path / "tls"), "--names", *NAMES)
    yield site
    site.end()


def shake(site: Site, **more: object) -> ssl.SSLSocket:
    context = ssl.create_default_context(cafile=site.folder / "tls" / "ca.pem")
    for name, value in more.items():
        setattr(context, name, value)
    raw = socket.create_connection(("127.0.0.1", site.port), timeout=20)
    return context.wrap_socket(raw, server_hostname="localhost")


def ask(line: ssl.SSLSocket, data: bytes) -> bytes:
    line.sendall(data)
    answer = b""
    while chunk := line.recv(1 << 20):
        answer += chunk
    return answer


def test_an_authority_and_a_server_are_two_certificates(tmp_path: Path) -> None:
    made = tls.ensure(tmp_path / "tls", NAMES)
    ca, server = (
        x509.load_pem_x509_certificate(path.read_bytes()) for path in (made.authority, made.certificate)
    )
    server.verify_directly_issued_by(ca)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert ca.extensions.get_extension_for_class(x509.KeyUsage).value.key_cert_sign
    assert not server.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {str(name) for name in names.get_values_for_type(x509.IPAddress)} == {"127.0.0.1", "::1"}
    assert set(names.get_values_for_type(x509.DNSName)) == {"localhost", "farm.example"}
    assert all(path.stat().st_mode & 0o077 == 0 for path in (tmp_path / "tls").glob("*.key"))


def test_a_certificate_stays_until_it_must_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "tls"

    def state() -> tuple[bytes, bytes]:
        made = tls.ensure(folder, names)
        return made.authority.read_bytes(), made.certificate.read_bytes()

    names = ["a.example"]
    first = state()
    assert state() == first
    names = ["a.example", "b.example"]
    other = state()
    assert (other[0] == first[0], other[1] == first[1]) == (True, False)
    now = clock.now()
    monkeypatch.setattr(tls.clock, "now", lambda: now + timedelta(days=300))
    assert state() == other
    monkeypatch.setattr(tls.clock, "now", lambda: now + timedelta(days=350))
    renewed = state()
    assert (renewed[0] == first[0], renewed[1] == other[1]) == (True, False)
    (folder / "ca.pem").write_text("nonsense")
    with pytest.raises(EnvironmentProblem, match="cannot be read"):
        tls.ensure(folder, names)


@pytest.mark.parametrize(
    ("host", "is_tls", "url"),
    [
        ("127.0.0.1", False, "http://127.0.0.1:80"),
        ("localhost", False, "http://localhost:80"),
        ("::1", False, "http://[::1]:80"),
        ("192.0.2.7", True, "https://192.0.2.7:80"),
    ],
)
def test_only_loopback_is_plain(host: str, is_tls: bool, url: str, tmp_path: Path) -> None:
    address = address_of(Settings(data=tmp_path), host, 80)
    assert (address.is_tls, address.url) == (is_tls, url)


def test_all_addresses_are_in_the_certificate_of_all(tmp_path: Path) -> None:
    address = Address("0.0.0.0", 80, is_tls=True)
    names = address.names("https://farm.example:80")
    assert {"farm.example", "localhost", "127.0.0.1"} <= set(names)
    assert "0.0.0.0" not in names
    assert address.local_url == "https://127.0.0.1:80"


def test_supplied_files_are_used_or_named(tmp_path: Path) -> None:
    made = tls.ensure(tmp_path / "tls", NAMES)
    given = Tls(cert_file=str(made.certificate), key_file=str(made.key))
    settings = Settings(data=tmp_path, tls=given)
    address = address_of(settings, "127.0.0.1", 80)
    assert address.is_tls
    assert front_options(settings, address)[-4:] == [
        "--certificate",
        str(made.certificate),
        "--key",
        str(made.key),
    ]
    assert authority(settings, address) is None
    made.key.write_text("nonsense")
    with pytest.raises(EnvironmentProblem, match="cannot be used"):
        front_options(settings, address)
    with pytest.raises(ValueError, match="go together"):
        Tls(cert_file="x")


def test_pages_files_and_splices_by_https(secure: Site) -> None:
    data = os.urandom(1 << 20) * 5
    big = secure.folder / "big"
    big.write_bytes(data)
    path = "dev/files/my-widget/my_widget-7.0.tar.gz"
    secure.house.tree.link(path, big)
    reader, last = secure.facts["READER"], "Connection: close\r\n"
    line = shake(secure)
    assert line.version() == "TLSv1.3"
    assert line.selected_alpn_protocol() is None
    answer = ask(line, get(PAGE, reader) + get(f"/{path}", reader) + get("/healthz", last))
    assert answer.count(b"HTTP/1.1 200 OK\r\n") == 3
    assert data in answer
    assert answer.endswith(b'{"status":"ok"}\n')
    assert ask(shake(secure), get(f"/{path}", reader, last)).endswith(data)
    secure.house.tree.drop(path)


def test_a_large_file_goes_on_when_a_slow_reader_does(secure: Site) -> None:
    data = os.urandom(1 << 20) * 24
    big = secure.folder / "big"
    big.write_bytes(data)
    path = "dev/files/my-widget/my_widget-7.0.tar.gz"
    secure.house.tree.link(path, big)
    line = shake(secure)
    line.sendall(get(f"/{path}", secure.facts["READER"], "Connection: close\r\n"))
    waiting = [-2, -1]

    def has_filled_up() -> bool:
        waiting.append(int.from_bytes(fcntl.ioctl(line, termios.FIONREAD, bytes(4)), "little"))
        return waiting[-1] == waiting[-2] == waiting[-3] > 0

    wait_for(has_filled_up, "everything between to be full")
    answer = b""
    while chunk := line.recv(1 << 20):
        answer += chunk
    assert answer.endswith(data)
    secure.house.tree.drop(path)


def test_old_protocols_and_plain_text_are_refused(secure: Site) -> None:
    with pytest.warns(DeprecationWarning, match="TLSv1_1"), pytest.raises(ssl.SSLError):
        shake(secure, minimum_version=ssl.TLSVersion.TLSv1_1, maximum_version=ssl.TLSVersion.TLSv1_1)
    assert b"200" not in secure.wire().send(get("/healthz")).rest()


def run(command: list[str], env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=120)


@pytest.mark.system
def test_pip_and_uv_install_by_https(secure: Site, tmp_path: Path) -> None:
    name = "tls-widget"
    put_one(secure.house, *wheel(name))
    token = secure.house.token("read:dev")
    index = f"https://__token__:{token}@localhost:{secure.port}/dev/simple/"
    ca = str(secure.folder / "tls" / "ca.pem")
    env = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("PIP_", "UV_", "SSL_")) and "CA_BUNDLE" not in key
    }
    pip = [sys.executable, "-m", "pip", "install", "--isolated", "--no-deps", "--index-url", index]
    cache = ["--cache-dir", str(tmp_path / "cache")]
    assert run([*pip, "--retries", "0", "-t", str(tmp_path / "no"), name], env).returncode != 0
    for attempt in ("one", "two"):
        ended = run([*pip, "--cert", ca, *cache, "-t", str(tmp_path / attempt), name], env)
        assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "two" / "tls_widget" / "__init__.py").is_file()
    uv = [sys.executable, "-m", "uv", "pip", "install", "--no-config", "--no-cache", "--default-index", index]
    ended = run([*uv, "-t", str(tmp_path / "uv"), name], env | {"SSL_CERT_FILE": ca})
    assert ended.returncode == 0, ended.stderr
    assert (tmp_path / "uv" / "tls_widget" / "__init__.py").is_file()

    def revalidated() -> list[str]:
        lines = [line for line in secure.log().splitlines() if f'"path": "/dev/simple/{name}/"' in line]
        return [line for line in lines if json.loads(line)["status"] == 304]

    wait_for(revalidated)  # the log is written once a second
    assert len(revalidated()) == 1  # pip caches over https


def test_passwords_come_by_https_or_from_this_machine(house: House) -> None:
    client = house.client()
    far, near = {"REMOTE_ADDR": "192.0.2.9"}, {"REMOTE_ADDR": "127.0.0.1"}
    for path in ("/dev/simple/", "/api/v1/builds"):
        asked = {"path": path, "auth": ("ada", "a long password")}
        refused = client.get(environ_overrides=far, **asked)
        assert refused.status_code == 403
        assert client.get(environ_overrides=near, **asked).status_code == 401
        assert client.get(environ_overrides=far, base_url="https://farm.example", **asked).status_code == 401
    assert "Passwords are not taken over plain http" in refused.text
    form = {"username": "ada", "password": "a long password"}
    assert client.post("/login", data=form, environ_overrides=far).status_code == 403
    assert client.post("/login", data=form, environ_overrides=near).status_code == 401
    assert client.post("/dev/legacy/", auth=("ada", "x"), environ_overrides=far).status_code == 403
    token = house.token("read:dev")
    assert client.get("/dev/simple/none/", auth=("ada", token), environ_overrides=far).status_code == 404
