"""A long queue: what a free builder waits for its next job, what the farm's processes hold, how pages answer.

The jobs are rows for a platform that no builder of the farm serves; the free builder is this process.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import redis
import requests
from sqlalchemy import insert

from bench.farm.stand import Stand
from bench.row import Row
from buildfarm import bootstrap, clock
from buildfarm.bootstrap import Farm
from buildfarm.config import Settings
from buildfarm.farm import builds, jobs, registry
from buildfarm.farm.handover import hand_over_waiting
from buildfarm.farm.model import Build, Job
from buildfarm.farm.rules import State
from buildfarm.farm.wire import RUN_BUILD, Wire
from buildfarm.ids import new_id
from buildfarm.scm import connect
from buildfarm.sources.model import Source
from tests.tour.stage import farm
from workers.intake import FarmJob, FarmQueue

FEW, MANY = 1_000, 10_000
QUEUE = "build.bench-x86_64.dev.interactive"
_JOBS_OF_A_BUILD = 10
_TAKEN = 200
_ASKED = 30
_SPEC = {
    "build_image": "sha256:" + "1" * 64,
    "source_sha256": "c" * 64,
    "source_date_epoch": 1_700_000_000,
    "limits": {"seconds": 600, "output_bytes": 1 << 20, "output_count": 20},
}
COMMAND = "a builder's pop and claim at a farm of `buildfarm up` (bench/farm/queued.py)"


def rows(stand: Stand) -> Iterator[Row]:
    """Dispatch, pages and memory with ten thousand jobs queued; the peer's column is our own thousand."""
    folder = stand.folder / "queued"
    folder.mkdir()
    with farm(folder) as ready:
        crowd = Crowd(folder / "farm", ready)
        crowd.fill(FEW)
        few = crowd.measured()
        crowd.fill(MANY - FEW + _TAKEN)
        many = crowd.measured()
    about = f"{FEW} queued"
    dispatch = sorted(many.pop("dispatch"))
    yield Row("queue.dispatch_p99", "s", [dispatch[int(0.99 * len(dispatch))]], COMMAND, [], goal=0.5)
    yield Row("queue.dispatch", "s", dispatch, COMMAND, few.pop("dispatch"), about)
    for name, values in many.items():
        if name.startswith("/"):
            yield Row(f"queue.page{name.replace('/', '_')}", "s", values, COMMAND, [], goal=0.2)
        else:
            yield Row(f"queue.{name}", "RSS MiB", values, COMMAND, few[name], about, goal=1.1)


class Crowd:
    """A running farm, a source with many jobs, and a builder that takes them one by one."""

    def __init__(self, data: Path, ready: dict[str, str]) -> None:
        self._data, self._url = data, ready["url"]
        self._admin = requests.Session()
        self._admin.auth = ("__token__", ready["admin_token"])
        settings = Settings.model_validate_json((data / "run" / "settings.json").read_text())
        self._farm: Farm = bootstrap.farm(settings)
        with self._farm.database.begin() as session:
            source, _ = connect.add_source(
                session, "crowd", "https://git.example/crowd.git", scm="generic", branches=[], tier="dev",
                allow_file=False, actor="bench",
            )  # fmt: skip
            self._source_id = source.id
            _, token = registry.add_builder(session, "bench", ["dev"], actor="bench")
        self._builder = requests.Session()
        self._builder.headers["Authorization"] = f"Bearer {token}"
        self._redis = redis.Redis.from_url(settings.redis)
        self._wire = Wire({RUN_BUILD})
        self._queue = FarmQueue(QUEUE, connection=self._redis, serializer=self._wire, job_class=FarmJob)

    def fill(self, count: int) -> None:
        """Queue so many more jobs and hand them over."""
        for _ in range(count // _JOBS_OF_A_BUILD):
            with self._farm.database.begin() as session:
                self._add_build(session.get_one(Source, self._source_id), session)
        while hand_over_waiting(self._farm.database, self._farm.queues):
            pass

    def measured(self) -> dict[str, list[float]]:
        """Seconds of each hand-over and page; resident memory of processes."""
        dispatch = [self._take() for _ in range(_TAKEN)]
        pages = {path: [self._page(path) for _ in range(_ASKED)] for path in ("/queue", "/builds")}
        return {"dispatch": dispatch, **pages, **self._memory()}

    def _add_build(self, source: Source, session: builds.Session) -> None:
        build = Build(
            id=new_id("bld"), number=builds.next_number(session, source.id), source_id=source.id,
            trigger="bench", fresh=True, ref="refs/heads/main", commit="a" * 40, channel="dev",
            state=State.QUEUED, created_at=clock.now(),
        )  # fmt: skip
        session.add(build)
        session.flush()
        values = jobs.queued_values(source.id, QUEUE, clock.now())
        values |= {"build_id": build.id, "required": True, "spec": _SPEC}
        rows = [{"id": new_id("job"), "target": f"target{n}"} for n in range(_JOBS_OF_A_BUILD)]
        session.execute(insert(Job), [values | row for row in rows])

    def _take(self) -> float:
        """Take a job as a builder's worker does, and give it back failed; seconds until it was in hand."""
        began = time.perf_counter()
        popped = FarmQueue.dequeue_any([self._queue], 10, self._redis, FarmJob, self._wire)
        if popped is None:
            raise SystemExit("bench: the queue is empty")
        work_id, attempt, _ = popped[0].args
        claimed = self._post("claim", self._builder.headers, {"job": work_id, "attempt": attempt})
        taken = time.perf_counter() - began
        token = {"Authorization": f"Bearer {claimed['token']}"}
        self._post("attempt/finish", token, {"state": "failed", "cause": "user_code"})
        return taken

    def _post(self, path: str, headers: object, body: dict[str, object]) -> dict[str, str]:
        answer = self._builder.post(f"{self._url}/jobapi/v1/{path}", json=body, headers=headers, timeout=30)  # type: ignore[arg-type]
        if answer.status_code != 200:
            raise SystemExit(f"bench: {path}: {answer.status_code} {answer.text[:300]}")
        return answer.json()  # type: ignore[no-any-return]

    def _page(self, path: str) -> float:
        began = time.perf_counter()
        answer = self._admin.get(f"{self._url}{path}", headers={"Accept": "text/html"}, timeout=30)
        answer.raise_for_status()
        return time.perf_counter() - began

    def _memory(self) -> dict[str, list[float]]:
        status = json.loads((self._data / "run" / "status.json").read_text())
        pids = {child["name"]: child["pid"] for child in status["children"]}
        return {name: [sum(map(_rss_mib, _tree(pids[name])))] for name in ("web", "keeper", "redis")}


def _tree(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(one for child in children for one in _tree(int(child)))]


def _rss_mib(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024
