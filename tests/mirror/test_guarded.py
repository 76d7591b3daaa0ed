"""What mirror channels show of upstream pages: policies, advisories and lifts on a real farm."""

from __future__ import annotations

import hashlib
import json
import zipfile
from datetime import timedelta

import pytest

from buildfarm import clock
from buildfarm.errors import Conflict, NotFound
from buildfarm.index import guarded
from buildfarm.index.model import Channel
from buildfarm.mirror import advisories, lifts
from buildfarm.mirror.policy import parse

WHEEL, SDIST = "gadget-1.0-py3-none-any.whl", "gadget-1.1.tar.gz"


def entry(filename: str, **more: object) -> dict[str, object]:
    return {
        "filename": filename,
        "url": f"../../files/{filename}",
        "hashes": {"sha256": "0" * 64},
        "upload-time": "2020-01-01T00:00:00.000000Z",
    } | more


@pytest.fixture
def house(open_house, upstream):
    house = open_house(mirror={"upstreams": [upstream.url + "/"], "timeout_s": 30})
    with house.farm.database.begin() as session:
        session.merge(Channel(name="mirror", kind="mirror", rank=90, public=False, parts=[], policy={}))
    upstream.page("gadget", entry(WHEEL), entry(SDIST))
    return house


def sift(house) -> tuple[list[str], dict[str, str]]:
    page = house.farm.upstream.rows("gadget")
    sifted = house.farm.guard.sift("mirror", page)
    return [file.filename for file in sifted.shown], {k: v.rule for k, v in sifted.refused.items()}


def put_in_force(house, toml: str) -> None:
    with house.farm.database.begin() as session:
        guarded.set_policy(session, "mirror", parse(toml), actor="ann")


def test_the_empty_policy_shows_everything(house):
    assert sift(house) == ([WHEEL, SDIST], {})


def test_a_policy_in_force_hides_what_it_names(house):
    put_in_force(house, 'file_types = ["wheel"]')
    assert sift(house) == ([WHEEL], {SDIST: "file-type"})


def test_a_young_file_is_due_when_it_is_old_enough(house, upstream):
    moment = clock.now() - timedelta(days=1)
    upstream.page("gadget", entry(WHEEL), entry(SDIST, **{"upload-time": clock.iso(moment)}))
    put_in_force(house, "minimum_age_days = 7")
    sifted = house.farm.guard.sift("mirror", house.farm.upstream.rows("gadget"))
    assert [file.filename for file in sifted.shown] == [WHEEL]
    assert sifted.due == moment + timedelta(days=7)


def test_a_lift_lets_one_version_through_and_ends(house):
    put_in_force(house, 'deny = ["gadget"]')
    with house.farm.database.begin() as session:
        lift = lifts.add(session, "mirror", "gadget", "1.1", "deny", reason="needed", actor="ann", days=1)
        until = lift.until
    assert sift(house) == ([SDIST], {WHEEL: "deny"})
    assert house.farm.guard.sift("mirror", house.farm.upstream.rows("gadget")).due == until


def test_malware_is_hidden_as_soon_as_an_advisory_says_so(house, tmp_path):
    affected = {"package": {"ecosystem": "PyPI", "name": "Gadget"}, "versions": ["1.1"]}
    record = {"id": "MAL-2026-1", "modified": "2026-01-01T00:00:00Z", "summary": "x", "affected": [affected]}
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("MAL-2026-1.json", json.dumps(record))
    with house.farm.database.begin() as session:
        advisories.import_archive(session, tmp_path / "all.zip", actor="ann")
    assert sift(house) == ([WHEEL], {SDIST: "malware"})


def test_licences_are_read_from_the_metadata_beside_the_file(house, upstream):
    metadata = b"Metadata-Version: 2.4\nName: gadget\nVersion: 1.0\nLicense-Expression: MIT\n"
    digest = hashlib.sha256(metadata).hexdigest()
    upstream.page("gadget", entry(WHEEL, **{"core-metadata": {"sha256": digest}}), entry(SDIST))
    upstream.put(f"/files/{WHEEL}.metadata", metadata)
    put_in_force(house, 'allow_licences = ["MIT"]')
    assert sift(house) == ([WHEEL], {SDIST: "licence"})
    put_in_force(house, 'deny_licences = ["MIT"]')
    assert sift(house)[1][WHEEL] == "licence"


def test_a_dry_run_says_what_would_change_and_changes_nothing(house):
    put_in_force(house, 'file_types = ["wheel"]')
    house.farm.upstream.rows("gadget")
    dry = house.farm.guard.dry_run("mirror", parse('deny = ["gadget<1.1"]'))
    assert (dry.files, dry.shown_now, dry.shown_then) == (2, 1, 1)
    assert [(one.filename, one.rule) for one in dry.hidden] == [(WHEEL, "deny")]
    assert [(one.filename, one.rule) for one in dry.opened] == [(SDIST, "file-type")]
    assert sift(house) == ([WHEEL], {SDIST: "file-type"})


def test_only_a_mirror_channel_has_a_policy(house):
    with house.farm.database.begin() as session, pytest.raises(Conflict) as caught:
        guarded.set_policy(session, "stable", parse(""), actor="ann")
    assert caught.value.code == "policy.channel"
    with pytest.raises(NotFound):
        house.farm.guard.sift("nothing", house.farm.upstream.rows("gadget"))
