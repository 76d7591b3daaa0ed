"""What a host's name means now, judged before anybody goes there."""

from __future__ import annotations

import encodings.idna  # noqa: F401  (name resolution loads it; the disk may be out of reach by then)
import ipaddress
import socket
from collections.abc import Sequence

from buildfarm.errors import ExternalFailure
from buildfarm.sources.rules import RepositoryUrl, checked_address


def addresses_of(url: RepositoryUrl, private_hosts: Sequence[str]) -> list[str]:
    """The addresses of a URL's host, all of them judged, the best first; none for a URL without a host.

    Whoever connects goes to one of these and does not ask again: the next answer may be another.

    Raises:
        InvalidInput: As `rules.checked_address`.
        ExternalFailure: `source.unreachable`, nobody knows the name.
    """
    if url.scheme == "file":
        return []
    try:
        told = socket.getaddrinfo(url.host, url.port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise ExternalFailure(
            "The repository host's name cannot be resolved.", code="source.unreachable", host=url.host
        ) from error
    addresses = list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in told))
    for address in addresses:
        checked_address(url.host, ipaddress.ip_address(address), private_hosts)
    return addresses
