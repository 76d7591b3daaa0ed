"""The front's process: `python -m webapp.front --pages DIR --web SOCKET --port N`."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import signal
import sys
from functools import partial
from pathlib import Path

import uvloop

from buildfarm import log
from buildfarm.processes import allow_all_descriptors
from buildfarm.trust import tls
from webapp.front.answers import Answers
from webapp.front.connection import Connection
from webapp.front.front import Front
from webapp.front.tls import LOOK_S, Certificate
from webapp.front.verdicts import Verdicts

_BACKLOG = 2048


def main() -> int:
    """Serve until told to stop."""
    log.configure("front")
    allow_all_descriptors()
    uvloop.run(_serve(_options()))
    return 0


async def _serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, over.set)
    certificate = _certificate(options)
    scheme = "https" if certificate else "http"
    front = Front(
        answers=Answers(options.pages),
        verdicts=Verdicts(options.web, scheme=scheme, clock=loop.time),
        web=options.web,
        scheme=scheme,
        per_address=options.per_address,
        head_s=options.head_s,
        idle_s=options.idle_s,
    )
    server = await loop.create_server(
        partial(Connection, front), options.host, options.port, backlog=_BACKLOG,
        **({"ssl": certificate.context, "ssl_handshake_timeout": options.head_s} if certificate else {}),
    )  # fmt: skip
    if certificate:
        _look_again(loop, certificate)
    log.get(__name__).info("front.listens", host=options.host, port=options.port, scheme=scheme)
    await over.wait()
    server.close()
    front.drain()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(options.drain_s):
            while front.parties:
                await asyncio.sleep(0.02)
    front.flush()


def _certificate(options: argparse.Namespace) -> Certificate | None:
    if options.own_tls:
        own = tls.ensure(options.own_tls, options.names)
        return Certificate(own.certificate, own.key, own=options.own_tls, names=options.names)
    if options.certificate:
        return Certificate(options.certificate, options.key, own=None, names=())
    return None


def _look_again(loop: asyncio.AbstractEventLoop, certificate: Certificate) -> None:
    certificate.look()
    loop.call_later(LOOK_S, _look_again, loop, certificate)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="webapp.front")
    parser.add_argument("--pages", type=Path, required=True, help="the page tree")
    parser.add_argument("--web", required=True, help="the unix socket of web")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, help="PEM chain; with it the front speaks https")
    parser.add_argument("--key", type=Path)
    parser.add_argument("--own-tls", type=Path, help="folder of the farm's own authority and certificate")
    parser.add_argument("--names", nargs="*", default=[], help="what that certificate is for")
    parser.add_argument("--per-address", type=int, default=1000, help="connections of one address")
    parser.add_argument("--head-s", type=float, default=10.0, help="time for a request's head")
    parser.add_argument("--idle-s", type=float, default=75.0, help="time between requests")
    parser.add_argument("--drain-s", type=float, default=30.0, help="time for what is on its way at the end")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
