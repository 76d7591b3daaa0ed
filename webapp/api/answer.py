"""Read models as JSON: field names as they are, times as RFC 3339 text with microseconds and `Z`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from flask import Response

from buildfarm import clock


def answer(value: Any, status: int = 200) -> Response:  # noqa: ANN401
    """One read model, or a mapping of them."""
    return Response(json.dumps(plain(value)) + "\n", status=status, content_type="application/json")


def page(items: Sequence[Any], following: object = None, status: int = 200) -> Response:
    """A part of a list, and the key to go on with."""
    return answer({"items": items, "next": None if following is None else str(following)}, status)


def plain(value: Any) -> Any:  # noqa: ANN401
    """The value in types that JSON knows."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return clock.iso(value)
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(one) for one in value]
    return value
