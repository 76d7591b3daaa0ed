"""Pull requests on the command line: which are open, and leave for one commit of a fork."""

import pytest
from sqlalchemy import select

from buildfarm import clock
from buildfarm.sources.model import PullRequest, Source

HEAD = "f0" * 20


@pytest.fixture
def fork(full) -> None:
    """Request 18 of the source widget, from a fork."""
    with full.farm.database.begin() as session:
        source = session.scalars(select(Source).where(Source.name == "widget")).one()
        source.pull_requests = "approved"
        session.add(
            PullRequest(
                id="pul_18", source_id=source.id, number=18, title="Round the rim", author="mallory",
                ref="refs/pull/18/head", base="refs/heads/main", head=HEAD, head_repository="mallory/widget",
                is_fork=True, opened_at=clock.now(),
            )
        )  # fmt: skip


def test_a_request_is_listed_approved_and_then_waits_no_more(fork, run):
    listed = run("source", "pull-requests", "widget")
    assert listed.code == 0
    assert "mallory/widget" in listed.out
    assert "approval" in listed.out
    told = run("source", "approve", "widget", "18", HEAD)
    assert told.code == 0
    assert told.out.startswith(f"Approved {HEAD}: build bld_")
    assert told.out.endswith("goes to pr-widget-18.\n")
    (row,) = run("source", "pull-requests", "widget", "--json").json["items"]
    assert (row["needs_approval"], row["approvals"][0]["commit"]) == (False, HEAD)


@pytest.mark.parametrize(
    ("number", "commit", "code", "says"),
    [("18", "e1" * 20, 1, "Somebody pushed meanwhile"), ("18", HEAD[:12], 2, "full lower-case id"),
     ("19", HEAD, 1, "No delivery told of"), ("0", HEAD, 2, "Invalid value")],
)  # fmt: skip
def test_what_cannot_be_approved_ends_with_a_sentence(fork, run, number, commit, code, says):
    ended = run("source", "approve", "widget", number, commit)
    assert (ended.code, says in ended.err) == (code, True), ended.err
