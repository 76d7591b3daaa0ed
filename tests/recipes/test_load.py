import copy

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import InvalidInput
from buildfarm.recipes.load import explain, is_recipe_file, load_recipes, select, static_requires_python
from buildfarm.recipes.model import Origin


def one(text, central=None):
    (recipe,) = load_recipes({"buildfarm.toml": text}, central, central_file="recipes/demo.toml")
    return recipe


def refusal(files, central=None):
    if isinstance(files, str):
        files = {"buildfarm.toml": files}
    with pytest.raises(InvalidInput) as caught:
        load_recipes(files, central, central_file="recipes/demo.toml")
    assert caught.value.code == "recipe.invalid"
    return caught.value


@pytest.mark.parametrize("name", ["pyproject.toml", "setup.py"])
def test_a_project_without_recipe_gets_the_default_one(name):
    (recipe,) = load_recipes({name: ""})
    assert (recipe.name, recipe.path, recipe.targets.interpreters) == ("default", "", "all")
    assert recipe.origins == {}


def test_a_root_that_is_no_project_has_no_recipe():
    assert load_recipes({"packages/a/pyproject.toml": "[project]\nname = 'a'\n"}) == []


def test_a_broken_pyproject_without_recipe_is_the_backends_to_refuse():
    assert len(load_recipes({"pyproject.toml": "[project\n"})) == 1


def test_the_strongest_file_wins_key_by_key_and_each_value_knows_its_line():
    files = {
        "pyproject.toml": "[tool.buildfarm.limits]\nmemory = '1 GiB'\ntime = '5m'\npids = 100\n",
        "buildfarm.toml": "[limits]\ntime = '6m'\npids = 101\n",
    }
    (recipe,) = load_recipes(files, "limits.pids = 102", central_file="recipes/demo.toml")
    assert (recipe.limits.memory, recipe.limits.time, recipe.limits.pids) == (1024**3, 360, 102)
    origins = {row.key: row.origin for row in explain(recipe)}
    assert origins["limits.memory"] == Origin("pyproject.toml", 2)
    assert origins["limits.time"] == Origin("buildfarm.toml", 2)
    assert origins["limits.pids"] == Origin("recipes/demo.toml", 1)
    assert origins["limits.cpus"] is None


def test_an_overlay_replaces_lists_and_merges_maps():
    recipe = one(
        "[targets]\ninterpreters = ['cp311', 'cp313']\n[build.environment]\nA = '1'\nB = '1'\n",
        "[targets]\ninterpreters = ['cp312']\n[build.environment]\nB = '2'\n",
    )
    assert recipe.targets.interpreters == ("cp312",)
    assert recipe.build.environment == {"A": "1", "B": "2"}


def test_an_overlay_can_give_the_test_up_and_take_it_back():
    assert one("[test]\nrequires = ['x']\n", "test = false").test is False
    back = one("test = false", "[test]\nrequires = ['y']\n").test
    assert back is not False
    assert back.requires == ("y",)


def test_an_empty_table_in_an_overlay_changes_nothing():
    recipe = one("[limits]\npids = 77\n", "[limits]\n")
    assert recipe.limits.pids == 77


def test_the_overlay_mends_what_the_repository_has_wrong():
    assert one("[limits]\npids = 'many'\n", "[limits]\npids = 77\n").limits.pids == 77


def test_one_file_holds_several_recipes_with_common_ground():
    recipes = load_recipes(
        {
            "buildfarm.toml": "branches = ['main']\n"
            "[recipes.a]\npath = 'pkg/a'\ntags = 'a/v*'\n"
            "[recipes.b]\npath = 'pkg/b'\n"
        },
        "[limits]\npids = 99\n[recipes.b]\ntags = 'b/v*'\n",
    )
    assert [(r.name, r.path, r.tags, r.branches, r.limits.pids) for r in recipes] == [
        ("a", "pkg/a", "a/v*", ("main",), 99),
        ("b", "pkg/b", "b/v*", ("main",), 99),
    ]


def test_a_sub_folder_gives_its_recipe_path_and_name():
    recipes = load_recipes(
        {"pyproject.toml": "", "pkg/a/buildfarm.toml": "", "pkg/b/pyproject.toml": "[tool.buildfarm]"}
    )
    assert [(recipe.name, recipe.path) for recipe in recipes] == [("pkg-a", "pkg/a"), ("pkg-b", "pkg/b")]


def test_an_overlay_alone_makes_the_recipes_of_a_repository_without_any():
    recipes = load_recipes({}, "[recipes.a]\npath = 'a'\n[recipes.b]\npath = 'b'\n")
    assert [recipe.name for recipe in recipes] == ["a", "b"]


def test_an_overlay_for_an_unknown_recipe_is_refused():
    error = refusal("[recipes.client]\n[recipes.core]\n", "\n[recipes.clint]\n")
    assert (
        error.message
        == 'recipes/demo.toml line 2: the repository has no recipe "clint"; did you mean "client"?'
    )


def test_two_recipes_never_share_a_name():
    error = refusal({"buildfarm.toml": "name = 'a'", "x/buildfarm.toml": "\nname = 'a'"})
    assert error.message == 'x/buildfarm.toml line 2: a second recipe has the name "a".'


def test_an_unknown_key_is_answered_with_line_and_nearest_key():
    error = refusal({}, '[test]\nrequires = []\n\ncomand = "x"\n')
    assert (
        error.message == 'recipes/demo.toml line 4: unknown key "comand" in [test]; did you mean "command"?'
    )
    assert (error.facts["line"], error.facts["nearest"]) == (4, "command")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = [", "line 1: not valid TOML: Invalid value (at the end of the file)."),
        ("a = 1\na = 2\n", "line 2: not valid TOML: Cannot overwrite a value (column 6)."),
        ("x = 1", 'line 1: unknown key "x" at the top of the file; known are name, path, project,'),
        ("[recipe.a]", 'line 1: unknown key "recipe" at the top of the file; did you mean "recipes"?'),
        ("memory = '1 GiB'", 'line 1: unknown key "memory" at the top of the file; it belongs in [limits].'),
        ("\n[limits]\nmemory = 3", 'line 3: "memory" in [limits]: must be a size with a unit'),
        (
            "[limits]\nmemory = '99 GiB'",
            'line 2: "memory" in [limits]: must be between 64 MiB and 32 GiB, not 99 GiB.',
        ),
        ("[limits]\npids = 10000", 'line 2: "pids" in [limits]: must be at most 8192.'),
        ("[limits]\npids = true", 'line 2: "pids" in [limits]: must be a whole number.'),
        ("[limits]\ncpus = nan", 'line 2: "cpus" in [limits]: must be a finite number.'),
        ("[build]\nwheel = 'yes'", 'line 2: "wheel" in [build]: must be true or false.'),
        ("build = 3", 'line 1: "build" at the top of the file: must be a table.'),
        ("test = true", 'line 1: "test" at the top of the file: must be false or a table.'),
        ("test = 3", 'line 1: "test" at the top of the file: must be false or a table.'),
        (
            "\n[build]\nwheel = false\nsdist = false",
            'line 2: "build" at the top of the file: wheel and sdist are both',
        ),
        ("[targets]\ninterpreters = 'some'", 'line 2: "interpreters" in [targets]: must be "all" or a list.'),
        ("[targets]\ninterpreters = []", 'line 2: "interpreters" in [targets]: must not be empty.'),
        (
            "[targets]\ninterpreters = [\n'cp311',\n'py3']",
            'line 4: "interpreters" in [targets]: must be a CPython tag',
        ),
        ("[targets]\nplatforms = ['linux']", 'line 2: "platforms" in [targets]: must be a platform like'),
        (
            "[build.config_settings]\na.b = 'x'",
            'line 2: "a" in [build.config_settings]: must be text or a list',
        ),
        ("[build.environment]\nX = 1", 'line 2: "X" in [build.environment]: must be text in quotes.'),
        (
            "[build.environment]\nLD_PRELOAD = 'x'",
            'line 2: "LD_PRELOAD" in [build.environment]: must not be set by',
        ),
        ("path = '../x'", 'line 1: "path" at the top of the file: must be a folder inside the repository'),
        ("path = '/x'", 'line 1: "path" at the top of the file: must be a folder inside the repository'),
        ("name = 'A b'", 'line 1: "name" at the top of the file: must be lower-case letters'),
        ("project = '-x'", 'line 1: "project" at the top of the file: must be a project name'),
        (
            "[test]\nrequires = ['a', 'b @ https://index.example/b.whl']",
            'line 2: "requires" in [test]: "b @ https',
        ),
        ("[test]\nrequires = ['=1']", 'line 2: "requires" in [test]: must be a requirement like'),
        ("recipes = 3", 'line 1: "recipes" must be a table of recipes'),
        ("[recipes]\na = 1", 'line 2: "a" in [recipes] must be a table'),
        ("name = 'x'\n[recipes.a]", 'line 1: "name" says nothing where'),
        ("[recipes.a]\nname = 'x'", 'line 2: "name" says nothing in [recipes.a]'),
        (
            "[recipes.a.test]\ncomand = 1",
            'line 2: unknown key "comand" in [recipes.a.test]; did you mean "command"?',
        ),
    ],
    ids=lambda value: value[:30] if value.startswith("line") else repr(value),
)
def test_every_mistake_has_its_line_and_a_sentence(text, message):
    assert refusal(text).message.startswith(f"buildfarm.toml {message}")


def test_keys_in_a_pyproject_are_named_as_its_author_writes_them():
    error = refusal(
        {"pyproject.toml": "[project]\n[tool.buildfarm]\npids = 3\n[tool.buildfarm.test]\ncomand = 1\n"}
    )
    assert error.message.endswith(
        'line 3: unknown key "pids" in [tool.buildfarm]; it belongs in [tool.buildfarm.limits].'
    )
    assert 'line 5: unknown key "comand" in [tool.buildfarm.test]; did you mean "command"?' in error.hint


def test_a_recipe_that_is_no_table_is_refused():
    assert (
        refusal({"pyproject.toml": "tool.buildfarm = 3"}).message
        == "pyproject.toml line 1: a recipe must be a table."
    )


def test_a_problem_of_the_common_ground_is_told_once():
    assert len(refusal("limmits = 1\n[recipes.a]\n[recipes.b]\n").facts["problems"]) == 1


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (".".join(["a"] * 60_000) + " = 1", "a key has more than 32 parts"),
        ("a = " + "[" * 20_000, "nested too deeply"),
        ("a = " + "1" * 5_000, "a value that cannot be read"),
        ("#" * 300_000, "longer than 256 KiB"),
        ("\n".join(f"k{number} = 1" for number in range(1_200)), "more than 1000 values"),
        ("\n".join(f"[recipes.r{number}]" for number in range(60)), "more than 50 recipes"),
    ],
    ids=["long key", "deep", "long number", "long file", "many keys", "many recipes"],
)
@pytest.mark.timeout(5)
def test_a_hostile_file_is_refused_at_once(text, reason):
    error = refusal(text)
    assert reason in error.message
    assert len(str(error)) < 4_000


def test_a_message_holds_no_control_characters_of_the_file():
    error = refusal('"\\u001b[31mred\\n" = 1')
    assert str(error).isprintable()


VALID = {
    (): ["name = 'a'", "path = 'p'", "project = 'demo'", "tags = 'v*'", "branches = ['main']"],
    ("targets",): [
        "interpreters = ['cp311']",
        "platforms = ['manylinux-x86_64']",
        "native = true",
        "optional = ['x']",
    ],
    ("build",): ["wheel = true", "sdist = false", "repair = true"],
    ("test",): ["requires = ['pytest']", "command = '''\n# not = a key\n'''"],
    ("limits",): [
        "memory = '1 GiB'",
        "cpus = 1.5",
        "pids = 100",
        "time = '5m'",
        "idle = '1m'",
        "artifacts = 3",
    ],
}
PLACES = [(table, index) for table, rows in VALID.items() for index in range(len(rows))]


def written(tables, order):
    lines = list(tables[()])
    for table in order:
        lines += ["", f"[{table[0]}]  # a table", *tables[table]]
    return "\n".join(lines)


@settings(max_examples=150)
@given(st.sampled_from(PLACES), st.data(), st.permutations([table for table in VALID if table]))
def test_a_mutated_key_is_always_named_with_its_true_line(place, data, order):
    table, index = place
    key, value = VALID[table][index].split(" = ", 1)
    at = data.draw(st.integers(0, len(key) - 1))
    letter = data.draw(st.sampled_from("abcxyz_-"))
    mutated = data.draw(st.sampled_from([key[:at] + key[at + 1 :] or "q", key[:at] + letter + key[at:]]))
    if mutated in {row.split(" = ")[0] for row in VALID[table]} or (
        not table and mutated in ("test", "build")
    ):
        return
    tables = copy.deepcopy(VALID)
    tables[table][index] = f"{mutated} = {value}"
    text = written(tables, order)
    assert one(written(VALID, order))
    line = text.split("\n").index(tables[table][index].split("\n")[0]) + 1
    error = refusal(text)
    assert error.message.startswith(f'buildfarm.toml line {line}: unknown key "{mutated}" ')
    assert (error.facts["line"], error.facts["key"]) == (line, mutated)


@settings(max_examples=200)
@given(st.text(alphabet="abtes.=[]{}\"'#\n\\ ,1", max_size=40) | st.text(max_size=20))
def test_any_text_is_a_recipe_or_a_refusal_with_a_line(text):
    refused = None
    try:
        load_recipes({"buildfarm.toml": text}, text)
    except InvalidInput as error:
        refused = error
    if refused:
        assert refused.code == "recipe.invalid"
        assert 1 <= refused.facts["line"] <= text.count("\n") + 1


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("pyproject.toml", True),
        ("setup.py", True),
        ("a/b/c/buildfarm.toml", True),
        ("a/setup.py", False),
        ("a/b/c/d/buildfarm.toml", False),
        ("tests/data/buildfarm.toml", False),
        (".venv/buildfarm.toml", False),
        ("README.md", False),
    ],
)
def test_only_files_that_count_are_asked_for(path, wanted):
    assert is_recipe_file(path) is wanted


@pytest.mark.parametrize(
    ("ref", "names"),
    [
        ("refs/tags/v1", ["a"]),
        ("refs/tags/b/v1", ["b"]),
        ("refs/tags/x", []),
        ("refs/heads/main", ["a"]),
        ("refs/heads/release/1", ["a"]),
        ("refs/heads/topic", []),
        ("refs/pull/7/head", ["a", "b"]),
        ("0" * 40, ["a", "b"]),
    ],
)
def test_a_ref_selects_by_tag_or_branch(ref, names):
    text = (
        "[recipes.a]\ntags = 'v*'\nbranches = ['main', 'release/*']\n"
        "[recipes.b]\ntags = 'b/*'\nbranches = []\n"
    )
    assert [recipe.name for recipe in select(load_recipes({"buildfarm.toml": text}), ref)] == names


def test_a_ref_in_short_is_refused_since_it_may_be_either():
    with pytest.raises(InvalidInput) as caught:
        select([one("")], "v1.0")
    assert caught.value.code == "ref.incomplete"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[project]\nrequires-python = '>=3.10'", ">=3.10"),
        ("[project]\nname = 'x'", None),
        ("project = 3", None),
        ("[project]\nrequires-python = 3", None),
        ("broken", None),
    ],
)
def test_requires_python_is_read_where_it_is_stated(text, expected):
    recipe = one("path = 'pkg'")
    assert static_requires_python({"pkg/pyproject.toml": text}, recipe) == expected
    assert static_requires_python({}, recipe) is None
