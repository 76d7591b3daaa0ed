import json

import pytest
from click.testing import CliRunner

from buildfarm.cli.recipe import recipe


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[project]\nname = 'demo'\n")
    nested = tmp_path / "pkg" / "a"
    nested.mkdir(parents=True)
    (nested / "buildfarm.toml").write_text("tags = 'a/v*'\n")
    hidden = tmp_path / "tests" / "data"
    hidden.mkdir(parents=True)
    (hidden / "buildfarm.toml").write_text("broken")
    return tmp_path


def run(*arguments):
    return CliRunner().invoke(recipe, [str(argument) for argument in arguments])


def test_check_takes_a_repository(repository):
    result = run("check", repository, "--json")
    assert result.exit_code == 0
    (row,) = json.loads(result.stdout)["recipes"]
    assert (row["name"], row["path"], len(row["digest"])) == ("pkg-a", "pkg/a", 64)


def test_check_refuses_an_invalid_file_with_exit_code_1(tmp_path):
    file = tmp_path / "demo.toml"
    file.write_text("[test]\ncomand = 'x'\n")
    result = run("check", file)
    assert result.exit_code == 1
    assert result.stderr == f'{file} line 2: unknown key "comand" in [test]; did you mean "command"?\n'
    as_json = run("check", file, "--json")
    assert as_json.exit_code == 1
    answer = json.loads(as_json.stdout)
    assert (answer["valid"], answer["code"], len(answer["problems"])) == (False, "recipe.invalid", 1)


@pytest.mark.parametrize("content", [None, b"\xff\xfe"], ids=["nothing", "not text"])
def test_check_refuses_a_folder_without_project_and_a_file_that_is_no_text(tmp_path, content):
    if content:
        (tmp_path / "buildfarm.toml").write_bytes(content)
    assert run("check", tmp_path).exit_code == 1


def test_a_missing_path_is_a_usage_error(tmp_path):
    assert run("check", tmp_path / "none").exit_code == 2


def test_explain_shows_where_each_value_was_written(repository):
    result = run("explain", repository)
    assert result.exit_code == 0
    assert 'tags = "a/v*"  # pkg/a/buildfarm.toml line 1' in result.stdout
    assert 'limits.memory = "2 GiB"  # default' in result.stdout
    (one,) = json.loads(run("explain", repository, "--json").stdout)["recipes"]
    tags = next(row for row in one["values"] if row["key"] == "tags")
    assert tags == {"key": "tags", "value": "a/v*", "file": "pkg/a/buildfarm.toml", "line": 1}
