"""A real resolution and installation through the union: what comes is what comes directly."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from buildfarm import config
from buildfarm.index import channels

WANTED = ("flask", "requests", "rich", "httpx", "structlog", "alembic", "click", "pydantic")
UV = str(Path(sys.executable).with_name("uv"))


def run(*argv: str, cwd: Path | None = None) -> str:
    dropped = ("PIP_", "UV_", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    done = subprocess.run(
        [UV, *argv, "--no-cache", "--no-config"],
        env=env,
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.system
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_the_same_versions_and_hashes_as_directly_and_again_without_upstream(
    open_house, serve, tmp_path, monkeypatch
) -> None:
    index = config.pip_index_url()
    wanted = tmp_path / "wanted.in"
    wanted.write_text("\n".join(WANTED))
    resolve = ("pip", "compile", "-q", "--no-header", "--no-annotate", "--generate-hashes", str(wanted))
    directly = run(*resolve, "--index-url", index)
    assert directly.count("==") > 20
    house = open_house(mirror={"upstreams": [index], "fresh_s": 60})
    with house.database.begin() as session:
        channels.create_mirror(session)
    token = house.token("admin")

    def through(url: str) -> str:
        return f"{url.replace('://', f'://__token__:{token}@')}/all/simple/"

    url = through(serve(house, threads=64))
    assert run(*resolve, "--index-url", url) == directly
    lock = tmp_path / "lock.txt"
    lock.write_text(directly)
    install = ("pip", "install", "-q", "--require-hashes", "-r", str(lock), "--no-deps")
    run(*install, "--index-url", url, "--target", str(tmp_path / "one"))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    cut_off = through(serve(house, threads=64))
    assert run(*resolve, "--index-url", cut_off) == directly
    run(*install, "--index-url", cut_off, "--target", str(tmp_path / "two"))
    assert sorted(os.listdir(tmp_path / "one")) == sorted(os.listdir(tmp_path / "two"))


@pytest.mark.system
@pytest.mark.exhaustive
@pytest.mark.timeout(900)
def test_a_project_is_locked_and_synced_through_the_union_and_again_without_upstream(
    open_house, serve, tmp_path, monkeypatch
) -> None:
    index = config.pip_index_url()
    project = tmp_path / "project"
    project.mkdir()
    wanted = ", ".join(f'"{one}"' for one in WANTED)
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    (project / "pyproject.toml").write_text(
        f'[project]\nname = "ours"\nversion = "1"\nrequires-python = "=={minor}.*"\n'
        f"dependencies = [{wanted}]\n"
    )

    def locked(url: str) -> dict[str, set[str]]:
        """Names and versions with the digests of their files."""
        (project / "uv.lock").unlink(missing_ok=True)
        run("lock", "-q", "--python", sys.executable, "--default-index", url, cwd=project)
        packages = tomllib.loads((project / "uv.lock").read_text())["package"]
        return {
            f"{one['name']} {one['version']}": {
                file["hash"] for file in [*one.get("wheels", ()), one.get("sdist", {})] if "hash" in file
            }
            for one in packages
        }

    def synced(url: str) -> list[str]:
        shutil.rmtree(project / ".venv", ignore_errors=True)
        run("sync", "-q", "--locked", "--python", sys.executable, "--default-index", url, cwd=project)
        return sorted(path.name for path in (project / ".venv").glob("lib/*/site-packages/*.dist-info"))

    directly = locked(index)
    assert len(directly) > 20
    house = open_house(mirror={"upstreams": [index], "fresh_s": 60})
    with house.database.begin() as session:
        channels.create_mirror(session)
    token = house.token("admin")
    url = serve(house, threads=64)
    through = f"{url.replace('://', f'://__token__:{token}@')}/all/simple/"
    assert locked(through) == directly
    there = synced(through)
    assert len(there) > 20
    # What everybody needs is here: the same server, the same lock, and an upstream that nobody reaches.
    serve.kill()
    for name in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    again = f"{serve(house, threads=64).replace('://', f'://__token__:{token}@')}/all/simple/"
    assert locked(again) == directly
    assert synced(again) == there
