"""Where `up` listens, and how: http on the loopback address, https anywhere else."""

from __future__ import annotations

import ipaddress
import re
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from buildfarm.config import Settings
from buildfarm.errors import EnvironmentProblem
from buildfarm.trust import tls

_DNS_NAME = re.compile(r"(?=.{1,253}$)[A-Za-z0-9_](?:[A-Za-z0-9_.-]*[A-Za-z0-9])?", re.ASCII)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Address:
    """A public address; `is_tls` also on loopback when the operator supplies a certificate."""

    host: str
    port: int
    is_tls: bool

    @property
    def url(self) -> str:
        """What clients type unless `public_url` says otherwise."""
        if not self._is_wild:
            return self._url(self.host)
        name = socket.getfqdn()
        return self._url(socket.gethostname() if name.startswith("localhost") else name)

    @property
    def local_url(self) -> str:
        """What this host's own programs use."""
        return self._url("127.0.0.1" if self._is_wild else self.host)

    def check_free(self) -> None:
        """See that nobody listens there.

        Raises:
            EnvironmentProblem: `port.taken`, or `host.unknown`: it is no address of this machine.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((self.host, self.port))
            except (PermissionError, OSError) as err:
                if isinstance(err, socket.gaierror) or err.errno == 99:
                    message = f"{self.host} is no address of this machine."
                    hint = "Choose another with --host; 0.0.0.0 is all of them."
                    raise EnvironmentProblem(message, code="host.unknown", hint=hint) from None
                raise EnvironmentProblem(
                    f"Port {self.port} is taken.", code="port.taken", hint="Choose another with --port."
                ) from None

    def names(self, public_url: str) -> list[str]:
        """What a certificate of ours must be good for."""
        found = {*_LOOPBACK, self.host, urlsplit(public_url).hostname or ""}
        found |= {socket.gethostname(), socket.getfqdn()}
        if self._is_wild:
            found.remove(self.host)
            found |= {str(info[4][0]).partition("%")[0] for info in _addresses(socket.gethostname())}
        return sorted(name for name in found if _is_address(name) or _DNS_NAME.fullmatch(name))

    @property
    def _is_wild(self) -> bool:
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 - asked for by the operator

    def _url(self, host: str) -> str:
        return f"{'https' if self.is_tls else 'http'}://{f'[{host}]' if ':' in host else host}:{self.port}"


def address_of(settings: Settings, host: str, port: int) -> Address:
    """The address that `up` is to listen on."""
    is_loopback = host == "localhost" or (_is_address(host) and ipaddress.ip_address(host).is_loopback)
    return Address(host, port, is_tls=bool(settings.tls.cert_file) or not is_loopback)


def front_options(settings: Settings, address: Address) -> list[str]:
    """The front's options for its address and certificate.

    Raises:
        EnvironmentProblem: `tls.unusable`, the supplied certificate and key cannot be used.
    """
    options = ["--host", address.host, "--port", str(address.port)]
    if not address.is_tls:
        return options
    supplied = settings.tls.cert_file, settings.tls.key_file
    if settings.tls.cert_file:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(*supplied)
        except OSError as err:
            message = f"The certificate and key of the settings `tls` cannot be used: {err}."
            raise EnvironmentProblem(message, code="tls.unusable") from err
        return [*options, "--certificate", supplied[0], "--key", supplied[1]]
    names = address.names(settings.public_url)
    tls.ensure(tls_folder(settings), names)
    return [*options, "--own-tls", str(tls_folder(settings)), "--names", *names]


def server_certificate(settings: Settings, address: Address) -> tuple[Path | None, Path | None]:
    """Certificate and key of a server at this address, as `front_options` has made or found them."""
    if not address.is_tls:
        return None, None
    if settings.tls.cert_file:
        return Path(settings.tls.cert_file), Path(settings.tls.key_file)
    own = tls.identity_in(tls_folder(settings))
    return own.certificate, own.key


def queue_url(settings: Settings, queue: Address) -> str:
    """Where builders of other hosts reach the queue server: under the farm's public name."""
    host = urlsplit(settings.public_url).hostname or queue.host
    return f"{'rediss' if queue.is_tls else 'redis'}://{f'[{host}]' if ':' in host else host}:{queue.port}"


def authority(settings: Settings, address: Address) -> Path | None:
    """The file of the authority that clients must trust; None where they need none of ours."""
    if not address.is_tls or settings.tls.cert_file:
        return None
    return tls.identity_in(tls_folder(settings)).authority


def tls_folder(settings: Settings) -> Path:
    """The folder of the farm's own authority and certificate."""
    return settings.data / "tls"


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _addresses(name: str) -> list[tuple[object, object, object, str, tuple[str | int, ...]]]:
    try:
        return socket.getaddrinfo(name, None)  # type: ignore[return-value]
    except OSError:
        return []
