"""A project's [tool.cibuildwheel] in a recipe's words, and a line for all that is not followed."""

import json

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from buildfarm.cli.recipe import recipe as command
from buildfarm.recipes.load import explain, load_recipes
from buildfarm.recipes.plan import ImageRow, plan_targets

GNU, MUSL = "manylinux_2_28_x86_64", "musllinux_1_2_x86_64"
IMAGES = [
    ImageRow(platform, ("cp311", "cp313", "cp314", "cp314t"), role, f"sha256:{role}-{platform}")
    for platform in (GNU, MUSL, "manylinux_2_28_i686", "manylinux_2_31_armv7l", "manylinux_2_28_aarch64")
    for role in ("builder", "test")
]
MACHINES = ("x86_64", "i686", "aarch64", "ppc64le", "s390x", "armv7l", "riscv64")
#: Every option of cibuildwheel 4.3.
OPTIONS = [
    "audit-command", "audit-requires", "archs", "before-all", "before-build", "before-test", "build",
    "build-frontend", "build-verbosity", "config-settings", "container-engine", "dependency-versions",
    "enable", "environment", "environment-pass", "xbuild-tools", "xbuild-files", "pyodide-version",
    "repair-wheel-command", "skip", "test-command", "test-extras", "test-sources", "test-groups",
    "test-requires", "test-skip", "test-environment", "test-runtime", "overrides", "linux", "windows",
    "macos", "pyodide", "android", "ios",
    *(f"manylinux-{machine}-image" for machine in (*MACHINES, "pypy_x86_64", "pypy_i686", "pypy_aarch64")),
    *(f"musllinux-{machine}-image" for machine in MACHINES),
]  # fmt: skip


def read(table, **more):
    text = "[build-system]\nrequires = []\n[tool.cibuildwheel]\n" + table
    (recipe,) = load_recipes({"pyproject.toml": text, **more})
    return recipe


def left_out(table):
    return [f"{one.origin.line} {one.key}: {one.why}" for one in read(table).left_out]


def names(table, requires_python=None):
    return [target.name for target in plan_targets(read(table), IMAGES, requires_python)]


def test_commands_requirements_and_variables_are_the_recipes():
    recipe = read("""
before-build = ["pip install cython", "python {package}/gen.py"]
repair-wheel-command = "auditwheel repair --exclude libcuda.so.1 -w {dest_dir} {wheel}"
before-test = "pip list"
test-command = "pytest {project}/tests"
test-requires = "pytest 'numpy>=2'"
test-extras = "all,more"
test-groups = ["tests"]
test-sources = ["tests", "conftest.py"]
environment = { CFLAGS = "-O3", LDFLAGS = "$CFLAGS -L$HOME/lib $NOTHING" }
test-environment = "LEVEL=3 NAME='a b'"
config-settings = { "setup-args" = ["-Da=b", "-Dc={project}"], quiet = true }
""")
    assert recipe.left_out == ()
    assert recipe.build.before == ("sh", "-c", "pip install cython && python {package}/gen.py")
    assert recipe.build.repair == (
        "sh",
        "-c",
        "auditwheel repair --exclude libcuda.so.1 -w {dest_dir} {wheel}",
    )
    assert recipe.build.environment == {"CFLAGS": "-O3", "LDFLAGS": "-O3 -L/home/builder/lib "}
    assert recipe.build.config_settings == {"setup-args": ("-Da=b", "-Dc={project}"), "quiet": "True"}
    test = recipe.test
    assert (test.before, test.command) == (("sh", "-c", "pip list"), ("sh", "-c", "pytest {project}/tests"))
    assert (test.requires, test.extras, test.groups) == (("pytest", "numpy>=2"), ("all", "more"), ("tests",))
    assert (test.sources, test.environment) == (("tests", "conftest.py"), {"LEVEL": "3", "NAME": "a b"})


@pytest.mark.parametrize(
    "value",
    ['"pytest -r tests/more.txt"', '["-r tests/more.txt", "pytest"]', '["pytest", "-rtests/more.txt"]'],
)
def test_files_of_requirements_are_followed(value):
    test = read(f"test-requires = {value}\n").test
    assert (test.requires, test.requirements) == (("pytest",), ("tests/more.txt",))


def test_linux_wins_over_what_is_said_for_all_and_other_systems_are_named():
    table = """test-command = "a"
linux.test-command = "b"
[tool.cibuildwheel.macos]
archs = ["arm64"]
"""
    assert read(table).test.command == ("sh", "-c", "b")
    assert left_out(table) == ["6 tool.cibuildwheel.macos: the farm builds for Linux"]


def test_the_farms_own_words_win_key_by_key_and_each_value_knows_its_line():
    recipe = read(
        'test-command = "a"\ntest-requires = ["pytest"]\n', **{"buildfarm.toml": 'test.command = "c"\n'}
    )
    rows = {row.key: row for row in explain(recipe)}
    assert (rows["test.command"].value, str(rows["test.command"].origin)) == (
        ["sh", "-c", "c"],
        "buildfarm.toml line 1",
    )
    assert str(rows["test.requires"].origin) == "pyproject.toml line 5"


@pytest.mark.parametrize(
    ("table", "chosen"),
    [
        ('build = "cp3{11,13}-manylinux_x86_64"', [f"cp313-{GNU}", f"cp311-{GNU}"]),
        ('build = ["cp314-*"]\nskip = "*-musllinux_* *_aarch64 *_armv7l"', [f"cp314-{GNU}"]),
        ('build = "cp314t-*"\narchs = ["x86_64"]\nskip = "*-manylinux*"', [f"cp314t-{MUSL}"]),
        ('build = "cp313-*"\narchs = "aarch64"', ["cp313-manylinux_2_28_aarch64"]),
        ('build = "cp313-*"\narchs = "auto32"', ["cp313-manylinux_2_28_i686"]),
        ('build = "cp313-many*"\narchs = ["auto", "i686"]', [f"cp313-{GNU}", "cp313-manylinux_2_28_i686"]),
        ('build = "cp313-*_x86_64"\narchs = ["auto"]', [f"cp313-{GNU}", f"cp313-{MUSL}"]),
    ],
)  # fmt: skip
def test_selectors_choose_targets(table, chosen):
    assert names(table) == chosen


def test_overrides_hold_for_what_they_select():
    recipe = read("""
before-build = "first"
test-command = "pytest"
test-requires = ["pytest"]
test-skip = "*-musllinux_*"
environment = { A = "1" }
[[tool.cibuildwheel.overrides]]
select = "cp31{3,4}-manylinux_*"
inherit.before-build = "append"
inherit.test-requires = "prepend"
before-build = "second"
test-requires = ["numpy"]
environment = { B = "2" }
[[tool.cibuildwheel.overrides]]
select = "*"
inherit.before-build = "prepend"
inherit.environment = "append"
before-build = "zeroth"
environment = "C=3"
""")
    new, old = recipe.for_target(f"cp313-{GNU}"), recipe.for_target(f"cp311-{GNU}")
    assert (new.build.before, old.build.before) == (("sh", "-c", "first && second"), ("sh", "-c", "first"))
    assert (new.test.requires, old.test.requires) == (("numpy", "pytest"), ("pytest",))
    assert (new.build.environment, old.build.environment) == (
        {"A": "1", "B": "2", "C": "3"},
        {"A": "1", "C": "3"},
    )
    assert recipe.for_target(f"cp311-{MUSL}").test is False
    assert [one.why for one in recipe.left_out] == ["it adds to what another override says"]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('before-all = "yum install -y libffi-devel"', "before-all: nothing runs as root or with a network"),
        ('before-all = "apt-get install -y libffi-dev && make -C deps"', "before-all: nothing runs as root"),
        ('before-all = "apt-get install -y FOO"', "before-all: must be the name of a package of the image"),
        ('manylinux-x86_64-image = "manylinux2014"', "the oldest image of the farm that has the"),
        ('environment = { PATH = "$PATH:/x" }', "environment.PATH: the farm sets it"),
        ('environment = "A=$(date)"', "environment.A: its value is no plain text"),
        ('test-requires = ["x @ https://example.org/x.whl"]', "names a URL; a build reads from"),
        ('enable = ["pypy", "cpython-prerelease"]', "the farm builds for CPython, not for pypy"),
        ('build-frontend = { name = "build", args = ["-n"] }', "the farm calls the build backend itself"),
        ('test-comand = "x"', "test-comand: cibuildwheel has no such option; did you mean test-command?"),
        ("before-build = 1", "before-build: it is no text or list of texts"),
        ("test-requires = [1]", "test-requires: it is no text or list of texts"),
        ("test-requires = \"'\"", "test-requires: No closing quotation"),
        ('test-sources = ["../x"]', "must be a folder inside the repository"),
    ],
)  # fmt: skip
def test_what_is_not_followed_is_named_with_its_line_and_the_reason(line, sentence):
    (one,) = left_out(f'{line}\ntest-skip = ""\nbuild-verbosity = 1\n')
    assert one.startswith("4 tool.cibuildwheel.")
    assert sentence in one


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_is_followed_or_left_out_for_a_reason(option):
    for value in ('"x"', "[]", "{}", "1", '["x"]', "{ x = 1 }", "[{}]", '[{ select = "*", inherit = 1 }]'):
        assert not [
            one for one in left_out(f"{option} = {value}\n") if f"{option}: cibuildwheel has no" in one
        ]


def test_check_says_what_is_not_followed(tmp_path):
    (tmp_path / "pyproject.toml").write_text('[tool.cibuildwheel]\nbefore-all = "x"\n')
    shown = CliRunner().invoke(command, ["check", str(tmp_path)])
    assert shown.exit_code == 0
    assert "line 2: tool.cibuildwheel.before-all is not followed: nothing runs as root" in shown.output
    shown = CliRunner().invoke(command, ["check", str(tmp_path), "--json"])
    assert "before-all" in json.loads(shown.output)["recipes"][0]["not_followed"][0]


_ANY = st.recursive(
    st.text("ab*{},_=$-' ", max_size=12) | st.integers(0, 9) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text("ab-", min_size=1), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from([*OPTIONS, "what"]), _ANY, max_size=4))
def test_whatever_it_says_a_recipe_comes_of_it(table):
    def toml(value):
        if isinstance(value, dict):
            return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
        return f"[{', '.join(map(toml, value))}]" if isinstance(value, list) else json.dumps(value)

    recipe = read("".join(f"{key} = {toml(value)}\n" for key, value in table.items()))
    assert all(str(one).startswith("pyproject.toml line ") for one in recipe.left_out)
    recipe.for_target(f"cp313-{GNU}")


@pytest.mark.parametrize(
    "command",
    [
        '"apt-get update && apt-get install -y --no-install-recommends libpq-dev libffi-dev"',
        '["sudo apt-get -qq update", "apt install -y libpq-dev", "apt-get install libffi-dev"]',
    ],
)
def test_what_before_all_installs_is_named_as_system_packages(command):
    recipe = read(f"before-all = {command}\n")
    assert (recipe.build.system_packages, recipe.left_out) == (("libpq-dev", "libffi-dev"), ())
