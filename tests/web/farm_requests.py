"""Pull requests of the seeded farm: one of its own with a stage, one of a fork that waits for approval."""

from datetime import timedelta

from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.farm.model import Build
from buildfarm.index.model import Channel, StageFile
from buildfarm.sources.model import PullRequest, Source

WAITING = "f0" * 20


def add(session: Session, widget: Source, build_id: str, title: str) -> None:
    """Requests 17, of which the build is, and 18."""
    now = clock.now()
    same = {
        "source_id": widget.id,
        "title": title,
        "author": "mira",
        "base": "refs/heads/main",
        "opened_at": now,
    }
    own = PullRequest(
        id="pul_17", number=17, ref="refs/pull/17/head", head="e1" * 20, head_repository="acme/widget",
        is_fork=False, stage="pr-widget-17", stage_until=now + timedelta(days=14), **same,
    )  # fmt: skip
    fork = PullRequest(
        id="pul_18", number=18, ref="refs/pull/18/head", head=WAITING, head_repository="mallory/widget",
        is_fork=True, **same,
    )  # fmt: skip
    widget.pull_requests = "approved"
    session.add_all([own, fork])
    session.add(Channel(name="pr-widget-17", kind="stage", rank=-1, public=False, parts=["dev", "mirror"]))
    session.flush()
    build = session.get_one(Build, build_id)
    build.pull_request_id, build.channel, build.ref = own.id, "pr-widget-17", own.ref
    build.project, build.version = "widget", "1.4.0.dev1"
    session.add(
        StageFile(
            stage="pr-widget-17", filename="widget-1.4.0.dev1-py3-none-any.whl", project="widget",
            version="1.4.0.dev1", sha256="d" * 64, size=4_000, findings=[], since=1, built_at=now,
            build_id=build_id, job_id="job_of_request",
        )
    )  # fmt: skip
