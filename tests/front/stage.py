"""The farm that the corpus is sent to, and its facts."""

from __future__ import annotations

import base64
from collections.abc import Callable

from buildfarm.index.model import Channel
from tests.conftest import House
from tests.front import corpus
from tests.front.wire import Wire


def furnish(house: House, put: Callable[..., str]) -> dict[str, str]:
    """Put in what the corpus asks for; the credentials that it names."""
    with house.database.begin() as session:
        session.add(Channel(name="open", rank=9, public=True))
    put(
        house, corpus.WHEEL, b"0123456789", metadata=b"Metadata-Version: 2.1\n",
        provenance=b'{"version":1}', requires_python=">=3.9",
    )  # fmt: skip
    put(house, corpus.SDIST, b"sdist bytes")
    reader = house.token("read:dev")
    return {
        "READER": basic(reader),
        "NAMED": basic(reader, "ada"),
        "BEARER": f"Authorization: Bearer {reader}\r\n",
        "OTHER": basic(house.token("read:stable")),
        "STRANGER": basic("bft_stranger"),
    }


def etags(wire: Callable[[], Wire], credentials: dict[str, str]) -> dict[str, str]:
    """The ETags that the corpus names, as a server says them."""
    accept = f"Accept: {corpus.JSON}\r\n"
    asked = {
        "PAGE": (corpus.PAGE, accept + "Accept-Encoding: gzip\r\n"),
        "PLAIN": (corpus.PAGE, accept),
        "WHEEL": (corpus.FILE, ""),
    }
    found = {}
    for name, (path, lines) in asked.items():
        raw = f"GET {path} HTTP/1.1\r\nHost: farm\r\n{credentials['READER']}{lines}\r\n"
        found[name] = wire().send(raw.encode()).answer().headers["etag"]
    return found


def basic(secret: str, name: str = "__token__") -> str:
    """The header line of these credentials."""
    return "Authorization: Basic " + base64.b64encode(f"{name}:{secret}".encode()).decode() + "\r\n"
