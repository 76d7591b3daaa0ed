"""A real resolution and installation through the union: what comes is what comes directly."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from buildfarm import config
from buildfarm.index import channels

WANTED = ("flask", "requests", "rich", "httpx", "structlog", "alembic", "click", "pydantic")
UV = str(Path(sys.executable).with_name("uv"))


def run(*argv: str) -> str:
    dropped = ("PIP_", "UV_", "VIRTUAL_ENV")
    env = {name: value for name, value in os.environ.items() if not name.startswith(dropped)}
    done = subprocess.run(
        [UV, *argv, "--no-cache", "--no-config"], env=env, capture_output=True, text=True, check=False
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
