"""Pure decisions of the mirror: what a fresh upstream page may change, and where a link may lead."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from buildfarm import clock
from buildfarm.mirror.page import MirrorFile, PageContent

#: A file that upstream lists no more is gone when a second page says so, this much later.
CONFIRM_GONE = timedelta(minutes=10)


def merged(
    known: PageContent | None, fresh: PageContent, first_sights: Mapping[str, str], now: datetime
) -> PageContent:
    """What the page is after upstream said `fresh`.

    A digest once seen stays (`first_sights`: SHA-256 by file name): another one is noted and not
    followed. A file that vanished stays, marked; one page proves nothing, for caches serve old ones.
    """
    before = known.files if known else {}
    files = {}
    for name, file in fresh.files.items():
        old = before.get(name)
        seen = old.first_seen if old else clock.iso(now)
        sha256 = first_sights.get(name) or (old.sha256 if old else None)
        files[name] = _held(replace(file, first_seen=seen), sha256)
    for name, old in before.items():
        if name not in files:
            files[name] = _missing(old, now)
    return replace(fresh, files=files)


def confirmed(known: PageContent, now: datetime) -> PageContent:
    """What the page is after upstream said that it has not changed: the missing are still missing."""
    files = {name: _missing(file, now) if file.missing_since else file for name, file in known.files.items()}
    return replace(known, files=files)


def joined(known: PageContent | None, carried: PageContent, *, prefer_carried: bool) -> PageContent:
    """What the page is with the files that a bundle brought: nothing that was known goes away."""
    if known is None:
        return carried
    weaker, stronger = (known, carried) if prefer_carried else (carried, known)
    return replace(stronger, files={**weaker.files, **stronger.files})


def is_older(known_serial: int | None, serial: int | None) -> bool:
    """Whether upstream answered from an older state than it did before (a lagging cache)."""
    return known_serial is not None and serial is not None and serial < known_serial


def may_connect(host: str, address: str, upstream_host: str, upstream_addresses: tuple[str, ...]) -> bool:
    """Whether a link of an upstream's page, or a redirect of it, may lead to this address.

    Its own host may; public addresses may; private ones only when the upstream itself is at a private
    one. Loopback and link-local services are nobody's files: a hostile page must not reach them through
    the farm.
    """
    if host == upstream_host:
        return True
    ip = _address(address)
    if ip.is_loopback or ip.is_link_local or ip.is_multicast or ip.is_unspecified or ip.is_reserved:
        return False
    upstream = [_address(one) for one in upstream_addresses]
    return ip.is_global or any(one.is_private and not one.is_loopback for one in upstream)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    ip = ipaddress.ip_address(text.partition("%")[0])
    return ip.ipv4_mapped or ip if isinstance(ip, ipaddress.IPv6Address) else ip


def _held(file: MirrorFile, sha256: str | None) -> MirrorFile:
    if sha256 is None or file.sha256 == sha256:
        return file
    return replace(file, sha256=sha256, changed_to=file.sha256)


def _missing(file: MirrorFile, now: datetime) -> MirrorFile:
    if file.missing_since is None:
        return replace(file, missing_since=clock.iso(now))
    if file.gone_since is None and datetime.fromisoformat(file.missing_since) <= now - CONFIRM_GONE:
        return replace(file, gone_since=clock.iso(now))
    return file
