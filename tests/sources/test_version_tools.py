"""The tools that read versions from git say inside a snapshot what they say in a full clone."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = pytest.mark.system

_PACKAGES = ("setuptools", "setuptools-scm", "hatchling", "hatch-vcs", "versioneer", "pbr", "dunamai")


@dataclass(frozen=True)
class _Tool:
    files: dict[str, str]
    prepare: tuple[str, ...]
    ask: tuple[str, ...]
    at_tag: str
    later: str
    """How the version after five more commits begins; `{short}` is the commit's abbreviated id."""


TOOLS = {
    "setuptools-scm": _Tool(
        {
            "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\n'
            'build-backend = "setuptools.build_meta"\n[project]\nname = "x"\ndynamic = ["version"]\n'
            "[tool.setuptools_scm]\n"
        },
        (),
        ("python", "-m", "setuptools_scm"),
        "1.2.0",
        "1.2.1.dev5+g{short}",
    ),
    "hatch-vcs": _Tool(
        {
            "pyproject.toml": '[build-system]\nrequires = ["hatchling", "hatch-vcs"]\n'
            'build-backend = "hatchling.build"\n[project]\nname = "x"\ndynamic = ["version"]\n'
            '[tool.hatch.version]\nsource = "vcs"\n'
        },
        (),
        ("python", "-m", "hatchling", "version"),
        "1.2.0",
        "1.2.1.dev5+g{short}",
    ),
    "versioneer": _Tool(
        {
            "setup.py": "import versioneer\nfrom setuptools import setup\n"
            "setup(name='x', packages=['x'], version=versioneer.get_version(),"
            " cmdclass=versioneer.get_cmdclass())\n",
            "setup.cfg": "[versioneer]\nVCS = git\nstyle = pep440-branch\ntag_prefix = v\n"
            "versionfile_source = x/_version.py\n",
            "x/__init__.py": "",
        },
        ("versioneer", "install", "--vendor"),
        ("python", "-c", "import versioneer; print(versioneer.get_version())"),
        "1.2.0",
        "1.2.0.dev0+5.g{short}",
    ),
    "pbr": _Tool(
        {
            "setup.py": "import setuptools\nsetuptools.setup(setup_requires=['pbr'], pbr=True)\n",
            "setup.cfg": "[metadata]\nname = x\n[files]\npackages = x\n",
            "x/__init__.py": "",
        },
        (),
        ("python", "setup.py", "--quiet", "--version"),
        "1.2.0",
        "1.2.1.dev5",
    ),
    "dunamai": _Tool({}, (), ("dunamai", "from", "git"), "1.2.0", "1.2.0.post5.dev0+{short}"),
}


@pytest.fixture(scope="session")
def tool_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the real tools, from the index this machine is set up for."""
    environment = tmp_path_factory.mktemp("version-tools") / "venv"
    subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    python = environment / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *_PACKAGES], check=True)
    return environment / "bin"


@pytest.fixture
def version_in(tool_path: Path) -> Callable[..., str]:
    def run(folder: Path, *command: str) -> str:
        done = subprocess.run(
            [str(tool_path / command[0]), *command[1:]],
            cwd=folder,
            env={
                "PATH": f"{tool_path}{os.pathsep}{os.environ['PATH']}",
                "HOME": "/nonexistent",
                "LC_ALL": "C.UTF-8",
                "PYTHONDONTWRITEBYTECODE": "1",
                "GIT_CONFIG_NOSYSTEM": "1",
                "GIT_CONFIG_GLOBAL": "/dev/null",
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip().splitlines()[-1]

    return run


@pytest.mark.parametrize("annotate", [True, False], ids=["annotated", "lightweight"])
@pytest.mark.parametrize("tool", TOOLS.values(), ids=TOOLS)
def test_a_snapshot_has_the_version_of_a_full_clone(
    upstream, take, unpack, git_in, version_in, tmp_path, tool, annotate
):
    """At the tag and five commits later on a branch, both with 600 older commits to leave out."""
    for name, content in tool.files.items():
        upstream.write(name, content)
    if tool.prepare:
        version_in(upstream.path, *tool.prepare)
    upstream.commit()
    upstream.git("tag", *(["--annotate", "--message=x"] if annotate else []), "v1.1.0")
    upstream.commits(600)
    upstream.git("tag", *(["--annotate", "--message=x"] if annotate else []), "v1.2.0")
    tagged = take(ref="refs/tags/v1.2.0")
    # A side branch that left before the tag and is merged after it: four commits and the merge.
    upstream.git("checkout", "--quiet", "-b", "side", "HEAD~3")
    upstream.commits(2)
    upstream.git("checkout", "--quiet", "main")
    upstream.commits(2)
    upstream.git("merge", "--quiet", "--no-ff", "--message=Merge side", "side")
    later = take()
    assert (tagged.history, later.history) == ("to-tag", "to-tag")
    assert tagged.describe_tag == later.describe_tag == "v1.2.0"

    for taken, expected in ((tagged, tool.at_tag), (later, tool.later)):
        source = unpack(taken)
        clone = tmp_path / f"clone-{taken.commit[:8]}"
        git_in(tmp_path, "clone", "--quiet", upstream.url, str(clone))
        git_in(clone, "checkout", "--quiet", "main" if taken is later else "v1.2.0")
        # Abbreviated ids grow with the number of objects, and a full clone has more.
        ids = {git_in(where, "rev-parse", "--short", "HEAD") for where in (source, clone)}
        assert len(ids) == 1
        answer = version_in(source, *tool.ask)
        assert answer == version_in(clone, *tool.ask)
        wanted = expected.format(short=ids.pop())
        assert answer == wanted if taken is tagged else answer.startswith(wanted)
        assert git_in(source, "status", "--porcelain", "--untracked-files=no") == ""
