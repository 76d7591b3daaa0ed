"""What is offered when something newer is here, and that an answer is not asked for twice."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from buildfarm.index.model import Release

pytestmark = pytest.mark.system


def offered(sea, channel: str = "dev") -> list[tuple[str, str, int]]:
    found = sea.api("GET", f"/waves/offers?channel={channel}")["items"]
    return [(one["trigger"], one["subject"], one["projects"]) for one in found]


def test_a_newer_library_is_offered_to_what_was_built_before_it(sea) -> None:
    sea.release("core")
    sea.release("middle", reads=("core",))
    sea.release("top", reads=("middle",), requires=("core",))
    assert offered(sea) == []
    sea.release("core", "2.0")
    assert offered(sea) == [("project", "core", 1)]
    assert offered(sea, "staging") == []
    page = sea.house.client(sea.house.token("admin")).get("/waves", headers={"Accept": "text/html"}).text
    assert "1 release of dev built with an older core" in page
    assert 'href="/waves/preview?trigger=project&amp;subject=core&amp;channel=dev"' in page


def test_what_came_out_equal_is_offered_no_more(sea) -> None:
    sea.release("core")
    sea.release("middle", reads=("core",))
    sea.release("core", "2.0")
    wave = sea.api("POST", "/waves", 201, json={"trigger": "project", "subject": "core"})["id"]
    assert offered(sea) == [], "the channel has a wave"
    sea.rebuild(wave, "middle", "core")
    assert sea.states(wave) == {"middle": "equal"}
    sea.api("POST", f"/waves/{wave}/cancel")
    assert offered(sea) == []
    planned = sea.api("POST", "/waves/preview", json={"trigger": "project", "subject": "core"})
    assert [one["why"] for one in planned["left_out"]] == ["was built with core 2.0"]


def test_what_was_built_with_an_older_version_while_the_newer_was_there_keeps_to_it(sea) -> None:
    sea.release("core")
    sea.release("middle", reads=("core",))
    sea.release("core", "2.0")
    assert offered(sea) == [("project", "core", 1)]
    with sea.database.begin() as session:
        newer = session.scalars(select(Release).where(Release.version == "2.0")).one()
        newer.created_at -= timedelta(hours=1)
    assert offered(sea) == []
