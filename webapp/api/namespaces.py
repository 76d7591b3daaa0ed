"""`/api/v1/namespaces`: prefixes of names that are reserved for their owners (PEP 752)."""

from __future__ import annotations

from flask import Blueprint, Response

from buildfarm.index import namespaces
from buildfarm.index.namespaces import NamespaceRow
from webapp.api.answer import answer, page
from webapp.api.spec import Body, Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("namespaces", __name__)
_TAGS = ["namespaces"]


class NewNamespace(Body):
    """A prefix and its owners (`source:NAME`, `user:NAME`, `token:ID`); without one, administrators alone."""

    prefix: str
    owners: list[str] = []


@blueprint.get("/namespaces")
@spec.validate(resp=answers(Page[NamespaceRow]), tags=_TAGS)
def list_all() -> Response:
    """Every reserved prefix, by name."""
    require("view")
    with farm().database.read() as session:
        return page(namespaces.list_rows(session))


@blueprint.post("/namespaces")
@spec.validate(resp=answers(NamespaceRow, 201), tags=_TAGS)
def add(json: NewNamespace) -> Response:
    """Reserve a prefix; its names are never asked upstream from now on."""
    who = require("admin")
    with farm().database.begin() as session:
        namespaces.add(session, json.prefix, json.owners, actor=who.name)
    with farm().database.read() as session:
        return answer(namespaces.row(session, namespaces.get(session, json.prefix)), 201)


@blueprint.get("/namespaces/<prefix>")
@spec.validate(resp=answers(NamespaceRow), tags=_TAGS)
def show_one(prefix: str) -> Response:
    """One reserved prefix with the local names that it covers."""
    require("view")
    with farm().database.read() as session:
        return answer(namespaces.row(session, namespaces.get(session, prefix)))


@blueprint.delete("/namespaces/<prefix>")
@spec.validate(resp=answers(NamespaceRow), tags=_TAGS)
def remove(prefix: str) -> Response:
    """Give a prefix up; local names below it stay local."""
    who = require("admin")
    with farm().database.begin() as session:
        before = namespaces.row(session, namespaces.get(session, prefix))
        namespaces.remove(session, prefix, actor=who.name)
    return answer(before)
