"""Errors on the wire: problem details (RFC 9457) for programs, a page for browsers; never a traceback."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import wraps
from typing import Any

from flask import Flask, Response, json, redirect, render_template, request, url_for
from sqlalchemy.exc import DataError
from werkzeug.exceptions import HTTPException

from buildfarm import log
from buildfarm.errors import FarmError, InvalidInput, Unauthenticated
from webapp.context import wants_html

_log = log.get(__name__)


def install(app: Flask) -> None:
    """Handle every exception of every view."""
    app.register_error_handler(FarmError, _farm_error)
    app.register_error_handler(HTTPException, _http_error)
    for unfit in (DataError, OverflowError):  # PostgreSQL's word for it, and that of SQLite's driver
        app.register_error_handler(unfit, _unfit)
    app.register_error_handler(Exception, _unknown_error)


def problem(status: int, code: str, sentence: str, hint: str = "", **facts: Any) -> Response:  # noqa: ANN401
    """A problem document; the sentence is the reason phrase too, which is all that some clients show."""
    body = {"type": "about:blank", "title": sentence, "status": status, "code": code}
    if hint:
        body["detail"] = hint
    body |= {key: value for key, value in facts.items() if key not in body}
    response = Response(json.dumps(body) + "\n", content_type="application/problem+json")
    response.status = f"{status} {_reason(sentence)}"
    return response


def _farm_error(err: FarmError) -> Response:
    if err.status >= 500:
        _log.error("request.failed", code=err.code, message=err.message, path=request.path)
    if wants_html():
        if isinstance(err, Unauthenticated) and request.method == "GET":
            return redirect(url_for("account.login", next=request.full_path.rstrip("?")))  # type: ignore[return-value]
        return _page(err.status, err.code, err.message, err.hint)
    return problem_of(err)


def problem_of(err: FarmError, **facts: Any) -> Response:  # noqa: ANN401
    """An error as a problem document, with these facts beside its own."""
    response = problem(err.status, err.code, err.message, err.hint, **(err.facts | facts))
    if err.status == 401:
        response.headers["WWW-Authenticate"] = 'Basic realm="buildfarm", charset="UTF-8"'
    if err.status == 503:
        response.headers["Retry-After"] = "2"
    return response


def text_of(err: FarmError) -> Response:
    """An error as a line of text, which is what Cargo and Go show of an answer."""
    if err.status >= 500:
        _log.error("request.failed", code=err.code, message=err.message, path=request.path)
    return Response(f"{err}\n", err.status, content_type="text/plain; charset=utf-8")


def told_plainly(view: Callable[..., Response]) -> Callable[..., Response]:
    """Have the errors of a view be lines of text."""

    @wraps(view)
    def told(**given: Any) -> Response:  # noqa: ANN401
        try:
            return view(**given)
        except FarmError as err:
            return text_of(err)

    return told


def _http_error(err: HTTPException) -> Response:
    status = err.code or 500
    if isinstance(err.get_response(), Response) and status < 400:
        return err.get_response()  # type: ignore[return-value]
    code, sentence = f"http.{status}", (err.description or err.name)
    response = _page(status, code, sentence, "") if wants_html() else problem(status, code, sentence)
    for header in ("Allow", "Retry-After"):
        if value := dict(err.get_headers()).get(header):
            response.headers[header] = value
    return response


def _unfit(err: Exception) -> Response:
    """A value that the database can neither look for nor keep, wherever in the request it stood."""
    _log.warning("request.unfit", path=request.path, reason=str(getattr(err, "orig", err)))
    sentence = (
        "The request holds what the farm cannot look for or keep: a NUL, or a number that is too large."
    )
    return _farm_error(InvalidInput(sentence, code="request.unfit"))


def _unknown_error(err: Exception) -> Response:
    _log.error("request.crashed", path=request.path, exc_info=err)
    sentence = "Something in the farm went wrong; it is in the log of the web process."
    return _page(500, "farm.bug", sentence, "") if wants_html() else problem(500, "farm.bug", sentence)


def _page(status: int, code: str, sentence: str, hint: str) -> Response:
    body = render_template("error.html", status=status, code=code, sentence=sentence, hint=hint)
    return Response(body, status=status, content_type="text/html; charset=utf-8")


def _reason(sentence: str) -> str:
    return re.sub(r"[^\x20-\x7e]+", " ", sentence)[:200]
