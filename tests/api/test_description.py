"""The OpenAPI document: complete, sound in itself, without anything from elsewhere."""

import json
import re

import pytest


@pytest.fixture(scope="module")
def document(template):
    answer = template.client().get("/api/openapi.json")
    assert answer.status_code == 200
    return answer.json


def test_every_route_is_described(template, document):
    served = {
        (re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(rule)), method.lower())
        for rule in template.app.url_map.iter_rules()
        if str(rule).startswith("/api/v1/")
        for method in rule.methods - {"HEAD", "OPTIONS"}
    }
    described = {(path, method) for path, methods in document["paths"].items() for method in methods}
    assert described == served
    assert served


def test_every_reference_leads_somewhere(document):
    schemas = document["components"]["schemas"]
    references = set(re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)))
    assert references
    for reference in references:
        assert reference.removeprefix("#/components/schemas/") in schemas


def test_names_of_schemas_are_such_as_openapi_allows(document):
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+", name) for name in document["components"]["schemas"])


def test_every_operation_has_a_sentence_an_answer_and_problems(document):
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"].endswith("."), (path, method)
            statuses = set(operation["responses"])
            assert statuses & {"200", "201"}, (path, method)
            assert {"400", "401", "403", "404", "409"} <= statuses
            problem = operation["responses"]["401"]["content"]
            assert "Problem" in json.dumps(problem)


def test_it_is_openapi_3_1_and_names_how_to_authenticate(document):
    assert document["openapi"].startswith("3.1")
    assert set(document["components"]["securitySchemes"]) == {"token", "password"}


def test_no_page_of_a_foreign_ui_is_served(template):
    rules = [str(rule) for rule in template.app.url_map.iter_rules()]
    assert not [rule for rule in rules if "swagger" in rule or "redoc" in rule or "scalar" in rule]
