"""The appliance front: nginx's configuration over the page tree, made from the settings of a farm.

What nginx must say as `decide` does is asked of `decide` and its parts here, once: the negotiation of
known headers and the refusals. docs/adr/0012-appliance-front.md has the reasons.
"""

from __future__ import annotations

import grp
import json
import os
import pwd
import re
import string
from dataclasses import dataclass
from pathlib import Path

from buildfarm.config import Settings
from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.index.conditions import Form, coding, negotiate
from buildfarm.index.decide import Ask, Verdict, decide
from buildfarm.index.pagetree import PageTree
from buildfarm.shipped import shipped
from buildfarm.sockets import LONGEST_SOCKET_PATH

#: Debian's place for modules of nginx.
MODULES = Path("/usr/lib/nginx/modules")
_JSON, _HTML = Form.JSON.value, Form.VENDOR_HTML.value
#: `Accept` as clients send it: pip, uv, poetry, the public form's newest, requests and curl, old pip, none.
_ACCEPT = (
    f"{_JSON}, {_HTML}; q=0.1, text/html; q=0.01",
    f"{_JSON}, {_HTML};q=0.2, text/html;q=0.01",
    _JSON,
    "application/vnd.pypi.simple.latest+json",
    "*/*",
    "text/html",
    "",
)
#: `Accept-Encoding` likewise.
_ACCEPT_ENCODING = (
    "gzip",
    "gzip, deflate",
    "gzip,deflate",
    "gzip, deflate, br",
    "gzip, deflate, br, zstd",
    "gzip, deflate, zstd",
    "gzip,deflate,br",
    "gzip, br",
    "deflate, gzip, br, zstd",
    "zstd,gzip,deflate",
    "zstd, gzip, deflate",
    "zstd, gzip",
    "zstd",
)
_CHANNEL = r"[a-z][a-z0-9-]{0,63}(?:@[A-Za-z0-9._-]{1,64})?"
_PROJECT = r"[a-z0-9]+(?:-[a-z0-9]+)*"
_PART = r"[A-Za-z0-9][A-Za-z0-9._+!-]*"
_LISTEN = re.compile(r"(?:(?:[0-9.]+|\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):)?[0-9]{1,5}", re.ASCII)
#: What a quoted string of nginx and of Lua takes as it is.
_PLAIN_PATH = re.compile(r"[^\x00-\x1f\x7f\"'\\$;{}%]+")


class _Template(string.Template):
    """`%{name}`: nginx has its own use for the dollar."""

    delimiter = "%"


@dataclass(frozen=True)
class Place:
    """Where nginx runs: its folder, the addresses it listens on, certificate and key for TLS."""

    out: Path
    listen: tuple[str, ...]
    certificate: Path | None = None
    key: Path | None = None


def files(settings: Settings, place: Place) -> dict[str, str]:
    """The files of nginx's folder: name -> text.

    Raises:
        InvalidInput: `front.listen`, an address that nginx would not understand.
        EnvironmentProblem: `front.path`, a path that the configuration cannot name; `front.no_farm`.
    """
    ours = shipped("docker/nginx")
    user, group = _owner(settings.data)
    values = {
        "modules": MODULES,
        "user": user,
        "group": group,
        "out": _path(place.out),
        "web": _path(settings.data / "run" / "web.sock", longest=LONGEST_SOCKET_PATH),
        "pages": _path(settings.pages_dir),
        "blobs": _path(settings.blobs_dir),
        "channel": _CHANNEL,
        "project": _PROJECT,
        "part": _PART,
        "tls": _tls(place),
        "listen": _lines(8, [_listen(address, is_tls=place.key is not None) for address in place.listen]),
        "forms": _lines(8, [f"{_quoted(accept)} {_form(accept)};" for accept in _ACCEPT]),
        "codings": _lines(8, [f"{_quoted(one)} {_coding(one)};" for one in _ACCEPT_ENCODING]),
        "refusals": _lines(8, _refusals(PageTree(settings.pages_dir))),
    }
    names = ("nginx.conf", "front.lua", "hmac.lua")
    texts = {name: (ours / name).read_text() for name in names}
    return texts | {"nginx.conf": _Template(texts["nginx.conf"]).substitute(values)}


def _form(accept: str) -> str:
    """The extension of the page that answers; all of ours have one in the tree."""
    return "json" if negotiate(accept) is Form.JSON else "html"


def _coding(accept_encoding: str) -> str:
    return "zst" if coding(accept_encoding, ("zstd", "gzip")) == "zstd" else "gz"


def _refusals(tree: PageTree) -> list[str]:
    """The locations that answer as `decide` does; nginx puts the channel into a sentence."""
    lines = []
    for name, verdict in (("@unknown", Verdict.UNKNOWN), ("@forbidden", Verdict.FORBIDDEN)):
        answer = decide(Ask("GET", "$channel", ""), verdict, tree)
        headers = dict(answer.headers) | {"X-Content-Type-Options": "nosniff"}
        del headers["Content-Length"]
        lines += [
            f"location {name} {{",
            f"    default_type {_quoted(headers.pop('Content-Type'))};",
            *(f"    add_header {header} {_quoted(value)} always;" for header, value in headers.items()),
            f"    return {answer.status} {_quoted(answer.body.decode())};",
            "}",
        ]
    return lines


def _listen(address: str, *, is_tls: bool) -> str:
    if not _LISTEN.fullmatch(address):
        raise InvalidInput(
            f"{address!r} is no address to listen on.",
            code="front.listen",
            hint="A port, or ADDRESS:PORT such as 0.0.0.0:443 or [::]:443.",
        )
    return f"listen {address} backlog=1024{' ssl http2' if is_tls else ''};"


def _tls(place: Place) -> str:
    if place.certificate is None or place.key is None:
        return ""
    return _lines(4, [
        f'ssl_certificate "{_path(place.certificate)}";',
        f'ssl_certificate_key "{_path(place.key)}";',
        "ssl_protocols TLSv1.2 TLSv1.3;",
        "ssl_ciphers ECDHE+AESGCM:ECDHE+CHACHA20;",
        "ssl_session_cache shared:tls:10m;",
        "ssl_session_timeout 1d;",
    ])  # fmt: skip


def _owner(data: Path) -> tuple[str, str]:
    """User and group that may enter the farm's folders: the workers of nginx run as they."""
    try:
        stat = data.stat()
        return pwd.getpwuid(stat.st_uid).pw_name, grp.getgrgid(stat.st_gid).gr_name
    except (OSError, KeyError) as err:
        raise EnvironmentProblem(
            f"There is no farm in {data}.", code="front.no_farm", hint="Set BUILDFARM_DATA to its folder."
        ) from err


def _path(path: Path, longest: int = 4000) -> str:
    text = str(path.absolute())
    if not _PLAIN_PATH.fullmatch(text) or len(os.fsencode(text)) > longest:
        raise EnvironmentProblem(
            f"A configuration of nginx cannot name {text!r}.",
            code="front.path",
            hint="Choose a shorter folder, without quotes, $, %, braces, semicolons and backslashes.",
        )
    return text


def _quoted(text: str) -> str:
    # ASCII text in double quotes with backslashes means the same to JSON, nginx and Lua.
    return json.dumps(text)


def _lines(indent: int, lines: list[str]) -> str:
    return "\n".join(" " * indent + line for line in lines)
