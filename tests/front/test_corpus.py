"""The corpus, against gunicorn alone and through the front."""

from __future__ import annotations

import pytest

from tests.front.conftest import Site
from tests.front.corpus import CASES, Case, fill
from tests.front.wire import Answer


def ask(site: Site, case: Case, *, web: bool) -> Answer:
    wire = site.web_wire() if web else site.wire()
    try:
        return wire.send(fill(case, site.facts)).answer(head=case.is_head)
    finally:
        wire.close()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.line}: {case.name}")
def test_web_and_front_answer_alike_and_right(shared: Site, case: Case) -> None:
    web, front = ask(shared, case, web=True), ask(shared, case, web=False)
    expected = {
        name: value and shared.facts.get(value.strip("<>"), value) for name, value in case.headers.items()
    }
    for answer in (web, front):
        assert answer.status == case.status
        assert {name: answer.headers.get(name) for name in expected} == expected
    assert {name: front.headers.get(name) for name in case.equal} == {
        name: web.headers.get(name) for name in case.equal
    }
    if case.body:
        assert front.body == web.body


def test_the_front_answers_reads_itself(shared: Site) -> None:
    case = next(case for case in CASES if case.name == "a page as pip")
    assert "server" in ask(shared, case, web=True).headers
    assert "server" not in ask(shared, case, web=False).headers
