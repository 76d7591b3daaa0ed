"""What `doctor` says of a machine, and that every setting is described."""

from __future__ import annotations

import json
from pathlib import Path

from click.testing import CliRunner

from buildfarm import config
from buildfarm.cli.doctor import doctor

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


def test_every_setting_is_described():
    page = (ROOT / "docs" / "settings.md").read_text()
    for name, description in config.known().items():
        assert description, f"{name} says nothing of itself"
        variable = f"BUILDFARM_{name.upper().replace('.', '__')}"
        assert f"| `{name}` | `{variable}` |" in page, f"{name} is not in docs/settings.md"
        assert description in page, f"docs/settings.md says something else of {name}"
