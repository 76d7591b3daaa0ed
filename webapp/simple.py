"""The index: hands every request below `/<channel>/` to the one decision function and sends its answer."""

from __future__ import annotations

from flask import Blueprint, Response, request

from buildfarm.index.decide import Ask, decide
from buildfarm.index.pagetree import PageTree
from webapp import ondemand
from webapp.context import farm
from webapp.sending import send
from webapp.verdict import verdict_on

blueprint = Blueprint("simple", __name__)
#: What was put into the tree may be taken out before it is sent, when it is old or something changes.
_TRIES = 5
_METHODS = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH"]


@blueprint.route("/<channel>/simple", methods=_METHODS, provide_automatic_options=False)
@blueprint.route("/<channel>/simple/", methods=_METHODS, provide_automatic_options=False)
@blueprint.route("/<channel>/namespaces", methods=_METHODS, provide_automatic_options=False)
@blueprint.route(
    "/<channel>/<any(simple, files, pypi, rss, namespace, namespaces):_part>/<path:_rest>",
    methods=_METHODS,
    provide_automatic_options=False,
)
def serve(channel: str, _part: str = "", _rest: str = "") -> Response:
    """A page or a file of a channel."""
    # The decision reads the path as it came, still encoded: `%2F` is no slash.
    raw = request.environ.get("RAW_URI", request.full_path).partition("?")[0]
    ask = Ask(
        method=request.method,
        channel=channel,
        path=raw.partition(f"/{channel}/")[2],
        headers={name.lower(): value for name, value in request.headers.items()},
        query=request.query_string.decode("latin-1"),
    )
    verdict, tree = verdict_on(channel), PageTree(farm().settings.pages_dir)
    for _ in range(_TRIES):
        if not decide(ask, verdict, tree).ask_web:
            break
        filled = ondemand.fill(farm().mirrored, ask, verdict)
        if isinstance(filled, Response):
            return filled
        if not filled:
            break
    return send(lambda: decide(ask, verdict, tree))
