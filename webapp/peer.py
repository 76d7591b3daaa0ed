"""Who is at the other end of a request, and by which scheme it came: told by a front, never by the client.

The embedded front names its end of the unix socket after its client (`name_of`), so that every request
of a spliced connection carries it and no byte that a client sends can change it. A peer without a name on
the socket is a front that speaks for itself: nginx, or the embedded one when it asks for a verdict; what it
says in `X-Forwarded-For` and `X-Forwarded-Proto` is true. A peer on TCP is who it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

#: In the environment of a request that a front made for itself.
BY_FRONT = "buildfarm.by_front"
_PREFIX = "\0buildfarm-front"


def name_of(address: str, scheme: str, nonce: str) -> bytes:
    """The socket name (unix(7), abstract) of a connection that is spliced for the client at `address`."""
    return "/".join((_PREFIX, nonce, scheme, address)).encode()


class Peer:
    """The application, with `REMOTE_ADDR` and `wsgi.url_scheme` set to what is true."""

    def __init__(self, application: WSGIApplication) -> None:
        self._application = application

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Correct the environment and go on."""
        name = str(environ.get("REMOTE_ADDR", ""))
        if name.startswith(_PREFIX):
            _, _, environ["wsgi.url_scheme"], environ["REMOTE_ADDR"] = name.split("/")
        elif not name:
            environ[BY_FRONT] = True
            environ["REMOTE_ADDR"] = environ.get("HTTP_X_FORWARDED_FOR", "").rpartition(",")[2].strip()
            proto = environ.get("HTTP_X_FORWARDED_PROTO")
            environ["wsgi.url_scheme"] = "https" if proto == "https" else "http"
        return self._application(environ, start_response)
