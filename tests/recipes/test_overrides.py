"""Other values for some targets: what holds for each, where it was written, and what is refused."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.cli.recipe import recipe as command
from buildfarm.errors import InvalidInput
from buildfarm.recipes.load import explain, load_recipes
from buildfarm.recipes.model import Recipe, recipe_digest
from buildfarm.recipes.plan import ImageRow, plan_targets
from buildfarm.recipes.spec import to_attempt_spec_fields

PLATFORM = "manylinux_2_36_x86_64"
OLD, NEW = f"cp311-{PLATFORM}", f"cp313-{PLATFORM}"
TEXT = """\
[build]
before = "make tables"
environment = { A = "1", B = "1" }
[test]
requires = ["pytest"]
[limits]
memory = "4 GiB"

[[overrides]]
select = ["cp313-*"]
build.environment.B = "2"
limits.memory = "6 GiB"

[[overrides]]
select = ["*-manylinux_*"]
build.before = ["make", "all"]

[[overrides]]
select = ["cp313-*"]
test = false
"""


def one(text=TEXT):
    (recipe,) = load_recipes({"buildfarm.toml": text})
    return recipe


def refused(text):
    with pytest.raises(InvalidInput) as caught:
        one(text)
    return str(caught.value)


def test_what_an_override_says_is_in_place_and_the_rest_is_as_it_was():
    old, new = one().for_target(OLD), one().for_target(NEW)
    assert old.build.before == new.build.before == ("make", "all")
    assert (old.build.environment, new.build.environment) == ({"A": "1", "B": "1"}, {"A": "1", "B": "2"})
    assert (old.limits.memory, new.limits.memory) == (4 << 30, 6 << 30)
    assert (old.test.requires, new.test) == (("pytest",), False)
    assert one().for_target("cp313-musllinux_1_2_x86_64").build.before == ("sh", "-c", "make tables")


def test_a_later_override_wins_and_may_go_back_to_a_default():
    back = '[[overrides]]\nselect = ["*"]\ntest = {}\n'
    text = f'test = false\n{back}[[overrides]]\nselect = ["cp311-*"]\ntest = false\n'
    assert one(text).for_target(NEW).test.command == ()
    assert one(text).for_target(OLD).test is False
    assert recipe_digest(one(text)) != recipe_digest(one("test = false\n"))


def test_each_value_of_a_target_knows_its_line():
    rows = {row.key: row for row in explain(one().for_target(NEW))}
    assert (rows["build.environment.B"].value, str(rows["build.environment.B"].origin)) == (
        "2",
        "buildfarm.toml line 11",
    )
    assert str(rows["build.environment.A"].origin) == "buildfarm.toml line 3"
    assert str(rows["build.before"].origin) == "buildfarm.toml line 16"
    assert str(rows["test"].origin) == "buildfarm.toml line 20"


def test_explain_shows_one_target(tmp_path):
    (tmp_path / "buildfarm.toml").write_text(TEXT)
    shown = CliRunner().invoke(command, ["explain", str(tmp_path), NEW])
    assert 'limits.memory = "6 GiB"  # buildfarm.toml line 12' in shown.output
    assert "overrides = []" in shown.output
    assert shown.output.startswith("# native on x86_64; emulated elsewhere, with 10 times the time\n")
    shown = CliRunner().invoke(command, ["explain", str(tmp_path), OLD, "--json"])
    (recipe,) = json.loads(shown.output)["recipes"]
    (memory,) = [row["value"] for row in recipe["values"] if row["key"] == "limits.memory"]
    assert memory == "4 GiB"


def test_explain_says_where_zig_compiles_for_another_machine(tmp_path):
    (tmp_path / "buildfarm.toml").write_text(
        '[[overrides]]\nselect = ["*aarch64"]\nbuild.toolchain = "zig"\n'
    )
    (tmp_path / "setup.py").write_text("")
    shown = CliRunner().invoke(command, ["explain", str(tmp_path), "cp311-manylinux_2_17_aarch64"])
    said = "# native on aarch64; compiled by zig and tested by an emulator elsewhere, with 10 times the time"
    assert shown.output.splitlines()[0] == said


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ('build.befor = "x"', 'line 3: unknown key "befor" in [overrides.build]; did you mean "before"?'),
        ('builds.before = "x"', 'line 3: unknown key "builds" in [overrides]; did you mean "build"?'),
        ("build.wheel = false", '"wheel" is for all targets alike: write it in [build]'),
        ('targets.native = true', 'line 3: unknown key "targets" in [overrides]'),
        ("build.environment.PATH = '/x'", 'line 3: "PATH" in [overrides.build.environment]: must not be set'),
    ],
)  # fmt: skip
def test_a_mistake_in_an_override_has_its_line_and_a_sentence(override, sentence):
    assert sentence in refused(f'[[overrides]]\nselect = ["*"]\n{override}\n')


@pytest.mark.parametrize(
    "text", ["overrides = 1", "overrides = {}", "[[overrides]]\ntest = false", "overrides = [1]"]
)
def test_what_is_no_list_of_overrides_is_refused_with_its_line(text):
    assert refused(text).startswith("buildfarm.toml line 1: ")


def test_a_target_is_tested_and_built_as_its_overrides_say():
    images = [
        ImageRow(PLATFORM, ("cp311", "cp313"), "builder", "sha256:b"),
        ImageRow(PLATFORM, ("cp311",), "test", "sha256:t"),
    ]
    targets = plan_targets(one(), images, None)
    assert [target.name for target in targets] == [NEW, OLD]  # the newer is not tested, so it needs no image
    new, old = (to_attempt_spec_fields(one(), target) for target in targets)
    assert (new["test"], old["test"]["requires"]) == (None, ["pytest"])
    assert (new["before"], new["environment"]["B"]) == (["make", "all"], "2")


def test_skipped_targets_are_not_built_even_when_they_are_named():
    images = [
        ImageRow(PLATFORM, ("cp311",), "builder", "sha256:b"),
        ImageRow(PLATFORM, ("cp311",), "test", "sha256:t"),
    ]
    named = {"interpreters": ["cp311", "cp312"], "platforms": [PLATFORM], "skip": ["cp312-*"]}
    assert [
        target.name for target in plan_targets(Recipe.model_validate({"targets": named}), images, None)
    ] == [OLD]
    with pytest.raises(InvalidInput, match="nothing to build"):
        plan_targets(Recipe.model_validate({"targets": {"skip": ["*"]}}), images, None)


_VALUES = st.fixed_dictionaries(
    {"select": st.lists(st.sampled_from(["*", "cp311-*", "*-x"]), min_size=1, max_size=2)},
    optional={
        "build": st.fixed_dictionaries({}, optional={"before": st.just("x"), "repair": st.booleans()}),
        "test": st.just(False) | st.fixed_dictionaries({}, optional={"extras": st.just(["a"])}),
        "limits": st.fixed_dictionaries({}, optional={"pids": st.integers(16, 99)}),
    },
)


@given(st.lists(_VALUES, max_size=3))
def test_a_stored_recipe_is_the_recipe(overrides):
    recipe = Recipe.model_validate({"overrides": overrides})
    again = Recipe.model_validate(json.loads(json.dumps(recipe.model_dump(mode="json"))))
    assert recipe_digest(again) == recipe_digest(recipe)
    assert again.for_target("cp311-x") == recipe.for_target("cp311-x")
