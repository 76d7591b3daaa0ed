"""What is made up for when somebody comes back: the farm (users.md, story 4) or the forge (story 5)."""

from typing import Any

import pytest
from chaos_forge import running_forge
from chaos_harness import Build, Farm
from chaos_repository import PROJECT

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(300)]

SWEEP_S = 5
STATUSES = "SELECT context, outcome, state FROM answer WHERE kind = 'status' AND build_id = ? ORDER BY id"
OF_TAG = "buildfarm/untold (tag)"


def release(name: str) -> dict[str, str]:
    """The files of version 1.0."""
    return {"pyproject.toml": PROJECT.format(name=name, version="1.0", seconds=0)}


def test_the_newest_of_the_pushes_that_a_stopped_farm_missed_is_published(make_farm, tmp_path) -> None:
    farm: Farm = make_farm(BUILDFARM_TIMING__SWEEP_S=str(SWEEP_S))
    farm.start()
    with running_forge(tmp_path, "missed") as forge:
        forge.repository.commit(release("missed"))
        source = forge.connect(farm, branches=["main"])
        wait_for(lambda: farm.get("sources/missed")["step"]["in_step_at"], "the first look")
        farm.stop()
        commits = [forge.repository.commit({"notes": f"{number}\n"}) for number in range(3)]
        farm.start()
        (row,) = wait_for(lambda: farm.get("builds")["items"], "the sweep")
        shown = Build(source, "", row["id"]).reaches("published")
    assert (shown["trigger"], shown["commit"]) == ("sweep", commits[-1])
    assert [one["id"] for one in farm.get("builds")["items"]] == [row["id"]]
    (delivery,) = farm.get("deliveries")["items"]
    assert (delivery["reason"], delivery["commit"]) == ("found_by_sweep", commits[-1])
    page = farm.session.get(f"{farm.url}/deliveries", headers={"Accept": "text/html"}, timeout=60)
    assert "Found by sweep" in page.text


def test_a_forge_that_answers_502_is_told_all_of_a_published_build_afterwards_in_order(
    farm: Farm, tmp_path
) -> None:
    refused: list[str] = []

    def away(_method: str, path: str) -> tuple[int, dict[str, str], Any]:
        refused.append(path)
        return 502, {}, None

    with running_forge(tmp_path, "untold") as forge:
        forge.api.before = away
        scm_token = {"token": forge.api.token, "api_url": f"{forge.api.url}/api/v3"}
        source = forge.connect(farm, scm_token=scm_token)
        commit = forge.repository.commit(release("untold"), tag="1.0")
        build = source.started("1.0", source.tell("1.0", commit))
        build.published_once()
        wait_for(lambda: sum("/statuses/" in path for path in refused) > 1, "a second try")
        assert {state for *_, state in farm.sql(STATUSES, build.id)} == {"waiting"}
        forge.api.before = lambda _method, _path: None
        wait_for(lambda: {state for *_, state in farm.sql(STATUSES, build.id)} == {"sent"}, "all to be told")
        told = [call.body for call in forge.api.of("repos/create-commit-status")]
    noted = [
        (context, {"running": "pending"}.get(outcome, outcome))
        for context, outcome, _ in farm.sql(STATUSES, build.id)
    ]
    assert [(one["context"], one["state"]) for one in told] == noted
    (target,) = (job["target"] for job in build.show()["jobs"])
    assert dict(noted) == {OF_TAG: "success", f"{OF_TAG}/{target}": "success"}
    assert forge.api.wrong == []
