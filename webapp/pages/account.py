"""`/login`, `/logout`, `/account`: the person at the browser, and the tokens of their programs."""

from __future__ import annotations

from urllib.parse import urlsplit

from flask import Blueprint, Response, current_app, redirect, request
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response as Redirect

from buildfarm.access import rules, show, tokens, users
from buildfarm.access.model import Token
from buildfarm.access.rules import Principal
from buildfarm.errors import FarmError, Forbidden, NotFound, Unauthenticated
from buildfarm.index.show import list_channels
from webapp.context import SESSION_COOKIE, check_form, check_private, farm, principal, require
from webapp.pages.query import digits
from webapp.pages.shell import own_path, page
from webapp.pages.throttle import Throttle

blueprint = Blueprint("account", __name__)


class TooManyTries(FarmError):
    """Too many wrong passwords for this name from this address."""

    status = 429
    default_code = "access.too_many_tries"


@blueprint.get("/login")
def login() -> Response:
    """The form."""
    return page("account/login.html", next=own_path(request.args.get("next")), wrong="", name="")


@blueprint.post("/login")
def enter() -> Response | Redirect:
    """Open a browser session for a name and its password."""
    _check_site()
    target, name = own_path(request.form.get("next")), request.form.get("username", "")[:200]
    try:
        who = _checked(name, request.form.get("password", "")[:1000])
    except (Unauthenticated, TooManyTries) as err:
        return page("account/login.html", err.status, next=target, wrong=err.message, name=name)
    with farm().database.begin() as session:
        value = users.open_session(session, who)
    response = redirect(target, 303)
    response.set_cookie(
        SESSION_COOKIE, value, max_age=users.SESSION_HOURS * 3600, httponly=True, samesite="Lax",
        secure=farm().settings.public_url.startswith("https:"),
    )  # fmt: skip
    return response


@blueprint.post("/logout")
def leave() -> Redirect:
    """End the browser session."""
    check_form()
    with farm().database.begin() as session:
        users.close_session(session, request.cookies.get(SESSION_COOKIE, ""))
    response = redirect("/login", 303)
    response.delete_cookie(SESSION_COOKIE, samesite="Lax")
    return response


@blueprint.get("/account")
def account() -> Response:
    """My tokens, and ready configuration for pip and uv."""
    return _account(require("view"))


@blueprint.post("/account/tokens")
def create_token() -> Response:
    """Make a token that may do no more than its maker; its value is shown this once."""
    check_form()
    who = require("view")
    scopes, name = request.form.getlist("scope"), request.form.get("name", "").strip()[:100]
    for scope in rules.parse_scopes(scopes):
        verb, _, target = scope.partition(":")
        rules.require(who, verb, target)
    days = min(digits(request.form.get("days")) or 90, 3650)
    with farm().database.begin() as session:
        _, value = tokens.create(
            session, name or "unnamed", scopes, actor=who.name, days=days, user_id=who.id
        )
    return _account(who, value)


@blueprint.post("/account/tokens/<token_id>/revoke")
def revoke_token(token_id: str) -> Redirect:
    """End a token of mine."""
    check_form()
    who = require("view")
    with farm().database.begin() as session:
        token = session.get(Token, token_id)
        if token is None or token.user_id != who.id:
            raise NotFound(f"You have no token {token_id}.", code="token.unknown")
        tokens.revoke(session, token_id, actor=who.name)
    return redirect("/account", 303)


def _checked(name: str, password: str) -> Principal:
    check_private()
    throttle: Throttle = current_app.extensions["throttle"]
    address = request.remote_addr or ""
    if wait := throttle.wait_s(name, address):
        raise TooManyTries(f"Too many wrong passwords; try again in {wait // 60 + 1} minutes.")
    try:
        with farm().database.read() as session:
            who = users.check_password(session, name, password)
    except Unauthenticated:
        throttle.failed(name, address)
        raise
    throttle.forget(name, address)
    return who


def _check_site() -> None:
    """Nobody is logged in yet, so there is no form token: the browser says whose page sent the form."""
    if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
        raise Forbidden("This form was not sent from a page of ours; load it again.", code="form.foreign")


def _account(who: Principal, value: str = "") -> Response:
    with farm().database.read() as session:
        return page(
            "account/show.html", tokens=_mine(session), value=value, scopes=_scopes(session, who),
            channels=[c for c in list_channels(session) if rules.may(who, "read", c.name)],
            host=urlsplit(farm().settings.public_url).hostname,
        )  # fmt: skip


def _mine(session: Session) -> list[show.TokenRow]:
    me = principal().id
    return show.list_tokens(session, user_id=me) if me else []


def _scopes(session: Session, who: Principal) -> list[str]:
    """The scopes that this person may give away, the most needed first."""
    channels = [row.name for row in list_channels(session)]
    wanted = [f"{verb}:{name}" for verb in ("read", "upload", "promote") for name in channels]
    return [scope for scope in [*wanted, "view", "build"] if rules.may(who, *scope.split(":"))] + (
        ["admin"] if rules.may(who, "admin") else []
    )
