"""Pushes whose deliveries never came, over real git, real web processes and a real keeper (story 4)."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from tests.conftest import ROOT, House, environment, open_farm
from tests.sources.conftest import GIT_ENVIRONMENT, Upstream
from tests.sources.githttp import GitServer
from tests.waiting import wait_for

pytestmark = pytest.mark.system

SWEEP_S = 5.0


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """The URL of a repository that takes pushes, and sends no hook."""
    upstream = Upstream(tmp_path / "upstream")
    upstream.commit("Begin", a="1\n")
    upstream.git("config", "http.receivepack", "true")
    upstream.git("config", "receive.denyCurrentBranch", "ignore")
    with GitServer(tmp_path) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield server.url
        server.shutdown()
        thread.join()


@pytest.fixture
def swept_house(database_url: str, tmp_path: Path) -> Iterator[House]:
    """A farm that sweeps often, with its keeper running."""
    house = open_farm(database_url, tmp_path, timing={"sweep_s": SWEEP_S, "keeper_interval_s": 0.2})
    env = environment(house.farm.settings, tmp_path)
    with (tmp_path / "keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "workers.keeper"], cwd=ROOT, env=env, stdout=log, stderr=log
        )
    yield house
    keeper.terminate()
    keeper.wait(60)
    house.database.close()


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        ["git", *arguments], cwd=folder, env=GIT_ENVIRONMENT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_was_pushed_while_web_was_down_is_built_within_one_sweep(
    swept_house: House, serve: Callable[..., str], repository: str, tmp_path: Path
) -> None:
    token = swept_house.token("admin")
    farm = requests.Session()
    farm.headers["Authorization"] = f"Bearer {token}"
    url = serve(swept_house)
    body = {"name": "widget", "url": repository, "scm": "generic", "branches": ["main"]}
    assert farm.post(f"{url}/api/v1/sources", json=body, timeout=60).status_code == 201
    wait_for(lambda: farm.get(f"{url}/api/v1/sources/widget", timeout=60).json()["step"]["in_step_at"])
    serve.kill()  # type: ignore[attr-defined]

    git(tmp_path, "clone", "--quiet", repository, "work")
    for number in range(3):
        git(tmp_path / "work", "commit", "--quiet", "--allow-empty", "--message", f"Change {number}")
        git(tmp_path / "work", "push", "--quiet", "origin", "HEAD:main")
    head = git(tmp_path / "work", "rev-parse", "HEAD")

    url = serve(swept_house)

    def built() -> list[str]:
        rows = farm.get(f"{url}/api/v1/builds", timeout=60).json()["items"]
        return [row["trigger"] for row in rows if row["commit"] == head]

    assert wait_for(built, "the newest head to be built", SWEEP_S + 25) == ["sweep"]
    (row,) = farm.get(f"{url}/api/v1/deliveries", timeout=60).json()["items"][:1]
    assert (row["reason"], row["commit"]) == ("found_by_sweep", head)
    client = swept_house.client(token)
    assert "Found by sweep" in client.get("/deliveries").text
    assert "last in step with the SCM" in client.get("/sources/widget").text
