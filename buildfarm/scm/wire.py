"""Reading what strangers sent: header names, JSON, refs, commits and text fit to store and show."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any, NoReturn
from urllib.parse import parse_qs

from buildfarm.errors import InvalidInput
from buildfarm.scm.reasons import REMEDY, Reason

_DELIVERY_ID = re.compile(r"[\x21-\x7e]{1,200}")
_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
# No password: a URL is shown and logged.
_URL = re.compile(r"(?:https?|ssh|git)://(?![^/]*:[^/]*@)[\x21-\x7e]{1,2000}")
# git-check-ref-format(1), rules 1 and 3 to 10; rule 2 holds because both prefixes have a slash.
_REF = re.compile(
    r"refs/(?:heads|tags)"
    r"(?:/(?!\.)(?:(?!\.\.|@\{)[^\x00-\x20\x7f~^:?*\[\\/])+(?<!\.lock))+(?<!\.)"
)
_LONGEST_REF = 1000
_FORM = "application/x-www-form-urlencoded"
# GitHub's and GitLab's documented markers; both take any capitals.
_SKIP = re.compile(r"\[(?:skip[ _-]ci|ci[ _-]skip|no ci)\]", re.IGNORECASE)


def lowered(headers: Mapping[str, str]) -> dict[str, str]:
    """The headers with lower-case names; of names that differ in case alone the last one stays."""
    return {name.lower(): value for name, value in headers.items()}


def usable_id(value: str | None) -> str | None:
    """A delivery id of at most 200 printable ASCII characters, else None."""
    return value if value is not None and _DELIVERY_ID.fullmatch(value) else None


def unparsable(problem: str, reason: Reason = Reason.BODY_UNPARSABLE) -> NoReturn:
    """Refuse a body with a sentence that says what is wrong with it.

    Raises:
        InvalidInput: code `hook.unparsable`.
    """
    raise InvalidInput(problem, code="hook.unparsable", hint=REMEDY[reason], reason=reason)


def event_name(headers: Mapping[str, str], header: str) -> str:
    """What the sender calls its event, in a header of this name.

    Raises:
        InvalidInput: code `hook.unparsable`.
    """
    name = line(lowered(headers).get(header.lower()), 100)
    if not name:
        unparsable(f"The header {header} is missing, so the event has no name.")
    return name


def json_object(headers: Mapping[str, str], body: bytes, *, form: bool = False) -> dict[str, Any]:
    """The JSON object in a body, or in its `payload` field when `form` allows form encoding.

    A request without a content type is taken as JSON: the signature vouches for the bytes already.

    Raises:
        InvalidInput: code `hook.unparsable`.
    """
    kind = _content_type(headers)
    if form and kind == _FORM:
        return _object(_form_payload(body))
    if kind == "application/json":
        return _object(body)
    return unparsable("The content type is not one that this SCM sends.", Reason.CONTENT_TYPE)


def signed_part(headers: Mapping[str, str], body: bytes) -> bytes:
    """The JSON inside a form, which some SCMs sign instead of the body; any other body as it is."""
    if _content_type(headers) != _FORM:
        return body
    try:
        return _form_payload(body)
    except InvalidInput:
        return body


def _content_type(headers: Mapping[str, str]) -> str:
    return lowered(headers).get("content-type", "application/json").partition(";")[0].strip().lower()


def _form_payload(body: bytes) -> bytes:
    try:
        fields = parse_qs(body, keep_blank_values=True, strict_parsing=True, max_num_fields=4)
    except ValueError:
        unparsable("The body is not form data with one field `payload`.")
    payloads = fields.get(b"payload", [])
    if len(payloads) != 1:
        unparsable("The form data does not have exactly one field `payload`.")
    return payloads[0]


def _object(text: bytes) -> dict[str, Any]:
    try:
        value = json.loads(text.decode("utf-8"))
    except (ValueError, RecursionError):
        unparsable("The body is not JSON in UTF-8.")
    if not isinstance(value, dict):
        unparsable("The body is not a JSON object.")
    return value


def at(value: object, *path: str) -> Any:  # noqa: ANN401 - JSON
    """The member at a path of nested objects, or None where the path ends early."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = value.get(name)
    return value


def line(value: object, limit: int = 200) -> str:
    """The first line of a text, safe to store and to show; empty for anything that is not text.

    What is not printable (controls, bidirectional overrides, surrogates) becomes a space; at most `limit`
    characters.
    """
    if not isinstance(value, str):
        return ""
    first = value.lstrip()[: limit * 8].partition("\n")[0]
    clean = " ".join("".join(each if each.isprintable() else " " for each in first).split())
    return clean if len(clean) <= limit else clean[: limit - 1].rstrip() + "…"


def url(value: object) -> str | None:
    """A repository URL that is safe to make a link of, else None."""
    return value if isinstance(value, str) and _URL.fullmatch(value) else None


def ref(value: object) -> str:
    """A full branch or tag name that git would accept; empty for any other ref, such as `refs/notes/x`.

    Raises:
        InvalidInput: code `hook.unparsable`; it is no ref name at all.
    """
    if not isinstance(value, str) or not value.startswith("refs/"):
        unparsable("The payload has no full ref name such as refs/heads/main.")
    if not value.startswith(("refs/heads/", "refs/tags/")):
        return ""
    if len(value) > _LONGEST_REF or not value.isprintable() or not _REF.fullmatch(value):
        unparsable("The payload's ref name is one that git does not allow, or that cannot be shown.")
    return value


def commit(value: object) -> str | None:
    """An object id in lower-case hex (SHA-1 or SHA-256), None for the all-zero id and for null.

    Raises:
        InvalidInput: code `hook.unparsable`.
    """
    if value is None:
        return None
    if not isinstance(value, str) or not _COMMIT.fullmatch(value):
        unparsable("The payload's commit is not an object id of 40 or 64 hex digits.")
    return value if value.strip("0") else None


def number(value: object) -> int:
    """A positive number, such as a pull request's.

    Raises:
        InvalidInput: code `hook.unparsable`.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not 0 < value < 1 << 63:
        unparsable("The payload has no positive number where it should name a pull request.")
    return value


def asks_to_skip(message: object) -> bool:
    """Whether a commit message holds a marker such as `[skip ci]`."""
    return isinstance(message, str) and _SKIP.search(message) is not None
