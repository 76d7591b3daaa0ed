"""The closed grammar: which bytes are a request that the front answers itself. Pure.

GET or HEAD of an index URL in origin form, HTTP/1.0 or 1.1, header lines of plain `name: value`, no
name twice, nothing that announces a body, another protocol or another framing. What this does not
describe is no error: it is for web to judge. Source: RFC 9112 sections 2 to 5, narrowed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A head that is longer is web's to judge.
LONGEST_HEAD = 8 * 1024

_LINE = re.compile(
    rb"(GET|HEAD) "
    rb"/([a-z][a-z0-9-]{0,63}(?:@[A-Za-z0-9._-]{1,64})?)"  # the channel, or a pin of it
    rb"/((?:simple|files|pypi|rss|namespaces?)(?:/[A-Za-z0-9\-._~!$&'()*+,;=:@/%]*)?)"
    rb"(?:\?([A-Za-z0-9\-._~!$&'()*+,;=:@/%?]*))?"
    rb" HTTP/1\.([01])"
)
#: Without the underscore that a token may have: behind CGI's naming it is a hyphen, and gunicorn drops it.
_HEADER = re.compile(rb"([!#$%&'*+\-.^`|~0-9A-Za-z]+):[ \t]*([\t\x20-\x7e\x80-\xff]*)")
#: Each of these means a body, a hop or a protocol that the front knows nothing of.
_FOREIGN = frozenset(
    {
        "content-length", "transfer-encoding", "te", "trailer", "upgrade", "expect", "http2-settings",
        "proxy-connection", "proxy-authorization", "x-http-method-override",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Request:
    """A request of the closed grammar; header names are lower-case, values decoded as Latin-1."""

    method: str
    channel: str
    path: str
    query: str
    headers: dict[str, str]
    is_last: bool  # the connection ends with the answer


def parse(head: bytes) -> Request | None:
    """The request that a complete head (its empty line included) is, or None when it is web's to judge."""
    line, *fields = head[:-4].split(b"\r\n")
    match = _LINE.fullmatch(line)
    if match is None:
        return None
    headers: dict[str, str] = {}
    for one in fields:
        field = _HEADER.fullmatch(one)
        if field is None:
            return None
        name = field[1].decode("ascii").lower()
        if name in headers or name in _FOREIGN:
            return None
        headers[name] = field[2].decode("latin-1").rstrip(" \t")
    connection = headers.get("connection", "").lower()
    if "host" not in headers or connection not in {"", "keep-alive", "close"}:
        return None
    if "cookie" in headers and "authorization" not in headers:
        return None  # a browser's session is web's to know
    method, channel, path, query, minor = (part or b"" for part in match.groups())
    return Request(
        method=method.decode(),
        channel=channel.decode(),
        path=path.decode(),
        query=query.decode(),
        headers=headers,
        is_last=connection == "close" or minor == b"0",
    )
