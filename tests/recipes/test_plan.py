import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.errors import InvalidInput
from buildfarm.recipes.catalog import Catalog
from buildfarm.recipes.model import Recipe
from buildfarm.recipes.plan import ImageRow, plan_targets, python_excludes
from buildfarm.recipes.spec import to_attempt_spec_fields

OLD, NEW, MUSL = "manylinux_2_36_x86_64", "manylinux_2_41_x86_64", "musllinux_1_2_x86_64"


def rows(platform, *interpreters, test=True):
    yield ImageRow(platform, interpreters, "builder", f"sha256:build-{platform}")
    if test:
        yield ImageRow(platform, interpreters, "test", f"sha256:test-{platform}")


IMAGES = [*rows(NEW, "cp313", "cp311"), *rows(OLD, "cp311")]
CATALOG = Catalog.model_validate(
    {
        "interpreters": {"cp314": {"python": "3.14"}},
        "platforms": {"manylinux-x86_64": {"libc": "glibc", "architecture": "x86_64"}},
        "suites": {"forky": {"platform": NEW, "interpreters": ["cp314"], "made_by": "make-image forky"}},
    }
)


def recipe(**keys):
    return Recipe.model_validate(keys)


def names(*arguments, **keywords):
    return [target.name for target in plan_targets(*arguments, **keywords)]


def refusal(*arguments, **keywords):
    with pytest.raises(InvalidInput) as caught:
        plan_targets(*arguments, **keywords)
    return caught.value


def test_the_default_matrix_takes_what_exists_newest_interpreter_first_on_the_oldest_image():
    targets = plan_targets(recipe(), IMAGES, None)
    assert [target.name for target in targets] == [f"cp313-{NEW}", f"cp311-{OLD}"]
    assert [target.is_primary for target in targets] == [True, False]
    assert (targets[1].build_image, targets[1].test_image) == (f"sha256:build-{OLD}", f"sha256:test-{OLD}")
    assert all(target.is_required and target.skip_reason is None for target in targets)


def test_the_default_matrix_takes_no_platform_that_is_emulated_and_a_named_one_is_taken():
    images = [*IMAGES, *rows("manylinux_2_36_aarch64", "cp311")]
    here = {"x86_64", "i686"}
    assert names(recipe(), images, None, machines=here) == [f"cp313-{NEW}", f"cp311-{OLD}"]
    named = recipe(targets={"platforms": ["manylinux-aarch64"]})
    assert names(named, images, None, machines=here) == ["cp311-manylinux_2_36_aarch64"]
    everything = names(recipe(), images, None, machines={"x86_64", "aarch64"})
    assert everything == names(recipe(), images, None)
    assert "cp311-manylinux_2_36_aarch64" in everything


def test_versions_of_the_c_library_compare_as_numbers():
    images = [*rows("manylinux_2_100_x86_64", "cp311"), *rows("manylinux_2_36_x86_64", "cp311")]
    assert names(recipe(), images, None) == [f"cp311-{OLD}"]


def test_i686_is_built_where_it_is_named_alone():
    images = [*IMAGES, *rows("manylinux_2_36_i686", "cp311")]
    small = ["cp311-manylinux_2_36_i686"]
    assert names(recipe(targets={"interpreters": ["cp311"]}), images, None) == [f"cp311-{OLD}"]
    for said in ("manylinux-i686", "*-i686"):
        assert names(recipe(targets={"platforms": [said]}), images, None) == small
    both = {"interpreters": ["cp311"], "platforms": ["*-x86_64", "*-i686"]}
    assert names(recipe(targets=both), images, None) == [f"cp311-{OLD}", *small]
    assert names(recipe(targets=both), IMAGES, None) == [f"cp311-{OLD}"]


def test_other_architectures_and_libraries_are_platforms_of_their_own():
    images = [*IMAGES, *rows(MUSL, "cp311"), *rows("manylinux_2_36_aarch64", "cp311")]
    assert names(recipe(targets={"interpreters": ["cp311"]}), images, None) == [
        "cp311-manylinux_2_36_aarch64",
        f"cp311-{OLD}",
        f"cp311-{MUSL}",
    ]


def test_one_images_tag_can_be_asked_for():
    assert names(recipe(targets={"interpreters": ["cp311"], "platforms": [NEW]}), IMAGES, None) == [
        f"cp311-{NEW}"
    ]


def test_named_interpreters_keep_their_order_and_come_once():
    assert names(recipe(targets={"interpreters": ["cp311", "cp313", "cp311"]}), IMAGES, None) == [
        f"cp311-{OLD}",
        f"cp313-{NEW}",
    ]


def test_free_threading_comes_after_its_sibling_and_the_dead_end_only_on_request():
    images = list(rows(NEW, "cp313t", "cp314t", "cp314"))
    assert names(recipe(), images, None) == [f"cp314-{NEW}", f"cp314t-{NEW}"]
    assert names(recipe(targets={"interpreters": ["cp313t"]}), images, None) == [f"cp313t-{NEW}"]


FLOOR = "manylinux_2_17_x86_64"
WITH_ZIG = [*IMAGES, ImageRow(FLOOR, ("cp311",), "builder", "sha256:zig", toolchain="zig")]
ZIG = {"toolchain": "zig"}


def test_an_image_with_another_compiler_is_for_recipes_that_ask_for_it():
    assert names(recipe(), WITH_ZIG, None) == [f"cp313-{NEW}", f"cp311-{OLD}"]
    (target,) = plan_targets(recipe(build={**ZIG, "glibc": "2.17"}), WITH_ZIG, None)
    assert (target.name, target.build_image) == (f"cp311-{FLOOR}", "sha256:zig")
    assert target.test_image == f"sha256:test-{OLD}"


def test_the_compiler_can_be_chosen_for_some_targets():
    asked = recipe(
        targets={"interpreters": ["cp313", "cp311"]}, overrides=[{"select": ["cp311-*"], "build": ZIG}]
    )
    assert names(asked, WITH_ZIG, None) == [f"cp313-{NEW}", f"cp311-{FLOOR}"]


@pytest.mark.parametrize(
    ("asked", "images", "told"),
    [
        ({"build": ZIG}, IMAGES, "nothing to build"),
        ({"targets": {"interpreters": ["cp311"]}, "build": ZIG}, IMAGES, "whose compiler is zig"),
        (
            {"targets": {"interpreters": ["cp311"]}, "build": {**ZIG, "glibc": "2.28"}},
            WITH_ZIG,
            "no image for cp311 on manylinux-x86_64 whose compiler is zig, for glibc 2.28",
        ),
        (
            {"targets": {"platforms": ["manylinux-aarch64"]}, "build": ZIG},
            WITH_ZIG,
            "no interpreter on manylinux-aarch64 whose compiler is zig",
        ),
    ],
)
def test_a_compiler_without_image_is_an_error_that_says_how_to_make_one(asked, images, told):
    suite = {"platform": FLOOR, "interpreters": ["cp311"], "made_by": "make-image zig", "toolchain": "zig"}
    catalog = CATALOG.model_copy(
        update={"suites": {**CATALOG.suites, "zig": type(CATALOG.suites["forky"])(**suite)}}
    )
    error = refusal(recipe(**asked), images, None, catalog=catalog)
    assert error.code == "target.unavailable"
    assert told in error.message
    assert "`make-image zig`" in error.hint


@pytest.mark.parametrize(
    "targets",
    [
        {"interpreters": ["cp314"]},
        {"interpreters": ["cp311", "cp314"], "platforms": ["manylinux-x86_64"]},
    ],
    ids=["any platform", "named platform"],
)
def test_a_named_target_without_image_is_an_error_that_says_what_there_is_and_what_to_do(targets):
    error = refusal(recipe(targets=targets), IMAGES, None, catalog=CATALOG)
    assert error.code == "target.unavailable"
    assert "no image for cp314 on manylinux-x86_64" in error.message
    assert f"{NEW} (cp313 cp311)" in error.hint
    assert "Make one with `make-image forky`" in error.hint


def test_a_named_platform_without_image_is_an_error():
    error = refusal(recipe(targets={"platforms": ["musllinux-x86_64"]}), IMAGES, None)
    assert "no interpreter on musllinux-x86_64" in error.message


def test_an_optional_target_without_image_is_skipped():
    wanted = recipe(targets={"interpreters": ["cp314", "cp313"], "optional": ["cp314-*"]})
    missing, built = plan_targets(wanted, IMAGES, None)
    assert missing.skip_reason == "The farm has no image for cp314 on manylinux-x86_64."
    assert not missing.is_required
    assert (built.is_primary, built.is_required) == (True, True)


def test_an_interpreter_that_requires_python_leaves_out_is_skipped_with_that_reason():
    newest, old = plan_targets(recipe(), IMAGES, ">=3.9,<3.13")
    assert newest.skip_reason == "The project's Requires-Python is >=3.9,<3.13, which leaves cp313 out."
    assert (newest.is_primary, old.is_primary, old.skip_reason) == (False, True, None)


def test_a_required_target_is_the_primary_before_an_optional_one():
    targets = plan_targets(recipe(targets={"optional": ["cp313-*"]}), IMAGES, None)
    assert [(target.is_required, target.is_primary) for target in targets] == [(False, False), (True, True)]


def test_a_build_without_any_target_is_refused_with_the_reasons():
    assert "which leaves cp311 out" in refusal(recipe(), IMAGES, ">=3.14").message
    assert refusal(recipe(), [], None).hint == "Now there are no builder images."


def test_a_wheel_is_tested_on_an_image_as_old_or_the_next_newer():
    builder = list(rows(OLD, "cp311", test=False))
    newer = ImageRow(NEW, ("cp311",), "test", "sha256:newer")
    older = ImageRow("manylinux_2_31_x86_64", ("cp311",), "test", "sha256:older")
    (target,) = plan_targets(recipe(), [*builder, newer, older], None)
    assert target.test_image == "sha256:newer"


def test_a_builder_without_test_image_counts_only_where_the_test_was_given_up():
    images = list(rows(OLD, "cp311", test=False))
    assert "test images: none" in refusal(recipe(), images, None).hint
    (target,) = plan_targets(recipe(test=False), images, None)
    assert target.test_image is None


def test_a_recipe_without_wheel_has_one_target():
    (target,) = plan_targets(recipe(build={"wheel": False}), IMAGES, None)
    assert (target.name, target.is_primary) == (f"cp313-{NEW}", True)


@pytest.mark.parametrize(
    ("specifier", "excluded"),
    [
        (None, False),
        ("", False),
        (">=3.11.4", False),
        ("<3.12", False),
        ("!=3.11.*", True),
        (">=3.12", True),
        ("~=3.10.0", True),
    ],
    ids=repr,
)
def test_requires_python_is_compared_by_minor_version(specifier, excluded):
    assert python_excludes(specifier, "cp311") is excluded


def test_a_requires_python_that_cannot_be_read_is_refused():
    with pytest.raises(InvalidInput, match="Requires-Python") as caught:
        python_excludes("three", "cp311")
    assert caught.value.code == "metadata.invalid"


TAGS = st.sampled_from(["cp39", "cp311", "cp313", "cp313t", "cp314"])
ROWS = st.builds(
    ImageRow,
    st.sampled_from([OLD, NEW, MUSL, "manylinux_2_28_aarch64"]),
    st.lists(TAGS, max_size=3, unique=True).map(tuple),
    st.sampled_from(["builder", "test"]),
    st.uuids().map(str),
)


@settings(max_examples=150)
@given(
    st.lists(ROWS, max_size=6),
    st.none() | st.lists(TAGS, min_size=1, max_size=3),
    st.sampled_from([None, ">=3.11"]),
)
def test_a_plan_has_one_primary_unique_names_and_only_images_that_hold_the_interpreter(
    images, tags, specifier
):
    try:
        targets = plan_targets(recipe(targets={"interpreters": tags or "all"}), images, specifier)
    except InvalidInput as error:
        refused = error.code
    else:
        refused = None
        holds = {image.image_id: image.interpreters for image in images}
        assert sum(target.is_primary for target in targets) == 1
        assert len({target.name for target in targets}) == len(targets)
        assert all(target.interpreter in holds[target.build_image] for target in targets)
        assert all(target.interpreter in holds[target.test_image] for target in targets)
        assert {target.interpreter for target in targets} == set(tags) if tags else targets
    assert refused in (None, "target.unavailable")


def test_the_sandbox_is_told_plain_values_under_the_agreed_names():
    wanted = recipe(
        path="pkg/a",
        targets={"native": True},
        build={"config_settings": {"a": "1", "b": ["2"]}, "environment": {"X": "y"}},
        test={"requires": ["pytest"], "command": "pytest"},
    )
    first, second = plan_targets(wanted, IMAGES, None)
    assert to_attempt_spec_fields(wanted, first) == {
        "interpreter": "cp313",
        "build_image": f"sha256:build-{NEW}",
        "test_image": f"sha256:test-{NEW}",
        "subdirectory": "pkg/a",
        "config_settings": {"a": "1", "b": ["2"]},
        "environment": {"X": "y"},
        "system_packages": [],
        "before": [],
        "build_wheel": True,
        "build_sdist": True,
        "repair": True,
        "expect_native": True,
        "test": {
            "system_packages": [],
            "requires": ["pytest"],
            "requirements": [],
            "extras": [],
            "groups": [],
            "sources": [],
            "environment": {},
            "before": [],
            "command": ["sh", "-c", "pytest"],
        },
        "limits": {
            "memory_bytes": 2 * 1024**3,
            "cpus": 2.0,
            "pids": 512,
            "seconds": 1800,
            "idle_seconds": 600,
            "scratch_bytes": 1024**3,
            "log_bytes": 16 * 1024**2,
            "output_bytes": 256 * 1024**2,
            "output_count": 20,
        },
    }
    assert to_attempt_spec_fields(wanted, second)["build_sdist"] is False


def test_a_test_that_was_given_up_is_told_as_none_and_a_default_one_as_an_empty_command():
    (target, _) = plan_targets(recipe(), IMAGES, None)
    assert to_attempt_spec_fields(recipe(test=False), target)["test"] is None
    assert to_attempt_spec_fields(recipe(), target)["test"] == {
        "system_packages": [], "requires": [], "requirements": [], "extras": [], "groups": [], "sources": [],
        "environment": {}, "before": [], "command": [],
    }  # fmt: skip


def test_a_skipped_target_is_never_handed_to_a_builder():
    skipped, _ = plan_targets(recipe(), IMAGES, "<3.13")
    with pytest.raises(ValueError, match="is skipped"):
        to_attempt_spec_fields(recipe(), skipped)


PROGRAM = {"build": "make", "commands": {"greet": "src/greet"}}


def test_a_program_has_one_target_for_each_platform_on_the_oldest_c_library():
    targets = plan_targets(recipe(project="greet", program=PROGRAM), IMAGES, None)
    built = [target for target in targets if target.skip_reason is None]
    families = {target.platform.split("_")[0] for target in targets}
    assert len(built) == len(families)
    assert all(
        "one target for each platform" in target.skip_reason for target in targets if target not in built
    )
    fields = to_attempt_spec_fields(recipe(project="greet", program=PROGRAM), built[0])
    assert fields["program"] == {
        "name": "greet", "build": ["sh", "-c", "make"], "commands": {"greet": "src/greet"}, "summary": "",
    }  # fmt: skip
    assert (fields["build_sdist"], fields["expect_native"]) == (False, True)


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        ({"program": PROGRAM}, "needs a project"),
        ({"project": "a", "program": {**PROGRAM, "commands": {}}}, "at least 1"),
        ({"project": "a", "program": {**PROGRAM, "commands": {"a/b": "c"}}}, "name of a command"),
        ({"project": "a", "program": {**PROGRAM, "commands": {"a": "../c"}}}, "inside the repository"),
        ({"project": "a", "program": {**PROGRAM, "summary": "a\nb"}}, "match"),
    ],
)
def test_a_program_that_cannot_be_is_refused(said, sentence):
    with pytest.raises(ValueError, match=sentence):
        recipe(**said)


def test_a_musl_image_is_planned_with_a_test_image_of_its_own_libc():
    images = [*IMAGES, *rows(MUSL, "cp311")]
    (target,) = plan_targets(
        recipe(targets={"interpreters": ["cp311"], "platforms": ["musllinux-x86_64"]}), images, None
    )
    assert target.name == f"cp311-{MUSL}"
    assert (target.build_image, target.test_image) == (f"sha256:build-{MUSL}", f"sha256:test-{MUSL}")

    builder_only = [row for row in images if (row.platform, row.role) != (MUSL, "test")]
    refusal(recipe(targets={"platforms": ["musllinux-x86_64"]}), builder_only, None)


def test_an_image_beside_another_of_its_suite_adds_its_interpreter():
    beside = (
        ImageRow(OLD, ("cp314t",), "builder", "sha256:free"),
        ImageRow(OLD, ("cp314t",), "test", "sha256:t"),
    )
    targets = plan_targets(recipe(), [*IMAGES, *beside], None)
    assert [target.name for target in targets] == [f"cp314t-{OLD}", f"cp313-{NEW}", f"cp311-{OLD}"]
    assert (targets[0].build_image, targets[0].test_image) == ("sha256:free", "sha256:t")


CROSS = ImageRow(
    "manylinux_2_17_aarch64", ("cp311",), "builder", "sha256:x", toolchain="zig", machine="x86_64"
)


def test_what_is_built_on_one_machine_for_another_is_tested_there_and_made_on_request():
    images = [*WITH_ZIG, CROSS, *rows("manylinux_2_36_aarch64", "cp311")]
    assert names(recipe(build=ZIG), [*WITH_ZIG, CROSS], None) == [f"cp311-{FLOOR}"]
    (target,) = plan_targets(recipe(targets={"platforms": ["manylinux-aarch64"]}, build=ZIG), images, None)
    assert target.name == "cp311-manylinux_2_17_aarch64"
    assert (target.build_image, target.test_image) == ("sha256:x", "sha256:test-manylinux_2_36_aarch64")
    assert target.is_cross
    (emulated,) = plan_targets(recipe(targets={"platforms": ["manylinux-aarch64"]}), images, None)
    assert (emulated.name, emulated.is_cross) == ("cp311-manylinux_2_36_aarch64", False)
