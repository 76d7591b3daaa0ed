"""What `doctor` says of a machine, and that every setting is described."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path

from click.testing import CliRunner

from buildfarm import clock, config
from buildfarm.cli.doctor import doctor
from buildfarm.scm.model import Sighting
from buildfarm.sources.model import Source

ROOT = Path(__file__).parent.parent.parent


def test_without_an_engine_it_says_what_to_do_and_exits_with_one(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    answer = CliRunner().invoke(doctor, ["--data", str(tmp_path), "--json"])
    findings = {finding["name"]: finding for finding in json.loads(answer.output)["findings"]}
    assert answer.exit_code == 1
    assert not findings["engine"]["good"]
    assert "docker/engine.sh" in findings["builds"]["hint"]
    assert findings["data folder"]["good"]


def test_a_farm_that_does_not_answer_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("BUILDFARM_URL", "http://127.0.0.1:9")
    answer = CliRunner().invoke(doctor, ["--data", str(tmp_path)])
    assert answer.exit_code == 1
    assert "✗ web http://127.0.0.1:9/healthz: ConnectionError" in answer.output


def test_sources_that_were_not_in_step_for_long_are_named(house, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nobody.sock")
    monkeypatch.setenv("BUILDFARM_DATABASE", house.farm.settings.database)

    def said() -> dict[str, tuple[bool, str]]:
        answer = CliRunner().invoke(doctor, ["--data", str(tmp_path), "--json"])
        return {one["name"]: (one["good"], one["value"]) for one in json.loads(answer.output)["findings"]}

    source_id = house.source("widget")
    assert said()["sources"] == (True, "all in step with their SCMs"), "it was added a moment ago"
    with house.database.begin() as session:
        session.get_one(Source, source_id).created_at = clock.now() - timedelta(hours=1)
    assert said()["source widget"] == (False, "not in step so far: nobody looked")
    with house.database.begin() as session:
        when = clock.now() - timedelta(minutes=20)
        session.add(
            Sighting(source_id=source_id, next_at=when, in_step_at=when, failures=3, problem="It is away.")
        )
    good, value = said()["source widget"]
    assert not good
    assert value.startswith("not in step since ")
    assert value.endswith("It is away.")


def test_every_setting_is_described():
    page = (ROOT / "docs" / "settings.md").read_text()
    for name, description in config.known().items():
        assert description, f"{name} says nothing of itself"
        variable = f"BUILDFARM_{name.upper().replace('.', '__')}"
        assert f"| `{name}` | `{variable}` |" in page, f"{name} is not in docs/settings.md"
        assert description in page, f"docs/settings.md says something else of {name}"
