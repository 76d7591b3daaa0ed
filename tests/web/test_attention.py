"""What a source's page asks a person to look at."""

from dataclasses import replace

import farm_seed
import pytest

from buildfarm.farm.show import list_builds
from buildfarm.scm.show import list_deliveries
from buildfarm.sources.show import source_detail
from webapp.pages.attention import notices


@pytest.fixture
def known(house):
    def look(name):
        with house.farm.database.read() as session:
            source = source_detail(session, name)
            return source, list_builds(session, source=name)[0], list_deliveries(session, source=name)[0]

    return look


def test_a_healthy_source_needs_nothing(known):
    assert notices(*known("widget")) == []


def test_a_rejected_delivery_and_a_failed_build_come_first_with_their_remedies(known):
    first, second = notices(*known("gadget"))
    assert "The last delivery was rejected" in first.sentence
    assert "Copy the secret" in first.remedy
    assert "failed" in second.sentence


def test_a_new_source_is_told_what_is_missing(known):
    sentences = [one.sentence for one in notices(*known("sprocket"))]
    assert sentences == ["This source may publish no project.", "No delivery has come so far."]


def test_a_rotation_that_was_not_carried_into_the_scm_is_noticed(known):
    source, builds, deliveries = known("widget")
    fresh = replace(source.secrets[0], id="sec_new", last_used_at=None)
    rotated = replace(source, secrets=(*source.secrets, fresh))
    (notice,) = notices(rotated, builds, deliveries)
    assert "nothing was signed with it" in notice.sentence


def test_without_a_secret_nothing_can_come(known):
    source, builds, deliveries = known("widget")
    (notice,) = notices(replace(source, secrets=()), builds, deliveries)
    assert "no live secret" in notice.sentence
    assert farm_seed.ADMIN not in notice.remedy
