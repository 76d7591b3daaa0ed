import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from buildfarm.errors import InvalidInput
from buildfarm.recipes.catalog import load_catalog
from buildfarm.recipes.environment import refused_variable
from buildfarm.recipes.load import explain, load_recipes
from buildfarm.recipes.model import Recipe, recipe_digest, recipe_schema

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(path for path in (ROOT / "recipes").glob("*.toml") if path.name != "targets.toml")


def test_a_recipe_survives_its_json_with_the_same_digest():
    recipe = Recipe.model_validate(
        {
            "build": {"config_settings": {"a": ["x"]}, "environment": {"B": "1", "A": "2"}},
            "test": {"command": "pytest"},
            "limits": {"time": "1h30m", "cpus": 1.5},
        }
    )
    again = Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json"))))
    assert again == recipe
    assert recipe_digest(again) == recipe_digest(recipe)


def test_the_digest_is_of_the_values_and_not_of_their_spelling_or_place():
    one = Recipe.model_validate({"limits": {"memory": "1 GiB"}, "project": "Demo.X", "path": "./a//b/"})
    (other,) = load_recipes({}, "path = 'a/b'\nproject = 'demo-x'\n[limits]\nmemory = '1024 MiB'")
    assert recipe_digest(one) == recipe_digest(other)


def test_any_change_of_a_value_changes_the_digest():
    digests = {recipe_digest(Recipe.model_validate(keys)) for keys in ({}, {"test": False}, {"tags": "v*"})}
    assert len(digests) == 3


def test_the_digest_stays_what_old_provenance_names():
    assert recipe_digest(Recipe()) == (
        "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # of `{}`
    )


def test_a_recipe_cannot_be_changed():
    with pytest.raises(ValidationError):
        Recipe().tags = "v*"


@pytest.mark.parametrize(
    "name",
    ["PATH", "PIP_INDEX_URL", "UV_INDEX", "LD_PRELOAD", "PYTHONPATH", "_PYTHON_HOST_PLATFORM", "http_proxy",
     "SOURCE_DATE_EPOCH", "LC_ALL", "CARGO_HOME", "GOPROXY", "GOSUMDB", "goprivate",
     "CARGO_REGISTRIES_X_INDEX", "GIT_DIR", "BUILDFARM_X", "A=B", "1A", "", "A B"],
)  # fmt: skip
def test_variables_that_break_what_the_farm_promises_are_refused(name):
    assert refused_variable(name)


@pytest.mark.parametrize(
    "name", ["CFLAGS", "REQUIRE_SPEEDUPS", "_X", "MYPIP_X", "CMAKE_ARGS", "CARGO_BUILD_JOBS", "GOFLAGS"]
)
def test_other_variables_are_the_recipes_own(name):
    assert refused_variable(name) is None


@given(st.sampled_from(["PIP_", "uv_", "LD_", "Python", "LC_"]), st.text(alphabet="AZaz09_", max_size=8))
def test_no_name_with_a_refused_beginning_gets_through(prefix, rest):
    assert refused_variable(prefix + rest)


def test_the_shipped_schema_is_the_models():
    assert json.loads((ROOT / "recipes" / "schema.json").read_text()) == recipe_schema()


def test_the_schema_shows_defaults_as_people_write_them():
    limits = recipe_schema()["$defs"]["Limits"]["properties"]
    assert (limits["memory"]["default"], limits["time"]["default"]) == ("2 GiB", "30m")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_each_shipped_recipe_is_good(path):
    assert load_recipes({}, path.read_text(), central_file=path.name)


def test_some_recipes_are_shipped():
    assert {"markupsafe", "idna"} <= {path.stem for path in SHIPPED}


def test_the_guide_names_every_key_with_its_default():
    guide = (ROOT / "docs" / "recipes.md").read_text()
    for row in explain(Recipe()):
        line = next((line for line in guide.splitlines() if line.startswith(f"| `{row.key}` |")), None)
        assert line, f"{row.key} is not in docs/recipes.md"
        if row.value not in ((), [], "", None):
            assert f"`{json.dumps(row.value)}`" in line


def test_the_examples_of_the_guide_are_good():
    guide = (ROOT / "docs" / "recipes.md").read_text()
    examples = [part.split("```")[0] for part in guide.split("```toml\n")[1:]]
    assert all(load_recipes({"buildfarm.toml": text}) for text in examples)


def test_the_shipped_catalog_is_good_and_speaks_of_what_it_defines():
    catalog = load_catalog("targets.toml", (ROOT / "recipes" / "targets.toml").read_text())
    assert catalog.commands("cp311", None)[0] == "docker/build-image.sh bookworm"
    emulated = "docker/build-images.sh --arch arm64"
    assert catalog.commands("cp311", None, "manylinux-aarch64") == [emulated]
    assert catalog.commands("cp311", "zig", "manylinux-aarch64") == [f"{emulated} --with zig"]
    assert catalog.commands("cp311", None, "musllinux-x86_64") == [""]
    for suite in catalog.suites.values():
        assert set(suite.interpreters) <= set(catalog.interpreters)
        family, *_, architecture = suite.platform.replace("x86_64", "x86-64").split("_")
        assert f"{family}-{architecture.replace('-', '_')}" in catalog.platforms
    for tag, interpreter in catalog.interpreters.items():
        assert tag == f"cp{interpreter.python.replace('.', '')}" + "t" * interpreter.free_threaded


def test_suites_made_here_agree_with_the_image_definitions():
    catalog = load_catalog("targets.toml", (ROOT / "recipes" / "targets.toml").read_text())
    made = {name: suite for name, suite in catalog.suites.items() if suite.made_by}
    assert made
    compiled = made.pop("bookworm-compiled")
    sources = (ROOT / "docker" / "cpython" / "sources.conf").read_text().splitlines()
    assert set(compiled.interpreters) <= {line.split()[0] for line in sources}
    assert (ROOT / compiled.made_by.split()[0]).exists()
    for name, suite in made.items():
        suite_of_debian = name.partition("-")[0]  # bookworm-i386 is bookworm
        definition = (ROOT / "docker" / "suites" / f"{suite_of_debian}.conf").read_text()
        assert f"interpreter={' '.join(suite.interpreters)}\n" in definition
        assert (ROOT / suite.made_by.split()[0]).exists()


def test_a_mistake_in_the_catalog_has_its_line():
    with pytest.raises(InvalidInput) as caught:
        load_catalog("targets.toml", "[interpreters]\ncp311 = { pyton = '3.11' }\n[platforms]\n[suites]\n")
    assert 'line 2: unknown key "pyton" in [interpreters.cp311]; did you mean "python"?' in str(caught.value)
