"""What the phases share: a clean environment, visible commands, phase marks."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from typing import Any

from buildfarm.sandbox.inside import door

SOURCE = "/src"
OUT = "/work/out"
ENV = "/work/env"
TOOLS = "/work/tools"
SOURCE_TAR = "/in/source.tar"
INDEX = f"{door.URL}/simple/"
CARGO_HOME = "/work/cargo"
GO_HOME = "/work/go"

#: Weaker than a configuration of the project's own, which may name sources that it brings along.
_CARGO_CONFIG = f"""\
[source.crates-io]
replace-with = "farm"
[source.farm]
registry = "sparse+{door.URL}/crates/index/"
"""

#: ccache keeps nothing in the container and asks the farm's door; paths are the same in every build.
_CCACHE = {
    "CCACHE_REMOTE_STORAGE": "http://127.0.0.1:8080/cache|layout=flat",
    "CCACHE_REMOTE_ONLY": "true",
    "CCACHE_DIR": "/work/ccache",
    "CCACHE_BASEDIR": "/",
    "CCACHE_NOHASHDIR": "true",
    "CCACHE_SLOPPINESS": "include_file_mtime,include_file_ctime",
}

#: The last line of output; then come the facts, and nothing more.
OVER = "\x1eover"
#: A plan that says nothing, for what runs before there is one.
NOTHING: dict[str, Any] = {"environment": {}, "source_date_epoch": 0, "compile_cache": False}


class FailedError(Exception):
    """A command ended badly; carries the exit code the container shall end with."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def clean_environment(plan: dict[str, Any]) -> dict[str, str]:
    """The whole environment of what a phase runs: the recipe's variables beneath the farm's own.

    No CFLAGS with prefix maps: setuptools takes that variable instead of the interpreter's own
    flags and would compile without -O2. Builds agree because their paths never change.
    """
    environment: dict[str, str] = dict(plan["environment"])
    environment.update(
        {
            "PATH": f"{ENV}/bin:/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin",
            "HOME": "/home/builder",
            "USER": "builder",
            "TMPDIR": "/tmp",  # noqa: S108 - a tmpfs of this container alone
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "VIRTUAL_ENV": ENV,
            "SOURCE_DATE_EPOCH": str(plan["source_date_epoch"]),
            "PYTHONHASHSEED": "0",
            "PIP_CONFIG_FILE": "/dev/null",
            "PIP_INDEX_URL": INDEX,
            "PIP_NO_INPUT": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "UV_NO_CONFIG": "1",
            "UV_DEFAULT_INDEX": INDEX,
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_CACHE_DIR": "/work/cache",
            "UV_HTTP_TIMEOUT": "120",
            "UV_NO_PROGRESS": "1",
            "CARGO_HOME": CARGO_HOME,
            "CARGO_HTTP_TIMEOUT": "120",
            # No -mod=readonly in GOFLAGS: it is Go's default, and would keep it from a vendor folder.
            "GOPROXY": f"{door.URL}/go",
            "GOSUMDB": "off",  # it is a service of the network; go.sum is what verifies
            "GOTOOLCHAIN": "local",
            "GOENV": "off",
            "GOPATH": GO_HOME,
            "GOMODCACHE": f"{GO_HOME}/pkg/mod",
            "GOCACHE": f"{GO_HOME}/cache",
        }
    )
    if plan["compile_cache"]:
        environment |= _CCACHE
        own, _, others = environment["PATH"].partition(":")
        environment["PATH"] = f"{own}:/usr/lib/ccache:{others}"
    return environment


def write_cargo_config() -> None:
    """Have Cargo take the farm's registry in place of its own; it has no variable for that."""
    os.mkdir(CARGO_HOME)
    with open(os.path.join(CARGO_HOME, "config.toml"), "w", encoding="utf-8") as file:
        file.write(_CARGO_CONFIG)


def mark(phase: str) -> None:
    """Tell the log that another phase begins."""
    sys.stdout.write(f"\x1ephase:{phase}\n")
    sys.stdout.flush()


def run(command: list[str], environment: dict[str, str], cwd: str = "/work") -> None:
    """Show a command, run it, raise FailedError when it does not end well."""
    print("$ " + " ".join(command), flush=True)
    code = subprocess.run(command, env=environment, cwd=cwd, stdin=subprocess.DEVNULL).returncode
    if code:
        raise FailedError(code if code > 0 else 128 - code)


def unpack_source(environment: dict[str, str]) -> None:
    """Unpack the snapshot's one top directory to /src, emptied before; owner and setuid bits are lost."""
    with os.scandir(SOURCE) as entries:
        for entry in entries:
            shutil.rmtree(entry) if entry.is_dir(follow_symlinks=False) else os.unlink(entry)
    run(
        [
            "tar",
            "--extract",
            "--file",
            SOURCE_TAR,
            "--directory",
            SOURCE,
            "--strip-components=1",
            "--no-same-owner",
            "--no-same-permissions",
        ],
        environment,
    )


def project_folder(plan: dict[str, Any]) -> str:
    """The folder of the project in the unpacked source."""
    return os.path.join(SOURCE, plan["subdirectory"]).rstrip("/")


def filled(command: list[str], plan: dict[str, Any], **more: str) -> list[str]:
    """A recipe's command with the paths of this container in the place of their names."""
    places = {"project": SOURCE, "package": project_folder(plan), **more}
    for name, path in places.items():
        command = [word.replace("{" + name + "}", path) for word in command]
    return command


def make_environment(place: str = ENV) -> None:
    """A virtual environment of this interpreter with nothing in it."""
    venv.EnvBuilder(symlinks=True).create(place)


def make_ready() -> None:
    """The environment that things are installed into, before anything of the attempt is known."""
    make_environment()
    # uv asks an interpreter about itself once; here that is nobody's time.
    command = ["uv", "pip", "list", "--quiet", "--python", f"{ENV}/bin/python"]
    subprocess.run(
        command, env=clean_environment(NOTHING), cwd="/work", check=True, stdout=subprocess.DEVNULL
    )


def install(requirements: list[str], environment: dict[str, str], place: str = ENV) -> None:
    """Install into a virtual environment from the farm's index, with the bytecode that the farm has of it."""
    run(["uv", "pip", "install", "--python", f"{place}/bin/python", *requirements], environment)
    for library in os.scandir(f"{place}/lib"):
        door.unpack("/bytecode", f"{library.path}/site-packages")
