from __future__ import annotations

import os
from pathlib import Path

import pytest

from buildfarm import config
from buildfarm.errors import EnvironmentProblem


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the person who runs the tests."""
    for name in list(os.environ):
        if name.startswith("BUILDFARM_"):
            monkeypatch.delenv(name)


def refused() -> EnvironmentProblem:
    with pytest.raises(EnvironmentProblem) as caught:
        config.load()
    return caught.value


def test_a_farm_needs_no_setting(tmp_path: Path) -> None:
    settings = config.load(data=tmp_path)
    assert settings.database_url == f"sqlite:///{tmp_path / 'farm.db'}"
    assert settings.blobs_dir == tmp_path / "blobs"
    assert {settings.pages_dir.parent, settings.mirrors_dir.parent} == {tmp_path}


def test_the_environment_is_stronger_than_a_secret_file_and_that_than_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toml = tmp_path / "farm.toml"
    toml.write_text(
        'redis = "toml"\ndatabase = "toml"\nnode = "toml"\n[limits]\nattempts = 7\nlog_viewers = 8\n'
    )
    (tmp_path / "secret").write_text("file\n")
    monkeypatch.setenv("BUILDFARM_CONFIG", str(toml))
    monkeypatch.setenv("BUILDFARM_REDIS_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("BUILDFARM_DATABASE_FILE", str(tmp_path / "secret"))
    monkeypatch.setenv("BUILDFARM_DATABASE", "variable")
    monkeypatch.setenv("BUILDFARM_LIMITS__ATTEMPTS", "2")
    settings = config.load()
    assert (settings.database, settings.redis, settings.node) == ("variable", "file", "toml")
    assert (settings.limits.attempts, settings.limits.log_viewers) == (2, 8)


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("BUILDFARM_DATABSE", "BUILDFARM_DATABASE"),
        ("BUILDFARM_LIMITS__UPLOAD_BYTE", "BUILDFARM_LIMITS__UPLOAD_BYTES"),
        ("BUILDFARM_STORAGE_URL", "BUILDFARM_STORAGE__URL"),
    ],
)
def test_an_unknown_variable_is_refused_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.setenv(name, "x")
    problem = refused()
    assert problem.code == "settings.unknown"
    assert name in problem.message
    assert nearest in problem.hint


@pytest.mark.parametrize(
    ("text", "code", "told"),
    [
        ('databse = "x"', "settings.unknown", "database"),
        ("[mirror]\nupstream = []", "settings.unknown", "mirror.upstreams"),
        ("[limits]\nattempts = 'many'", "settings.invalid", "limits.attempts"),
        ("not toml at all", "settings.unreadable", ""),
    ],
)
def test_a_file_that_does_not_fit_says_where(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: str, told: str
) -> None:
    (tmp_path / "farm.toml").write_text(text)
    monkeypatch.setenv("BUILDFARM_CONFIG", str(tmp_path / "farm.toml"))
    problem = refused()
    assert problem.code == code
    assert told in str(problem)


def test_a_list_in_a_variable_that_is_no_json_says_how_it_is_written(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDFARM_SOURCES_PRIVATE_HOSTS", "10.0.0.0/8")
    problem = refused()
    assert problem.code == "settings.invalid"
    assert "sources_private_hosts" in problem.message
    assert "JSON" in problem.hint


def test_a_file_that_is_not_there_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDFARM_CONFIG", str(tmp_path / "nothing.toml"))
    assert refused().code == "settings.unreadable"
    monkeypatch.delenv("BUILDFARM_CONFIG")
    monkeypatch.setenv("BUILDFARM_REDIS_FILE", str(tmp_path / "nothing"))
    assert refused().code == "settings.file_unreadable"


def test_settings_do_not_change_while_a_process_runs(tmp_path: Path) -> None:
    settings = config.load(data=tmp_path)
    for target, name in ((settings, "redis"), (settings.limits, "attempts")):
        with pytest.raises(Exception, match="frozen"):
            setattr(target, name, "x")


def test_what_the_command_line_takes_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUILDFARM_URL", "https://farm.example")
    monkeypatch.setenv("BUILDFARM_TOKEN", "x")
    config.load()
