"""Which URLs, refs and commit ids are taken at all; all else is refused before git sees it."""

from __future__ import annotations

import fnmatch
import ipaddress
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from buildfarm.errors import InvalidInput

_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,251}[A-Za-z0-9])?")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,63}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
#: Where GitHub, Gitea and Forgejo, GitLab, Bitbucket Data Center keep the head of a pull request.
_PULL_REF = re.compile(
    r"refs/(?:pull/[1-9][0-9]{0,18}/head|merge-requests/[1-9][0-9]{0,18}/head|"
    r"pull-requests/[1-9][0-9]{0,18}/from)"
)
_REF_PUNCTUATION = frozenset("._/+-@#=,%")
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_DEFAULT_PORTS = {"https": 443, "http": 80, "ssh": 22}


@dataclass(frozen=True)
class RepositoryUrl:
    """A URL that passed `checked_url`, in parts."""

    text: str
    scheme: str
    host: str
    port: int


def _refuse_url(why: str) -> InvalidInput:
    # The URL is not repeated: a refused one may hold a password.
    return InvalidInput(
        f"This repository URL cannot be used: {why}.",
        code="source.url_refused",
        hint="Give https://HOST/PATH or ssh://USER@HOST/PATH, and the credentials apart from it.",
    )


def _is_control(text: str) -> bool:
    return any(unicodedata.category(char) in {"Cc", "Cf", "Zl", "Zp", "Cs"} for char in text)


def checked_url(url: str, *, allow_file: bool) -> RepositoryUrl:
    """The parts of a URL the fetcher may talk to.

    `https` and `ssh` anywhere, `http` on loopback alone, `file` (without a host) only where allowed.

    Raises:
        InvalidInput: `source.url_refused`, with the rule that was broken.
    """
    if len(url) > 2048 or not url or _is_control(url) or any(char in " \\?#" for char in url):
        raise _refuse_url("it is empty, too long or holds characters that no repository URL needs")
    if "::" in url.partition("[")[0]:
        raise _refuse_url("remote helpers (`helper::address`) are never run")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _refuse_url("it is not a well-formed URL") from None
    if parts.scheme == "file":
        if not allow_file:
            raise _refuse_url("file:// is not allowed by this farm's settings")
        if parts.netloc or not parts.path.startswith("/"):
            raise _refuse_url("a file:// URL has no host and an absolute path")
        return RepositoryUrl(url, "file", "", 0)
    if parts.scheme not in _DEFAULT_PORTS or not url.startswith(parts.scheme + "://"):
        raise _refuse_url("its scheme is not https or ssh")
    host = _checked_host(parts.hostname or "")
    if parts.scheme == "http" and not _is_loopback(host):
        raise _refuse_url("plain http is taken for loopback hosts alone")
    user, at, _ = parts.netloc.rpartition("@")
    if at and (parts.scheme != "ssh" or not _USER.fullmatch(user)):
        raise _refuse_url("it holds credentials")
    if len(parts.path) < 2 or parts.path.startswith("/-") or ".." in unquote(parts.path).split("/"):
        raise _refuse_url("its path names no repository")
    return RepositoryUrl(url, parts.scheme, host, port or _DEFAULT_PORTS[parts.scheme])


def _checked_host(host: str) -> str:
    address = _literal(host)
    if address is None:
        if not _HOST.fullmatch(host) or ".." in host:
            raise _refuse_url("its host name is not one")
        return host
    if is_forbidden_address(address):
        raise _refuse_url("its address belongs to no repository host")
    return host


def _is_loopback(host: str) -> bool:
    address = _literal(host)
    return host.lower() == "localhost" if address is None else address.is_loopback


Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def is_forbidden_address(address: Address) -> bool:
    """Whether no repository can live there: link-local (cloud metadata), multicast, unspecified."""
    address = _meant(address)
    return address.is_link_local or address.is_multicast or address.is_unspecified


def checked_address(host: str, address: Address, private_hosts: Sequence[str]) -> None:
    """Refuse an address that the name in a source's URL leads to and that no repository of it can be at.

    Whoever answers for a name decides where it leads, so a name may lead into the farm's own network only
    where the operator says so (`private_hosts`). An address that stands in the URL itself was written there
    by an administrator, as `localhost` was.

    Raises:
        InvalidInput: `source.url_refused` where no repository can be; `source.address_refused`.
    """
    if is_forbidden_address(address):
        raise _refuse_url("its host's name leads to an address that belongs to no repository host")
    is_written = _literal(host) is not None or host.lower() == "localhost"
    if is_written or _meant(address).is_global:
        return
    if not any(_allows(allowed, host, address) for allowed in private_hosts):
        raise InvalidInput(
            f"{host} leads to {address}, which is an address of a private network.",
            code="source.address_refused",
            hint="If it belongs there, the farm's operator names it in the setting `sources_private_hosts`.",
            host=host,
        )


def _allows(allowed: str, host: str, address: Address) -> bool:
    try:
        network = ipaddress.ip_network(allowed)
    except ValueError:
        return fnmatch.fnmatchcase(host.lower(), allowed.lower())
    return _meant(address) in network


def _literal(host: str) -> Address | None:
    """The address that a host is written as, if it is."""
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _meant(address: Address) -> Address:
    """The IPv4 address inside one that is mapped, 6to4 (RFC 3056) or of the NAT64 prefix (RFC 6052)."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _is_ref_character(char: str) -> bool:
    return char.isalnum() or char in _REF_PUNCTUATION or unicodedata.category(char).startswith("M")


def checked_ref(ref: str) -> str:
    """The ref, when it is a full branch or tag name that git and every tool after it read alike.

    git-check-ref-format(1), narrowed: letters and digits of any script, combining marks and
    `._/+-@#=,%`, no component that starts with `-` or `.`.

    Raises:
        InvalidInput: `source.ref_refused`.
    """
    prefix, _, name = ref.partition("/")
    kind, _, name = name.partition("/")
    components = name.split("/")
    sound = (
        prefix == "refs"
        and kind in {"heads", "tags"}
        and len(ref.encode("utf-8", "replace")) <= 250
        and all(_is_ref_character(char) for char in name)
        and all(part and part[0] not in "-." and not part.endswith((".lock", ".")) for part in components)
        and ".." not in name
        and "@{" not in name
        and name not in {"@", "HEAD"}
    )
    if not sound:
        raise InvalidInput(
            "This is not the full name of a branch or tag that the farm takes.",
            code="source.ref_refused",
            hint="Write refs/heads/NAME or refs/tags/NAME with letters, digits and ._/+-@#=,% in NAME.",
            ref=ref[:250],
        )
    return ref


def checked_fetched_ref(ref: str) -> str:
    """The ref, when the farm fetches it: a branch or tag, or what an SCM keeps for a pull request.

    Raises:
        InvalidInput: `source.ref_refused`.
    """
    return ref if _PULL_REF.fullmatch(ref) else checked_ref(ref)


def checked_commit(commit: str) -> str:
    """The commit id, when it is a full lower-case SHA-1 or SHA-256 that is not all zeros.

    Raises:
        InvalidInput: `source.commit_refused`.
    """
    if not _COMMIT.fullmatch(commit) or not commit.strip("0"):
        raise InvalidInput(
            "A commit is named by its full lower-case id.", code="source.commit_refused", commit=commit[:64]
        )
    return commit
