"""A farm with something in every state, for the tests of the pages and of the browser."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path

import farm_logs
import farm_requests
from farm_logs import FAILURE, HOSTILE
from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access import users
from buildfarm.bootstrap import Farm
from buildfarm.config import Limits, Settings
from buildfarm.db.engine import Database
from buildfarm.farm import logs
from buildfarm.farm.model import Artifact, Attempt, Build, Builder, Dependency, Image, Job
from buildfarm.farm.registry import add_builder
from buildfarm.farm.rules import State
from buildfarm.index import channels, names, promote, wheel_rules
from buildfarm.index.admission import Admission
from buildfarm.index.model import File, Release
from buildfarm.journal.model import JournalHead
from buildfarm.journal.record import append_recorded, record
from buildfarm.mirror.guard_model import WheelRule
from buildfarm.scm import connect, connections
from buildfarm.scm.model import Delivery
from buildfarm.scm.offered.model import OfferedRepository
from buildfarm.sources.model import Source
from buildfarm.storage.blobs import Blobs
from buildfarm.tables import Base
from buildfarm.waves.model import Member, Wave
from buildfarm.waves.rules import MemberState, WaveState

ADMIN, MEMBER, PASSWORD = "ada", "bob", "correct horse battery"
COMMIT = "83b4ac24535ca9a81c24298bd05082d472142fd0"
IMAGE = "sha256:" + "5f1c" * 16
TARGETS = [
    f"{python}-{platform}"
    for python in ("cp311", "cp312", "cp313")
    for platform in ("manylinux_2_28_x86_64", "musllinux_1_2_x86_64")
]


class _Unproved(Admission):
    """Lets everything pass: the files in here were never built and have no statements."""

    def demand(self, files: Sequence[File]) -> None:
        pass


@dataclass
class Seed:
    """Ids of what is there."""

    builds: dict[str, str] = field(default_factory=dict)
    failed_job: str = ""
    running_job: str = ""
    queued_job: str = ""
    good_job: str = ""
    retried_job: str = ""
    accepted: str = ""
    rejected: str = ""
    promotion: str = ""


def open_farm(folder: Path, url: str = "http://farm.example", **limits: int) -> Farm:
    """A farm over SQLite in the folder; no queue answers, which is allowed."""
    settings = Settings(
        data=folder, public_url=url, redis="redis://127.0.0.1:1/0", sources_allow_file=True,
        limits=Limits(**limits),
    )  # fmt: skip
    database = Database(settings.database_url, before_commit=append_recorded)
    farm = Farm(settings, database, Blobs(settings.blobs_dir))
    vars(farm)["admission"] = _Unproved(farm.blobs, settings.trust_dir, settings.public_url)
    return farm


def create(farm: Farm) -> None:
    """The tables, the ladder and two people of an empty farm."""
    Base.metadata.create_all(farm.database.engine)
    with farm.database.begin() as session:
        session.add(JournalHead(id=1, size=0))
        session.flush()
        channels.create_ladder(session)
        users.add_user(session, ADMIN, PASSWORD, is_admin=True, actor="test")
        users.add_user(session, MEMBER, PASSWORD, is_admin=False, actor="test")


def fill(farm: Farm) -> Seed:
    """Two sources, deliveries with verdicts, builds in every state, releases up to `staging`."""
    seed = Seed()
    metadata = {version: farm.blobs.put_bytes(_metadata(version)) for version in ("1.2.0", "1.3.0")}
    with farm.database.begin() as session:
        widget = _source(session, "widget", "https://ghe.example/acme/widget.git", "github", ["widget"])
        gadget = _source(session, "gadget", "https://gitlab.example/acme/gadget.git", "gitlab", ["gadget"])
        _source(session, "sprocket", "https://git.example/sprocket.git", "generic", [])
        _offered(session)
        builder, _ = add_builder(session, "builder-one", ["dev", "untrusted"], actor="test")
        builder.seen_at = clock.now()
        for platform in ("manylinux_2_28_x86_64", "musllinux_1_2_x86_64"):
            session.add(
                Image(
                    image_id="sha256:" + f"{len(platform):04x}" * 16, platform=platform, role="build",
                    suite="el8" if platform.startswith("many") else "alpine", registered_at=clock.now(),
                    interpreters=["cp311", "cp312", "cp313"],
                )
            )  # fmt: skip
        session.flush()
        _deliveries(session, seed, widget, gadget)
        _history(session, seed, widget, gadget, builder, metadata)
        farm_requests.add(session, widget, seed.builds["old1"], HOSTILE)
    with farm.database.begin() as session:
        promotion = promote.promote(
            session, project="widget", version="1.3.0", from_channel="dev", to_channel="staging", actor=ADMIN
        )
        seed.promotion = promotion.id
    with farm.database.begin() as session:
        channels.create_mirror(session)
        wheel_rules.put(
            session,
            WheelRule(
                name="science", channel="mirror", patterns=["num*"], newest=1, prereleases=False, daily=5,
                enabled=True, actor=ADMIN, changed_at=clock.now(),
            ),
        )  # fmt: skip
        _wave(session, seed)
    return seed


def _wave(session: Session, seed: Seed) -> None:
    """A wave that is through: widget has a new file in the candidate, gadget failed, top was not built."""
    channels.create_candidate(session, "wave-1", of="dev", actor=ADMIN)
    session.flush()
    release = session.scalars(select(Release).where(Release.project == "widget")).all()[-1]
    filename = release.files[0].filename
    record(
        session, "publish", project="widget", version=release.version, channel="wave-1",
        on_serial=channels.entering(session, "wave-1", [filename]),
    )  # fmt: skip
    build = seed.builds["published 1.3.0"]
    members = [
        ("widget", 1, MemberState.REBUILT, "was built with setuptools 80.9.0", [], None),
        ("gadget", 1, MemberState.FAILED, "was built with setuptools 80.9.0", [], "cp313: error: no parser"),
        ("sprocket", 2, MemberState.SKIPPED, "needs gadget", ["gadget"], "Not built, for gadget failed."),
    ]
    session.add(
        Wave(
            id="wave-1", number=1, trigger="project", subject="setuptools==81.0", channel="dev",
            state=WaveState.READY, actor=ADMIN, created_at=clock.now(), promotions=[],
            members=[
                Member(
                    project=project, version="1.2.0", level=level, is_first=level == 1, why=why,
                    waits_for=waits, seconds=95, state=state, build_id=build, reason=reason,
                    rebuild_id=None if state is MemberState.SKIPPED else build,
                )
                for project, level, state, why, waits, reason in members
            ],
        )
    )  # fmt: skip


def _source(session: Session, name: str, url: str, scm: str, projects: list[str]) -> Source:
    source, _ = connect.add_source(
        session, name, url, scm=scm, branches=["main", "release/*"], tier="dev", allow_file=False, actor=ADMIN
    )
    names.make_local(session, projects, source, actor=ADMIN)
    session.flush()
    session.refresh(source)
    source.created_at -= timedelta(days=40)
    for secret in source.secrets:
        secret.created_at = source.created_at
        secret.last_used_at = clock.now() - timedelta(minutes=30) if projects else None
    return source


def _offered(session: Session) -> None:
    """A connection, and what it told of."""
    made, _ = connections.add_connection(
        session, "acme", "https://ghe.example/acme", scm="github", branches=["main"], tier="dev", actor=ADMIN
    )
    states = {"offered": ["default"], "plain": [], "unreadable": [], "accepted": ["default"], "dismissed": []}
    for number, (state, recipes) in enumerate(states.items()):
        session.add(
            OfferedRepository(
                id=f"ofr_{state}", connection_id=made.id, path=f"acme/{state}-thing", ref="refs/heads/main",
                url=f"https://ghe.example/acme/{state}-thing.git", state=state, recipes=recipes,
                problem="The repository asks for credentials." if state == "unreadable" else None,
                told_at=clock.now() - timedelta(hours=number), looked_at=clock.now(),
            )
        )  # fmt: skip


def _deliveries(session: Session, seed: Seed, widget: Source, gadget: Source) -> None:
    rows = [
        (widget, "accepted", None, "push", "refs/heads/main", "Speed up parsing of long lists", True),
        (gadget, "ignored", "ref_not_followed", "push", "refs/heads/try/zstd", "Try zstd", True),
        (widget, "ignored", "ping", "ping", None, None, True),
        (gadget, "rejected", "signature_wrong", None, None, None, False),
        (widget, "accepted", None, "tag", "refs/tags/v1.3.0", HOSTILE, True),
    ]
    body = b'{"ref": "refs/heads/main", "repository": {"full_name": "acme/widget"}, "note": "<b>&amp;</b>"}'
    for index, (source, state, reason, kind, ref, title, ok) in enumerate(rows):
        key = f"dlv_{index:018d}"
        session.add(
            Delivery(
                id=key, source_id=source.id, key=f"key-{index}", scm=source.scm, state=state, reason=reason,
                received_at=clock.now() - timedelta(minutes=90 - 15 * index), kind=kind, ref=ref,
                commit=COMMIT if ref else None, actor="grace" if ok else None, title=title,
                headers={
                    "Content-Type": "application/json", "User-Agent": HOSTILE,
                    "X-Hub-Signature-256": "[masked]",
                },
                body=body, body_sha256=hashlib.sha256(body).hexdigest(),
                steps=[
                    {"name": "signature", "ok": ok, "detail": "X-Hub-Signature-256 matches secret sec_1"
                     if ok else "X-Hub-Signature-256 was made with another secret"},
                    {"name": "content type", "ok": True, "detail": "application/json"},
                ],
            )
        )  # fmt: skip
        seed.accepted = key if state == "accepted" else seed.accepted
        seed.rejected = key if state == "rejected" else seed.rejected


def _history(
    session: Session, seed: Seed, widget: Source, gadget: Source, builder: Builder, metadata: dict[str, str]
) -> None:
    numbers: dict[str, int] = {}

    def build(name: str, source: Source, state: State, minutes: int, took: int, **more: object) -> Build:
        number = numbers[source.id] = numbers.get(source.id, 0) + 1
        created = clock.now() - timedelta(minutes=minutes)
        over = state in {State.PUBLISHED, State.FAILED, State.CANCELLED}
        facts: dict[str, object] = {
            "trigger": "webhook:github", "ref": "refs/heads/main", "commit": COMMIT, "actor": "grace",
            "title": "Speed up parsing of long lists", "recipe_name": "default",
            "recipe_path": "pyproject.toml", "recipe_sha256": "7ec1" * 16,
            "snapshot_sha256": "50a9" * 16, "channel": "dev",
        }  # fmt: skip
        row = Build(
            id=f"bld_{len(seed.builds):018d}", number=number, source_id=source.id, state=state,
            created_at=created, started_at=None if state == State.QUEUED else created + timedelta(seconds=9),
            finished_at=created + timedelta(seconds=9 + took) if over else None, **(facts | more),
        )  # fmt: skip
        session.add(row)
        session.flush()
        seed.builds[name] = row.id
        return row

    for index in range(7):
        old = build(
            f"old{index}",
            widget,
            State.PUBLISHED if index % 3 else State.FAILED,
            9000 - index * 900,
            30 * 3 ** (index % 4),
        )
        _job(
            session,
            old,
            TARGETS[0],
            State(State.SUCCEEDED if old.state == State.PUBLISHED else State.FAILED),
            builder,
        )
    for version, minutes in (("1.2.0", 3000), ("1.3.0", 45)):
        good = build(
            f"published {version}", widget, State.PUBLISHED, minutes, 74, ref=f"refs/tags/v{version}",
            project="widget", version=version, delivery_id=seed.accepted, title=f"Release {version}",
        )  # fmt: skip
        jobs = [_job(session, good, target, State.SUCCEEDED, builder) for target in TARGETS]
        seed.good_job = jobs[0].id
        _say(session, jobs[0], farm_logs.GOOD)
        _publish(session, good, jobs, version, metadata[version])
    earlier = build("good", gadget, State.PUBLISHED, 60, 38, commit="4d1f" * 10, recipe_sha256="0dd1" * 16)
    went_well = _job(session, earlier, TARGETS[0], State.SUCCEEDED, builder)
    _read(session, went_well, setuptools="83.0.0", wheel="0.47.0", pytest="9.0.1")
    failed = build(
        "failed",
        gadget,
        State.FAILED,
        22,
        41,
        cause="user_code",
        title=HOSTILE,
        first_error=f"{TARGETS[0]}: {FAILURE}",
    )
    bad = _job(
        session,
        failed,
        TARGETS[0],
        State.FAILED,
        builder,
        cause="user_code",
        failure_class="missing-header",
        phase="build",
        first_error=FAILURE,
        error_line=13,
    )
    _say(session, bad, farm_logs.BAD)
    _read(session, bad, setuptools="84.2.1", wheel="0.47.0")
    _job(session, failed, TARGETS[2], State.SUCCEEDED, builder)
    _job(session, failed, TARGETS[4], State.CANCELLED, builder, required=False)
    seed.failed_job = bad.id
    build("cancelled", gadget, State.CANCELLED, 18, 5, first_error="Cancelled by ada.", trigger="manual")
    ended = {"cause": "user_code", "failure_class": "ref"}
    unplanned = "The repository has no such branch or tag (any more)."
    build("unplanned", gadget, State.FAILED, 15, 3, first_error=unplanned, commit=None, **ended)
    build("built", gadget, State.BUILT, 5, 0)
    running = build("running", widget, State.RUNNING, 1, 0, title="Read compressed lists")
    live = _job(session, running, TARGETS[0], State.RUNNING, builder, phase="build")
    _say(session, live, farm_logs.LIVE)
    seed.running_job = live.id
    seed.queued_job = _job(session, running, TARGETS[2], State.QUEUED, builder).id
    again = _job(session, running, TARGETS[4], State.RUNNING, builder, number=2, phase="deps")
    session.add(
        _attempt(
            again,
            builder,
            1,
            State.FAILED,
            {"cause": "infrastructure", "first_error": "The builder fell silent."},
        )
    )
    seed.retried_job = again.id
    build(
        "queued",
        gadget,
        State.QUEUED,
        0,
        0,
        commit=None,
        recipe_name=None,
        recipe_sha256=None,
        snapshot_sha256=None,
    )


def _job(
    session: Session,
    build: Build,
    target: str,
    state: State,
    builder: Builder,
    number: int = 1,
    **more: object,
) -> Job:
    began = build.started_at or build.created_at
    ran = state not in {State.QUEUED, State.WAITING}
    over = ran and state != State.RUNNING
    job = Job(
        id=f"job_{build.id[-6:]}{TARGETS.index(target):06d}", build_id=build.id, target=target, state=state,
        spec={"build_image": IMAGE, "test_image": IMAGE, "limits": {"seconds": 600}}, attempt=number,
        queue="build.manylinux-x86_64.dev.interactive", source_id=build.source_id, urgency=0,
        hand_over=1, created_at=build.created_at,
        started_at=began if ran else None, finished_at=(build.finished_at or clock.now()) if over else None,
        **({"required": True} | more),
    )  # fmt: skip
    session.add(job)
    session.flush()
    if ran:
        told = ("cause", "failure_class", "first_error", "error_line", "phase")
        outcome = {key: more.get(key) for key in told}
        session.add(_attempt(job, builder, number, state, outcome))
        session.flush()
    return job


def _attempt(job: Job, builder: Builder, number: int, state: State, outcome: dict[str, object]) -> Attempt:
    began = job.started_at or clock.now()
    return Attempt(
        job_id=job.id, number=number, builder_id=builder.id, token_digest=f"{job.id}-{number}", state=state,
        started_at=began, finished_at=None if state == State.RUNNING else job.finished_at or began,
        execution="native", log_bytes=0, log_lines=0, outcome=outcome,
    )  # fmt: skip


def say(
    session: Session, job_id: str, phase: str, text: str, at: datetime | None = None, number: int = 1
) -> None:
    """Let the attempt print."""
    attempt = session.get_one(Attempt, (job_id, number))
    moment = int((at or clock.now()).timestamp() * 1000)
    times = [moment + 130 * index for index in range(text.count("\n"))]
    logs.append(
        session,
        job_id,
        number,
        offset=attempt.log_bytes,
        phase=phase,
        text=text,
        times=times,
        max_bytes=2**30,
    )
    session.flush()


def _say(session: Session, job: Job, script: list[tuple[str, str]]) -> None:
    at = job.started_at or clock.now()
    for phase, text in script:
        say(session, job.id, phase, text, at, job.attempt)
        at += timedelta(seconds=0.4 + 0.13 * text.count("\n"))


def _read(session: Session, job: Job, **projects: str) -> None:
    for name, number in projects.items():
        session.add(
            Dependency(
                job_id=job.id, attempt=1, filename=f"{name}-{number}-py3-none-any.whl", sha256="e1" * 32,
                ecosystem="pypi", project=name, version=number, origin=f"https://index.example/simple/{name}/",
                served_at=clock.now(),
            )
        )  # fmt: skip


def _metadata(version: str) -> bytes:
    kind, text = "text/markdown", f"# Widget\n\nLists, [all of it](https://widget.example). {HOSTILE}"
    if version == "1.3.0":
        kind, text = "text/x-rst", "* a\nb\n"
    head = f"Metadata-Version: 2.4\nName: widget\nVersion: {version}\nDescription-Content-Type: {kind}\n"
    return f"{head}\n{text}".encode()


def _publish(session: Session, build: Build, jobs: list[Job], version: str, metadata: str) -> None:
    release = Release(
        id=f"rel_{version}", project="widget", version=version, summary="Lists with fast parsing.",
        created_at=build.finished_at or clock.now(),
    )  # fmt: skip
    session.add(release)
    session.flush()
    for index, job in enumerate(jobs):
        python, _, platform = job.target.partition("-")
        filename = f"widget-{version}-{python}-{python}-{platform}.whl"
        sha256 = f"{index}{version.replace('.', '')}{'c4f7e19a2b5d8063' * 4}"[:64]
        session.add(
            Artifact(job_id=job.id, attempt=1, filename=filename, sha256=sha256, size=143_212 + 977 * index)
        )
        session.add(
            File(
                filename=filename, release_id=release.id, sha256=sha256, size=143_212 + 977 * index,
                requires_python=">=3.11", uploaded_at=build.finished_at or clock.now(), build_id=build.id,
                job_id=job.id, attempt=1, provenance_sha256="f0" * 32, rules_version=3, check_ms=12,
                check_tools={"packaging": "26.3"},
                refused=f"Z-01: {HOSTILE}" if version == "1.3.0" else None,
                findings=[{"rule": "N-06", "text": HOSTILE, "entry": ""}], metadata_sha256=metadata,
            )
        )  # fmt: skip
        _read(session, job, setuptools="84.2.1", wheel="0.47.0")
    session.flush()
    entering = channels.entering(session, "dev", [file.filename for file in release.files])
    record(session, "publish", project="widget", version=version, on_serial=entering)
