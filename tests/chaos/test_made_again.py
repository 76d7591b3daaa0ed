"""A release of C code, made a second time to compare and then again as a rebuild, on a whole farm."""

import base64
import json
from typing import Any

import pytest
from chaos_harness import index_files

from tests.sandbox.conftest import C_PROJECT
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(300)]
RECIPE = '\n[tool.buildfarm]\ntargets = { interpreters = ["cp311"] }\n'


def ended(farm, build_id: str) -> dict[str, Any]:
    def over() -> dict[str, Any] | None:
        shown = farm.get(f"builds/{build_id}")
        return shown if shown["finished_at"] else None

    return wait_for(over, f"the end of {build_id}", 120)


def compared(farm, build_id: str) -> dict[str, Any]:
    """The build that made the files of this one again, and found them equal."""
    second = ended(farm, farm.api("POST", f"builds/{build_id}/compare")["id"])
    assert second["state"] == "compared", second
    assert all(file["is_equal"] for file in second["comparisons"]), second["comparisons"]
    told = [row["facts"] for row in farm.journal("compare", "fastadd")]
    rows = [row for row in told if row["build"] == second["id"]]
    assert [row["compares"] for row in rows] == [build_id]
    return second


def statement(farm, path: str) -> dict[str, Any]:
    url = f"{farm.url}/dev/files/fastadd/{path}"
    answer = wait_for(lambda: (got := farm.session.get(url)).ok and got, path)
    return json.loads(base64.b64decode(json.loads(answer.text.splitlines()[0])["dsseEnvelope"]["payload"]))


def test_a_c_project_is_compared_rebuilt_and_compared_again(farm) -> None:
    source = farm.connect("fastadd")
    files = C_PROJECT | {"pyproject.toml": C_PROJECT["pyproject.toml"] + RECIPE}
    source.repository.commit(files, tag="v1.2")
    first = ended(farm, farm.api("POST", "builds", json={"source": "fastadd", "ref": "refs/tags/v1.2"})["id"])
    assert first["state"] == "published", first["first_error"]
    assert len(compared(farm, first["id"])["comparisons"]) == 2

    asked = farm.api("POST", f"builds/{first['id']}/rebuild", json={})
    again = ended(farm, asked["id"])
    assert (again["state"], again["wheel_build"]) == ("published", 1), again
    old = next(file["filename"] for file in first["files"] if file["filename"].endswith(".whl"))
    (new,) = (file["filename"] for file in again["files"])
    assert new == old.replace("-1.2-", "-1.2-1-")
    (check,) = compared(farm, again["id"])["comparisons"]
    assert check["filename"] == new
    for name in (old, new):
        told = statement(farm, f"{name}.reproduced.jsonl")
        assert told["predicateType"] == f"{farm.url}/predicates/reproduced/v1"
    provenance = statement(farm, f"{new}.sigstore.json")
    internal = provenance["predicate"]["buildDefinition"]["internalParameters"]
    assert internal["rebuilds"] == f"{farm.url}/builds/{first['id']}"
    assert {old, new} < index_files(farm, "fastadd")
    release = farm.get("releases/fastadd/1.2")
    found = {file["filename"]: [one["is_equal"] for one in file["comparisons"]] for file in release["files"]}
    assert found == {name: [True] for name in index_files(farm, "fastadd")}
