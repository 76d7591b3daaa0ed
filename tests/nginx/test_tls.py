"""nginx with a certificate: versions, HTTP/2, session tickets, and the same answers."""

from __future__ import annotations

import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.conftest import House
from tests.front.conftest import get
from tests.front.corpus import FILE, PAGE
from tests.front.stage import basic
from tests.front.wire import Wire
from tests.nginx.conftest import Appliance, start
from tests.nginx.stub import StubWeb

LINES = "Accept: application/vnd.pypi.simple.v1+json\r\nAccept-Encoding: gzip\r\n"


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
    made = builder.sign(key, hashes.SHA256())
    paths = tmp_path / "leaf.pem", tmp_path / "leaf.key"
    paths[0].write_bytes(made.public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


@pytest.fixture
def secure(
    house: House, stub: StubWeb, certificate: tuple[Path, Path], tmp_path: Path
) -> Iterator[Appliance]:
    """nginx with TLS before a web that allows everything."""
    options = ("--certificate", str(certificate[0]), "--key", str(certificate[1]))
    appliance = start(house, tmp_path / "site", *options, with_web=False)
    yield appliance
    appliance.end()


def wrapped(appliance: Appliance, context: ssl.SSLContext, session: ssl.SSLSession | None = None) -> Wire:
    wire = appliance.wire()
    wire.socket = context.wrap_socket(wire.socket, server_hostname="localhost", session=session)
    return wire


def test_a_page_and_a_file_come_by_tls(secure: Appliance, certificate: tuple[Path, Path]) -> None:
    context = ssl.create_default_context(cafile=str(certificate[0]))
    wire = wrapped(secure, context)
    for path in (PAGE, FILE):
        answer = wire.send(get(path, basic("one"), LINES)).answer()
        assert (answer.status, len(answer.body)) == (200, int(answer.headers["content-length"]))
    assert wire.socket.version() == "TLSv1.3"
    again = wrapped(secure, context, wire.socket.session)
    assert again.socket.session_reused


def test_nothing_older_than_tls_1_2(secure: Appliance, certificate: tuple[Path, Path]) -> None:
    for version in (ssl.TLSVersion.TLSv1_1, ssl.TLSVersion.TLSv1_2):
        context = ssl.create_default_context(cafile=str(certificate[0]))
        context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
        if version == ssl.TLSVersion.TLSv1_2:
            assert wrapped(secure, context).socket.version() == "TLSv1.2"
        else:
            with pytest.raises(ssl.SSLError):
                wrapped(secure, context)


def test_http_2_asks_for_verdicts_too(
    secure: Appliance, stub: StubWeb, certificate: tuple[Path, Path]
) -> None:
    url = f"https://localhost:{secure.port}"
    wanted = ("-H", "Accept: application/vnd.pypi.simple.v1+json", "-H", "Accept-Encoding: gzip", "-u", "u:1")
    command = [
        *("curl", "-sS", "--http2", "--cacert", str(certificate[0]), "--noproxy", "*", *wanted),
        *("-o", "/dev/null", "-w", "%{http_version} %{http_code}\n"),
        *(f"{url}{PAGE}", "-o", "/dev/null", f"{url}/dev/simple/"),
    ]
    said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert said.splitlines() == ["2 200"] * 2
    assert stub.verdicts_asked == 1


def test_plain_http_on_its_port_is_told_so(secure: Appliance) -> None:
    answer = secure.ask(get(PAGE))
    assert (answer.status, answer.body.count(b"\n")) == (400, 1)
