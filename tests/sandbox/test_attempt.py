"""Whole attempts on a real engine: from a source snapshot to uploaded files, and their verdicts."""

import io
import time
import zipfile

import pytest

import docker
from buildfarm.errors import ExternalFailure
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.images import list_images
from tests.sandbox.conftest import C_PROJECT, INSTANCE, PURE_WHEEL, FakeFarm, hostile, source_tar

pytestmark = pytest.mark.engine


@pytest.fixture(autouse=True)
def no_container_is_left(engine):
    yield
    client = docker.APIClient(base_url=engine)
    try:
        assert client.containers(all=True, filters={"label": f"buildfarm.instance={INSTANCE}"}) == []
    finally:
        client.close()


@pytest.fixture(autouse=True)
def no_directory_is_left(tmp_path):
    yield
    assert not (tmp_path / "work").exists() or list((tmp_path / "work").iterdir()) == []


def test_a_c_extension_becomes_a_tested_manylinux_wheel_and_an_sdist(attempt):
    outcome, farm = attempt(
        C_PROJECT,
        expect_native=True,
        build_sdist=True,
        test={"command": ["python", "-c", "from fastadd import add; assert add(2, 3) == 5"]},
    )

    assert outcome.state == "succeeded", farm.log
    assert (outcome.cause, outcome.first_error, outcome.phase) == (None, None, None)
    assert sorted(farm.artifacts) == [
        "fastadd-1.2-cp311-cp311-manylinux1_x86_64.manylinux_2_5_x86_64.whl",
        "fastadd-1.2.tar.gz",
    ]
    assert [report.phase for report in outcome.phases] == [
        "source", "deps", "build", "repair", "test", "upload",
    ]  # fmt: skip
    assert all(report.cpu_seconds and report.memory_bytes for report in outcome.phases[:5])
    assert "x86_64-linux-gnu-gcc" in farm.lines_of("build")
    assert "setuptools==" in farm.lines_of("deps")
    assert any(path.startswith("/files/setuptools/setuptools-") for path in farm.asked)
    assert outcome.engine["version"]
    assert outcome.engine["kernel"]


def test_a_module_that_needs_nothing_of_a_libc_gets_the_platform_of_its_image(attempt):
    bare = 'sources = ["add.c"]\npy-limited-api = true\nextra-link-args = ["-nostdlib"]\n'
    files = {
        **C_PROJECT,
        "pyproject.toml": C_PROJECT["pyproject.toml"].replace('sources = ["add.c"]\n', bare),
        "setup.cfg": "[bdist_wheel]\npy_limited_api = cp311\n",
        "add.c": "#define Py_LIMITED_API 0x030b0000\n" + C_PROJECT["add.c"],
    }
    outcome, farm = attempt(files, expect_native=True, test={})

    assert outcome.state == "succeeded", farm.log
    assert list(farm.artifacts) == [
        "fastadd-1.2-cp311-abi3-manylinux1_x86_64.manylinux_2_36_x86_64.manylinux_2_5_x86_64.whl"
    ]


def test_two_builds_of_one_source_are_the_same_bytes(attempt):
    _, first = attempt(C_PROJECT, build_sdist=True)
    time.sleep(2.1)  # a zip entry's time has a step of two seconds
    _, second = attempt(C_PROJECT, build_sdist=True)

    assert len(first.artifacts) == 2
    assert first.artifacts == second.artifacts


def test_a_backend_is_imported_again_with_what_it_asked_for(attempt):
    asks = """
try:
    import setuptools as asked_for
except ImportError:
    asked_for = None
def get_requires_for_build_wheel(config_settings=None):
    return ["setuptools"]
"""
    project = hostile(PURE_WHEEL.replace("with zip", "print(asked_for.__name__, 'is here')\nwith zip", 1))
    project["backend.py"] += asks
    outcome, farm = attempt(project, expect_native=False)

    assert outcome.state == "succeeded", farm.log
    assert "setuptools is here" in farm.lines_of("build")


def test_the_wheel_is_imported_when_the_recipe_names_no_test(attempt):
    broken = {**C_PROJECT, "fastadd/__init__.py": "raise RuntimeError('cannot be imported')\n"}
    outcome, farm = attempt(broken, test={})

    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "user_code", "test")
    assert outcome.first_error == "RuntimeError: cannot be imported"
    assert farm.artifacts == {}


def test_a_compiler_error_is_quoted(attempt):
    outcome, farm = attempt({**C_PROJECT, "add.c": "int broken(void) { return nothing; }\n"})

    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "user_code", "build")
    assert outcome.first_error.startswith("add.c:1:")
    assert "error:" in outcome.first_error
    assert outcome.failure_class == "compile"
    assert outcome.first_error in farm.log.split("\n")[outcome.error_line - 1]


def test_a_backend_that_is_not_there_is_named(attempt):
    pyproject = C_PROJECT["pyproject.toml"].replace("setuptools.build_meta", "setuptols.build_meta")
    outcome, _ = attempt({**C_PROJECT, "pyproject.toml": pyproject})

    assert (outcome.failure_class, outcome.phase) == ("backend", "deps")
    assert "'setuptols.build_meta' cannot be loaded" in outcome.first_error


def test_a_missing_build_requirement_is_the_project_s_fault(attempt):
    pyproject = C_PROJECT["pyproject.toml"].replace('["setuptools"]', '["not-there"]')
    outcome, _ = attempt({**C_PROJECT, "pyproject.toml": pyproject})

    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "user_code", "deps")
    assert "not-there was not found" in outcome.first_error
    assert outcome.failure_class == "dependency-resolution"


def test_an_index_that_refuses_is_policy(attempt, wheelhouse):
    farm = FakeFarm(wheelhouse=wheelhouse)
    farm.index_status = 403
    outcome, _ = attempt(C_PROJECT, farm=farm)

    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "policy", "deps")


def test_a_silent_pure_fallback_is_found(attempt):
    outcome, farm = attempt(hostile(PURE_WHEEL), expect_native=True)

    assert (outcome.state, outcome.cause) == ("failed", "checks")
    assert "compiled code" in outcome.first_error
    assert farm.artifacts == {}


def test_a_platform_wheel_without_compiled_code_is_found(attempt):
    lie = PURE_WHEEL.replace("py3-none-any.whl", "cp311-cp311-linux_x86_64.whl")
    outcome, _ = attempt(hostile(lie))

    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "checks", "repair")
    assert "no compiled code" in outcome.first_error


def test_a_pure_wheel_needs_no_repair(attempt):
    outcome, farm = attempt(hostile(PURE_WHEEL), expect_native=False, test={})

    assert outcome.state == "succeeded", farm.log
    (data,) = farm.artifacts.values()
    assert "calm.py" in zipfile.ZipFile(io.BytesIO(data)).namelist()


def test_the_heartbeat_s_no_ends_the_attempt(attempt):
    farm = FakeFarm()
    farm.alive = lambda phase, container_id: phase != "build"
    started = time.monotonic()
    outcome, _ = attempt(hostile("time.sleep(60)"), farm=farm, heartbeat_seconds=0.2)

    assert (outcome.state, outcome.cause) == ("cancelled", None)
    assert time.monotonic() - started < 50
    assert any(container_id for _, container_id in farm.beats)


def test_another_source_than_promised_is_not_built(engine, spec_of, tmp_path):
    farm = FakeFarm(source_tar({"a": "changed"}))
    spec = spec_of(source_tar({"a": "promised"}))
    outcome = run_attempt(spec, farm, docker_host=engine, workdir=tmp_path / "work", instance=INSTANCE)

    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "infrastructure", "source")
    assert outcome.failure_class == "source"
    assert "not the one that was promised" in outcome.first_error


def test_a_missing_image_is_infrastructure_and_says_what_to_do(attempt):
    outcome, _ = attempt(hostile(PURE_WHEEL), build_image="sha256:" + "0" * 64)

    assert (outcome.state, outcome.cause, outcome.failure_class) == ("failed", "infrastructure", "engine")
    assert "docker/build-images.sh" in outcome.first_error


def test_an_engine_that_is_down_is_infrastructure_and_says_what_to_do(spec_of, tmp_path):
    source = source_tar({})
    spec = spec_of(source)
    host = f"unix://{tmp_path}/nobody.sock"
    outcome = run_attempt(
        spec, FakeFarm(source), docker_host=host, workdir=tmp_path / "work", instance=INSTANCE
    )

    assert (outcome.state, outcome.cause) == ("failed", "infrastructure")
    assert "buildfarm doctor" in outcome.first_error


def test_a_farm_that_does_not_take_a_file_is_infrastructure(attempt):
    class Full(FakeFarm):
        def put_artifact(self, path, filename, sha256):
            raise ExternalFailure("The farm's disk is full.")

    outcome, _ = attempt(hostile(PURE_WHEEL), farm=Full())

    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "infrastructure", "upload")
    assert outcome.failure_class == "farm"


def test_a_project_without_pyproject_is_built_the_old_way(attempt):
    setup = "from setuptools import setup\nsetup(name='old', version='1', py_modules=['old'])\n"
    outcome, farm = attempt({"setup.py": setup, "old.py": ""}, test={})

    assert outcome.state == "succeeded", farm.log
    assert list(farm.artifacts) == ["old-1-py3-none-any.whl"]


def test_a_subdirectory_settings_and_variables_reach_the_backend(attempt):
    show = "print('saw', config_settings, os.environ['FLAVOUR'], os.getcwd())\n"
    files = {f"part/{name}": text for name, text in hostile(show + PURE_WHEEL).items()}
    outcome, farm = attempt(
        files, subdirectory="part", config_settings={"fast": "yes"}, environment={"FLAVOUR": "mint"}
    )

    assert outcome.state == "succeeded", farm.log
    assert "saw {'fast': 'yes'} mint /src/part" in farm.log


def test_a_subdirectory_that_is_not_there_is_named(attempt):
    outcome, _ = attempt(hostile(PURE_WHEEL), subdirectory="nowhere")

    assert (outcome.state, outcome.cause) == ("failed", "user_code")
    assert outcome.first_error == "ERROR: the source has no directory 'nowhere'"


def test_a_test_command_may_use_the_project_s_files(attempt):
    check = "import calm, os; print('in', os.getcwd(), calm.__file__)\n"
    files = {**hostile(PURE_WHEEL), "checks/run.py": check}
    outcome, farm = attempt(files, test={"command": ["python", "{project}/checks/run.py"]})

    assert outcome.state == "succeeded", farm.log
    assert "in /work/scratch /work/env/lib/python3.11/site-packages/calm.py" in farm.lines_of("test")


def test_what_runs_before_the_build_lies_beside_it(attempt):
    show = """
import importlib.util, shutil
print("tool", shutil.which("pip"), "module", importlib.util.find_spec("packaging"), open("made").read())
"""
    install = "pip install -q packaging && python -c 'import packaging'"
    before = f"{install} && echo {{project}} {{package}} > {{package}}/made"
    files = {f"part/{name}": text for name, text in hostile(show + PURE_WHEEL).items()}
    outcome, farm = attempt(files, subdirectory="part", before=["sh", "-c", before])

    assert outcome.state == "succeeded", farm.log
    assert "tool /work/tools/bin/pip module None /src /src/part" in farm.log
    outcome, farm = attempt(hostile(PURE_WHEEL), before=["sh", "-c", "echo no tables; exit 3"])
    assert (outcome.state, outcome.cause, outcome.phase) == ("failed", "user_code", "deps")


def test_a_recipe_may_repair_in_its_own_way(attempt):
    outcome, farm = attempt(
        C_PROJECT, repair=["sh", "-c", "echo mine; auditwheel repair -w {dest_dir} {wheel}"]
    )
    assert outcome.state == "succeeded", farm.log
    assert "mine" in farm.lines_of("repair")
    assert list(farm.artifacts) == ["fastadd-1.2-cp311-cp311-manylinux1_x86_64.manylinux_2_5_x86_64.whl"]
    outcome, _ = attempt(C_PROJECT, repair=["true"])
    assert (outcome.state, outcome.first_error) == ("failed", "The repair left 0 wheels.")


def test_a_test_has_extras_groups_variables_and_a_command_before_it(attempt):
    project = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "calm"
version = "1"
optional-dependencies.more = ["packaging"]
[dependency-groups]
tests = ["setuptools"]
[tool.setuptools]
py-modules = ["calm"]
"""
    check = "import calm, packaging, setuptools, os; print('all of', os.environ['KIND'], os.environ['LEVEL'])"
    outcome, farm = attempt(
        {"pyproject.toml": project, "calm.py": "", "data/x.txt": "pip\n"},
        environment={"KIND": "build", "LEVEL": "3"},
        test={
            "extras": ["more"],
            "groups": ["tests"],
            "requirements": ["data/x.txt"],
            "sources": ["data"],
            "environment": {"KIND": "test"},
            "before": ["sh", "-c", "pip --version && ls {wheel} && touch here"],
            "command": ["sh", "-c", f'ls here data/x.txt && python -c "{check}"'],
        },
    )
    assert outcome.state == "succeeded", farm.log
    assert "/in/calm-1-py3-none-any.whl" in farm.lines_of("test")
    assert "all of test 3" in farm.lines_of("test")


def test_every_suite_s_interpreter_builds_its_own_wheel(engine, attempt):
    for image in list_images(engine):
        if image.role == "builder":
            (interpreter,) = image.interpreters
            outcome, farm = attempt(
                C_PROJECT,
                target=f"{interpreter}-{image.platform}",
                interpreter=interpreter,
                build_image=image.image_id,
            )
            assert outcome.state == "succeeded", farm.log
            tag = f"-{interpreter.removesuffix('t')}-{interpreter}-manylinux"
            assert all(tag in name for name in farm.artifacts)


def test_what_the_sdist_s_build_leaves_in_the_source_is_not_in_the_wheel(attempt):
    files = hostile(PURE_WHEEL.replace('wheel.writestr("calm.py", "")', 'wheel.write("calm.py")'))
    files["calm.py"] = "clean = True\n"
    files["backend.py"] += """
def build_sdist(directory, config_settings=None):
    import tarfile
    with open("calm.py", "a") as file:
        file.write("clean = False\\n")
    with tarfile.open(os.path.join(directory, "calm-1.tar.gz"), "w:gz") as archive:
        archive.add("calm.py", "calm-1/calm.py")
    return "calm-1.tar.gz"
"""
    outcome, farm = attempt(files, build_sdist=True)
    assert outcome.state == "succeeded", farm.log
    with zipfile.ZipFile(io.BytesIO(farm.artifacts["calm-1-py3-none-any.whl"])) as wheel:
        assert wheel.read("calm.py") == b"clean = True\n"


@pytest.fixture
def image_without(engine, images):
    """Makes an image in which a program of the contract is missing; it is removed at the end."""
    client, made = docker.APIClient(base_url=engine), []

    def make(role, program):
        remove = ["sh", "-c", f"rm -f $(command -v {program})"]
        box = client.create_container(images[role], remove, user="0", network_disabled=True)["Id"]
        try:
            client.start(box)
            client.wait(box)
            # Nobody who lists the images of builds beside this test meets it.
            made.append(client.commit(box, changes=["LABEL org.buildfarm.derived=broken"])["Id"])
        finally:
            client.remove_container(box, force=True)
        return made[-1]

    yield make
    for image in made:
        client.remove_image(image, force=True)
    client.close()


@pytest.mark.parametrize(
    ("role", "program", "phase"),
    [("builder", "uv", "source"), ("builder", "auditwheel", "repair"), ("test", "uv", "test")],
)
def test_an_image_whose_programs_are_missing_is_the_farm_s_fault_and_no_one_else_s(
    attempt, image_without, role, program, phase
):
    field = "build_image" if role == "builder" else "test_image"
    outcome, farm = attempt(C_PROJECT, test={}, **{field: image_without(role, program)})

    assert (outcome.state, outcome.phase) == ("failed", phase), farm.log
    assert (outcome.cause, outcome.failure_class) == ("infrastructure", "engine"), outcome.first_error
    assert outcome.first_error.startswith("The image's own programs do not work.")
    assert program in outcome.first_error
    assert "the image is not as it should be" in farm.lines_of(phase)


def test_a_limit_too_small_to_make_ready_is_the_limit_s_fault(attempt):
    outcome, farm = attempt(C_PROJECT, limits={"scratch_bytes": 1 << 20})

    assert (outcome.cause, outcome.failure_class) == ("limit", "disk-full"), farm.log


def test_a_folder_that_cannot_be_made_is_told_as_any_other_end(attempt, tmp_path):
    in_its_way = tmp_path / "work" / "job_test_1"
    in_its_way.parent.mkdir()
    in_its_way.touch()
    outcome, _farm = attempt(C_PROJECT)
    in_its_way.unlink()

    assert (outcome.state, outcome.cause, outcome.failure_class) == ("failed", "infrastructure", "engine")
    assert "FileExistsError" in outcome.first_error
