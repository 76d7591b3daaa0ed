"""A real forge: pushes to Debian's Pagure, told over HTTP by its own worker."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.conftest import House
from tests.scm.pagure_server import pagure
from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.exhaustive, pytest.mark.timeout(900)]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root enters another root file system")
def test_what_a_real_pagure_says_of_pushes_is_verified_and_built(
    open_house: Callable[..., House], serve: Callable[..., str], tmp_path: Path
) -> None:
    house = open_house(sources_allow_file=True)
    url = serve(house)
    farm = requests.Session()
    farm.headers["Authorization"] = f"Bearer {house.token('admin')}"

    def listed(kind: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = farm.get(f"{url}/api/v1/{kind}", timeout=60).json()["items"]
        return found

    def built() -> set[tuple[str, str]]:
        return {(one["ref"], one["commit"]) for one in listed("builds")}

    with pagure(tmp_path / "pagure.log") as forge:
        body = {"name": "widget", "url": forge.repository.as_uri(), "scm": "pagure", "branches": ["main"]}
        assert farm.post(f"{url}/api/v1/sources", json=body, timeout=60).status_code == 201
        taken = farm.put(
            f"{url}/api/v1/sources/widget/secrets", json={"secret": forge.hook_token}, timeout=60
        )
        assert taken.status_code == 200, taken.text
        forge.call(f"{url}/hooks/widget")

        first = forge.commit("Begin")
        forge.push("main")
        wait_for(lambda: ("refs/heads/main", first) in built())
        forge.git("tag", "v1.0")
        forge.push("v1.0")
        wait_for(lambda: ("refs/tags/v1.0", first) in built())
        second = forge.commit("Round the rim")
        forge.push("main", "main:refs/heads/topic")
        wait_for(lambda: ("refs/heads/main", second) in built())
        forge.push(":refs/heads/topic")
        wait_for(lambda: "branch_deleted" in {one["reason"] for one in listed("deliveries")})

    assert {one["state"] for one in listed("deliveries")} == {"accepted", "ignored"}
    assert len(built()) == len(listed("builds")) == 3
