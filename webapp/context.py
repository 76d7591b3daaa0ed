"""What a view may ask for: the farm, the principal, the form token of the browser session.

Flask's globals end here: everything below a view gets plain arguments.
"""

from __future__ import annotations

import hmac
import ipaddress
from typing import cast

from flask import Flask, Request, current_app, g, request

from buildfarm import clock
from buildfarm.access import rules, tokens, users
from buildfarm.access.rules import Principal
from buildfarm.access.verdicts import Verdicts, credential_of
from buildfarm.bootstrap import Farm
from buildfarm.errors import Forbidden

SESSION_COOKIE = "buildfarm_session"


def install(app: Flask, farm: Farm) -> None:
    """Give the application its farm."""
    app.extensions["farm"] = farm
    app.extensions["verdicts"] = Verdicts(farm.database)


def farm() -> Farm:
    """The farm of this application."""
    return cast("Farm", current_app.extensions["farm"])


def verdicts() -> Verdicts:
    """The remembered verdicts of this process."""
    return cast("Verdicts", current_app.extensions["verdicts"])


def principal() -> Principal:
    """Who sent this request: the Authorization header, else the browser session, else anonymous."""
    if "principal" not in g:
        g.principal, g.csrf = _identify(request)
    return cast("Principal", g.principal)


def header_principal() -> Principal:
    """Who sent this request by its Authorization header alone; anonymous without one.

    Raises:
        Unauthenticated: the credential is not one of ours.
        Forbidden: `access.open_password`.
    """
    header = request.headers.get("Authorization")
    secret = credential_of(header)[1] if header else ""
    if secret and not tokens.looks_like_token(secret):
        check_private()
    return verdicts().principal(header)


def require(verb: str, target: str = "", *, public: bool = False) -> Principal:
    """The principal, when it may do that.

    Raises:
        Unauthenticated, Forbidden: it may not.
    """
    who = principal()
    rules.require(who, verb, target, public=public)
    return who


def csrf_token() -> str:
    """The form token of this browser session; empty without one."""
    principal()
    return cast("str", g.csrf)


def check_form() -> None:
    """Refuse a form that was not sent from a page of ours.

    Raises:
        Forbidden: `form.foreign`.
    """
    token = request.form.get("csrf", "").encode()
    is_own = request.headers.get("Sec-Fetch-Site", "same-origin") in {"same-origin", "none"}
    if not is_own or not token or not hmac.compare_digest(token, csrf_token().encode()):
        raise Forbidden("This form was not sent from a page of ours; load it again.", code="form.foreign")


def check_private() -> None:
    """Refuse a password that everybody on its way could read; a token can be taken back, so it may pass.

    Raises:
        Forbidden: `access.open_password`, it came from another machine and not by https.
    """
    if request.is_secure or _is_loopback(request.remote_addr or ""):
        return
    raise Forbidden(
        "Passwords are not taken over plain http from another machine.",
        code="access.open_password",
        hint="Use https, or a token.",
    )


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _identify(incoming: Request) -> tuple[Principal, str]:
    if incoming.headers.get("Authorization"):
        return header_principal(), ""
    if cookie := incoming.cookies.get(SESSION_COOKIE):
        with farm().database.read() as session:
            found = users.session_of(session, cookie, clock.now())
        if found:
            return found
    return rules.ANONYMOUS, ""


def wants_html() -> bool:
    """Whether a browser is asking, rather than a program."""
    best = request.accept_mimetypes.best_match(["application/json", "application/problem+json", "text/html"])
    return best == "text/html"
