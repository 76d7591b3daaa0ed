"""What clients may ask of a representation: media type, encoding, validators, ranges. Pure.

Source: RFC 9110 sections 12 (negotiation), 13 (conditions), 14 (ranges); PEP 691.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum


class Form(StrEnum):
    """The representations of a page."""

    JSON = "application/vnd.pypi.simple.v1+json"
    VENDOR_HTML = "application/vnd.pypi.simple.v1+html"
    HTML = "text/html"


_NAMES = {
    Form.JSON: ("application/vnd.pypi.simple.v1+json", "application/vnd.pypi.simple.latest+json"),
    Form.VENDOR_HTML: ("application/vnd.pypi.simple.v1+html", "application/vnd.pypi.simple.latest+html"),
    Form.HTML: ("text/html",),
}
_QUALITY = re.compile(r"\s*q\s*=\s*(0(\.\d{0,3})?|1(\.0{0,3})?)\s*", re.IGNORECASE)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII | re.IGNORECASE)


def negotiate(accept: str | None) -> Form | None:
    """The form to answer with, or None when only unknown types are acceptable.

    Without a wish, or with `*/*` alone, the answer is HTML: that is what people and old clients mean.
    """
    if not accept or not accept.strip():
        return Form.HTML
    # What has no slash is no media range: a header of such parts alone says nothing.
    ranges = {name: quality for name, quality in _weighted(accept).items() if "/" in name}
    if not ranges:
        return Form.HTML
    offers = []
    for place, form in enumerate(Form):
        specificity, quality = _match(form, ranges)
        # A bare `*/*` is no wish for JSON: the last form, HTML, comes first there.
        offers.append((quality, specificity, -place if specificity else place, form))
    quality, _, _, form = max(offers)
    return form if quality > 0 else None


def form_named(text: str) -> Form | None:
    """The form that `?format=` names; a plus that was not encoded arrives as a space."""
    wanted = text.replace(" ", "+").lower()
    return next((form for form, names in _NAMES.items() if wanted in names), None)


def coding(header: str | None, offers: Sequence[str]) -> str | None:
    """The content coding to answer with: of `offers`, the dearest to us first, or `identity`.

    None when the client takes neither them nor identity (RFC 9110 section 12.5.3).
    """
    weights = _weighted(header or "")
    wild = weights.get("*")
    # Identity is always acceptable until it is ruled out, and the last choice until it is asked for.
    best, quality = "identity", weights.get("identity", 0.0001 if wild is None else wild)
    for offer in reversed(offers):
        offered = weights.get(offer, weights.get(f"x-{offer}", wild or 0.0))
        if offered and offered >= quality:
            best, quality = offer, offered
    return best if quality else None


def matches(header: str | None, etag: str) -> bool:
    """Whether `If-None-Match` names this ETag (weak comparison, lists, `*`)."""
    if not header:
        return False
    if header.strip() == "*":
        return True
    return any(part.strip().removeprefix("W/") == etag for part in header.split(","))


def byte_range(header: str | None, size: int) -> tuple[int, int] | str | None:
    """(start, length) of a satisfiable single range; None to send all; `unsatisfiable`.

    Several ranges and malformed ones are answered with the whole, as RFC 9110 section 14.2 allows.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.groups() == ("", ""):
        return None
    first, last = match.groups()
    if len(first) > 18 or len(last) > 18:
        return "unsatisfiable"
    if not first:
        length = min(int(last), size)
        return (size - length, length) if length else "unsatisfiable"
    start = int(first)
    end = min(int(last), size - 1) if last else size - 1
    if last and int(last) < start:
        return None
    return (start, end - start + 1) if start < size else "unsatisfiable"


def _match(form: Form, ranges: dict[str, float]) -> tuple[int, float]:
    for name in _NAMES[form]:
        if name in ranges:
            return 2, ranges[name]
    family = form.split("/")[0] + "/*"
    if family in ranges:
        return 1, ranges[family]
    return 0, ranges.get("*/*", 0.0)


def _weighted(header: str) -> dict[str, float]:
    weights: dict[str, float] = {}
    for part in header.split(","):
        name, *parameters = part.split(";")
        quality = 1.0
        for parameter in parameters:
            if match := _QUALITY.fullmatch(parameter):
                quality = float(match.group(1))
        if name.strip():
            weights[name.strip().lower()] = quality
    return weights
