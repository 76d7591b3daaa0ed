"""Which environment variables a recipe may set for its build.

Not a fence against a hostile build, which can change its own environment as it likes: the sandbox is
that fence. These are variables by which a recipe would silently change what the farm promises about
every build (where dependencies come from, reproducible bytes, the right tags), so they are refused
with the reason.
"""

from __future__ import annotations

import re

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}")

_INDEX = "the farm alone decides where build dependencies come from"
_NETWORK = "the farm alone decides what a build can reach and whom it trusts"
_BYTES = "the farm sets it so that the same source gives the same bytes"
_LOADER = "it changes which code every program of the build loads"
_TAGS = "it changes the tags a wheel gets; name targets instead"
_HOUSE = "the farm sets it to the folders and tools of the image"

_REFUSED_NAMES = {
    "PATH": _HOUSE,
    "HOME": _HOUSE,
    "USER": _HOUSE,
    "LOGNAME": _HOUSE,
    "SHELL": _HOUSE,
    "PWD": _HOUSE,
    "TMPDIR": _HOUSE,
    "TMP": _HOUSE,
    "TEMP": _HOUSE,
    "VIRTUAL_ENV": _HOUSE,
    "SOURCE_DATE_EPOCH": _BYTES,
    "TZ": _BYTES,
    "LANG": _BYTES,
    "LANGUAGE": _BYTES,
    "BASH_ENV": _LOADER,
    "ENV": _LOADER,
    "IFS": _LOADER,
    "GCONV_PATH": _LOADER,
    "HTTP_PROXY": _NETWORK,
    "HTTPS_PROXY": _NETWORK,
    "FTP_PROXY": _NETWORK,
    "ALL_PROXY": _NETWORK,
    "NO_PROXY": _NETWORK,
    "SSL_CERT_FILE": _NETWORK,
    "SSL_CERT_DIR": _NETWORK,
    "REQUESTS_CA_BUNDLE": _NETWORK,
    "CURL_CA_BUNDLE": _NETWORK,
    "ARCHFLAGS": _TAGS,
    "CARGO_HOME": _HOUSE,
    "GOENV": _INDEX,
    "GOPROXY": _INDEX,
    "GONOPROXY": _INDEX,
    "GOPRIVATE": _INDEX,
    "GOSUMDB": _INDEX,
    "GOTOOLCHAIN": _HOUSE,
    "GOPATH": _HOUSE,
    "GOMODCACHE": _HOUSE,
    "GOCACHE": _HOUSE,
}
_REFUSED_PREFIXES = {
    "PIP_": _INDEX,
    "UV_": _INDEX,
    "CARGO_REGISTRIES_": _INDEX,
    "CARGO_SOURCE_": _INDEX,
    "LD_": _LOADER,
    "PYTHON": "the farm sets the interpreter's own switches, so that only the source decides the result",
    "_PYTHON_": _TAGS,
    "LC_": _BYTES,
    "AUDITWHEEL_": _TAGS,
    "GIT_": "the source snapshot is complete; git must see it as it is",
    "BUILDFARM_": "the name belongs to the farm",
}


def refused_variable(name: str) -> str | None:
    """Why a recipe must not set this variable, or None when it may.

    Case does not count: `http_proxy` works like `HTTP_PROXY`.
    """
    if not _NAME.fullmatch(name):
        return "it is not a variable name (letters, digits, _)"
    upper = name.upper()
    if upper in _REFUSED_NAMES:
        return _REFUSED_NAMES[upper]
    return next((why for prefix, why in _REFUSED_PREFIXES.items() if upper.startswith(prefix)), None)
