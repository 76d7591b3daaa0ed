from __future__ import annotations

import pytest

from buildfarm.errors import InvalidInput
from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import Event, EventKind
from buildfarm.scm.reasons import Reason
from buildfarm.scm.rules import why_ignored

GENERIC = scm_for("generic")


def parse(body: bytes) -> Event:
    (event,) = GENERIC.parse({}, body)
    return event


def test_the_documented_push_is_understood(generic_push, as_body):
    assert parse(as_body(generic_push())) == Event(
        EventKind.PUSH,
        ref="refs/heads/main",
        commit="2" * 40,
        before="1" * 40,
        repository="acme/widget",
        actor="mira",
        title="Round the rim",
    )


def test_a_tag_announces_the_commit_it_leads_to(generic_push, as_body):
    event = parse(as_body(generic_push(ref="refs/tags/v1", commit="3" * 40)))

    assert (event.kind, event.commit) == (EventKind.TAG, "3" * 40)


def test_deletions_pings_and_unknown_types_say_why_they_are_ignored(generic_push, as_body):
    def why(body):
        return why_ignored(parse(as_body(body)))

    assert why(generic_push(after="0" * 40)) is Reason.BRANCH_DELETED
    assert why(generic_push(ref="refs/tags/v1", after=None)) is Reason.TAG_DELETED
    assert why({"type": "ping"}) is Reason.PING
    assert why({"type": "party"}) is Reason.EVENT_NOT_HANDLED
    assert why({}) is Reason.EVENT_NOT_HANDLED


def test_a_marker_in_title_or_message_skips_branches_and_never_tags(generic_push, as_body):
    def skips(**changes):
        return parse(as_body(generic_push(**changes))).skip

    assert skips(title="x [skip ci]")
    assert skips(message="x\n\n[skip ci]")
    assert not skips(message="x\n\n[skip ci]", ref="refs/tags/v1")


@pytest.mark.parametrize("missing", ["ref", "after"])
def test_a_push_without_its_ref_or_commit_is_unparsable(missing, generic_push, as_body):
    body = generic_push()
    del body[missing]

    with pytest.raises(InvalidInput) as refusal:
        parse(as_body(body))
    assert refusal.value.code == "hook.unparsable"


def test_an_unknown_scm_kind_is_refused_with_the_known_ones():
    with pytest.raises(InvalidInput, match="gitea, forgejo, bitbucket-data-center"):
        scm_for("cvs")
