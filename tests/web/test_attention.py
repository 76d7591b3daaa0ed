"""What a source's page asks a person to look at."""

from dataclasses import replace

import farm_seed
import pytest

from buildfarm.farm.show import list_builds
from buildfarm.scm.instep import steps_of
from buildfarm.scm.show import list_deliveries
from buildfarm.sources.show import source_detail
from webapp.pages.attention import notices


@pytest.fixture
def known(house):
    def look(name):
        with house.farm.database.read() as session:
            source = source_detail(session, name)
            step = steps_of(session, [source.id])[source.id]
            builds, _ = list_builds(session, source=name)
            deliveries, _ = list_deliveries(session, source=name)
            return source, step, builds, deliveries

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
    remedies = [notices(*known("sprocket"), has_token=can)[-1].remedy for can in (False, True)]
    assert remedies == [
        "Enter the hook's URL and secret in the SCM, then push.",
        "Install the hook below, then push.",
    ]


def test_a_rotation_that_was_not_carried_into_the_scm_is_noticed(known):
    source, step, builds, deliveries = known("widget")
    fresh = replace(source.secrets[0], id="sec_new", last_used_at=None)
    rotated = replace(source, secrets=(*source.secrets, fresh))
    (notice,) = notices(rotated, step, builds, deliveries)
    assert "nothing was signed with it" in notice.sentence


def test_without_a_secret_nothing_can_come(known):
    source, step, builds, deliveries = known("widget")
    (notice,) = notices(replace(source, secrets=()), step, builds, deliveries)
    assert "no live secret" in notice.sentence
    assert farm_seed.ADMIN not in notice.remedy


def test_refusals_in_a_row_of_a_hook_that_worked_are_counted(known):
    source, step, builds, deliveries = known("gadget")
    assert step.refusals == 1
    first, *_ = notices(source, replace(step, refusals=3), builds, deliveries)
    assert "The last 3 deliveries were rejected, though earlier ones were taken." in first.sentence


def test_what_the_sweep_found_and_a_repository_that_is_away_are_said(known):
    source, step, builds, deliveries = known("widget")
    found = replace(deliveries[0], state="accepted", reason="found_by_sweep")
    away, sweep = notices(source, replace(step, problem="It is away."), builds, [found, *deliveries])
    assert "It is away." in away.sentence
    assert "found by sweep" in sweep.sentence
