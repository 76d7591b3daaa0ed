"""What a lock file needs of a mirror, over a real farm and a stub of its upstream."""

from __future__ import annotations

import pytest

from buildfarm.errors import Conflict
from buildfarm.index import guarded, names, prefetch
from buildfarm.index.model import Channel
from buildfarm.mirror.policy import parse


def entry(filename: str, digest: str, **more: object) -> dict[str, object]:
    return {"filename": filename, "url": f"../../files/{filename}", "hashes": {"sha256": digest * 64}} | more


@pytest.fixture
def house(open_house, upstream):
    house = open_house(mirror={"upstreams": [upstream.url + "/"], "timeout_s": 30})
    with house.farm.database.begin() as session:
        for name, kind, parts in (("mirror", "mirror", []), ("all", "union", ["stable", "mirror"])):
            session.merge(Channel(name=name, kind=kind, rank=90, public=False, parts=parts, policy={}))
        names.add_local(session, "ours", "ours", actor="ann")
    upstream.page(
        "gadget",
        entry("gadget-1.0-py3-none-any.whl", "1"),
        entry("gadget-1.1-py3-none-any.whl", "2"),
        entry("gadget-1.1.tar.gz", "3"),
        entry("gadget-1.2-py3-none-any.whl", "4", yanked="broken"),
        entry("gadget-2.0rc1-py3-none-any.whl", "5"),
    )
    return house


def plan(house, text: str, channel: str = "all") -> prefetch.Plan:
    farm = house.farm
    return prefetch.plan(farm.database, farm.guard, farm.upstream, channel, text)


def test_digests_choose_the_files(house):
    found = plan(house, f"gadget==1.1 --hash=sha256:{'3' * 64}")
    assert [(one.filename, one.url) for one in found.files] == [
        ("gadget-1.1.tar.gz", "files/gadget/gadget-1.1.tar.gz")
    ]
    assert not found.missed


def test_without_digests_it_is_the_newest_release_that_fits(house):
    names_of = [one.filename for one in plan(house, "Gadget<2").files]
    assert names_of == ["gadget-1.1-py3-none-any.whl", "gadget-1.1.tar.gz"]


def test_what_is_ours_is_never_asked_upstream(house, upstream):
    found = plan(house, "ours==1.0")
    assert (found.ours, found.files, found.missed) == (["ours"], [], [])
    assert upstream.paths() == []


def test_what_will_be_missing_is_said_with_its_reason(house):
    with house.farm.database.begin() as session:
        guarded.set_policy(session, "mirror", parse('file_types = ["wheel"]'), actor="ann")
    found = plan(house, f"gadget==1.1\nnothing\ngadget==9\ngadget --hash=sha256:{'9' * 64}")
    assert [one.filename for one in found.files] == ["gadget-1.1-py3-none-any.whl"]
    assert [(one.project, one.filename, one.rule) for one in found.missed] == [
        ("gadget", "gadget-1.1.tar.gz", "file-type"),
        ("nothing", None, "unknown"),
        ("gadget", None, "no-file"),
        ("gadget", None, "no-file"),
    ]


def test_a_channel_without_a_mirror_has_nothing_to_prefetch(house):
    with pytest.raises(Conflict) as caught:
        plan(house, "gadget", channel="stable")
    assert caught.value.code == "channel.no_mirror"
