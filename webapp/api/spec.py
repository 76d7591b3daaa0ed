"""The description of the API: OpenAPI 3.1 from the views themselves, without any page from elsewhere."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from flask import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from spectree import Response as Answers
from spectree import SpecTree
from spectree.model_adapter.protocol import SchemaMode

from buildfarm.errors import InvalidInput

Row = TypeVar("Row")


@dataclass(frozen=True)
class Problem:
    """An error (RFC 9457): `title` is a sentence, `detail` what to do next, `code` for scripts."""

    title: str
    status: int
    code: str
    type: str = "about:blank"
    detail: str | None = None
    fields: dict[str, str] = field(default_factory=dict)


class Body(BaseModel):
    """A request's body or query: what is not known is refused, so that no typing error passes silently."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class PageQuery(Body):
    """Which part of a list."""

    before: str | None = Field(None, description="Go on after this key, `next` of the page before.")
    limit: int = Field(50, ge=1, le=200, description="Most rows of the page.")


class Page(BaseModel, Generic[Row]):
    """A part of a list; `next` is the key to go on with, null on the last page."""

    model_config = ConfigDict(defer_build=True)

    items: list[Row]
    next: str | None


def answers(model: Any, status: int = 200) -> Answers:  # noqa: ANN401
    """What a view answers: the model under its status, and problems under every other."""
    problems = {f"HTTP_{code}": Problem for code in (400, 401, 403, 404, 409)}
    return Answers(**({f"HTTP_{status}": model} | problems))


def _schema_name(model: type) -> str:
    """`BuildRow`, and `BuildRowPage` for `Page[BuildRow]`: short names, each used once."""
    return re.sub(r"Page\[(\w+)\]", r"\1Page", model.__name__)


def _refuse_bad_request(
    _request: Request,
    _response: object,
    error: Exception | None,
    _view: object,
    _adapter: object,
) -> None:
    """Turn what pydantic found into one sentence, with every field and what is wrong with it."""
    if not isinstance(error, ValidationError):
        return
    fields = {".".join(str(part) for part in one["loc"]) or "body": one["msg"] for one in error.errors()}
    name, what = next(iter(fields.items()))
    raise InvalidInput(f"The field {name!r} does not fit: {what}.", fields=fields) from error


def _raise_bad_answer(
    _request: Request,
    _response: object,
    error: Exception | None,
    _view: object,
    _adapter: object,
) -> None:
    # An answer that differs from its description is a bug of ours: the error page says so, the log why.
    if error:
        raise error


class _Description(SpecTree):
    """Works the schemas of models out when somebody asks for the description.

    Spectree does so for every view as it is imported: half a second of CPU at every start.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401
        self._put_off: dict[tuple[type, SchemaMode], None] = {}
        self._described: dict[str, Any] = {}
        super().__init__(*arguments, **options)

    def _add_model(self, model: type, mode: SchemaMode = "validation") -> str:
        self._put_off[model, mode] = None
        return str(self.naming_strategy(model))

    @property
    def spec(self) -> dict[str, Any]:
        """The description."""
        if not self._described:
            # Two who ask at once do it twice, with the same outcome.
            for model, mode in self._put_off:
                super()._add_model(model, mode)
            self._described = super().spec
        return self._described


#: Decorates every view; `mode="strict"` keeps whatever else the application serves out of the description.
spec = _Description(
    "flask",
    title="buildfarm",
    version="1",
    description="The API of a build farm with its own package index.",
    mode="strict",
    before=_refuse_bad_request,
    after=_raise_bad_answer,
    validation_error_status=400,
    validation_error_model=Problem,
    naming_strategy=_schema_name,
    nested_naming_strategy=lambda _parent, child: child,
    page_templates={},
    security_schemes=[
        {"name": "token", "data": {"type": "http", "scheme": "bearer"}},
        {"name": "password", "data": {"type": "http", "scheme": "basic"}},
    ],
    security=[{"token": []}, {"password": []}],
)
