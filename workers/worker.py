"""The farm's RQ worker: RQ's loop, with what the farm needs to be different.

Two corrections (docs/adr/0004-queue.md): a stop never interrupts a pop, and the *horse*, the forked
process that runs a function, dies with its parent. And an outage of Redis neither ends the worker
nor the work it is doing: RQ's own bookkeeping is worth less than a build.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import redis
from redis.backoff import ExponentialBackoff
from redis.client import PubSubWorkerThread
from redis.retry import Retry
from rq import Queue, Worker
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.utils import import_attribute, now
from rq.worker.base import DequeueStrategy
from rq.worker_registration import clean_worker_registry

from buildfarm import log
from buildfarm.errors import EnvironmentProblem
from buildfarm.farm.wire import Wire
from buildfarm.processes import die_with_parent
from workers.intake import FarmJob, FarmQueue

if TYPE_CHECKING:
    from resource import struct_rusage

#: Told of (work id, attempt) whose horse was killed; must not raise.
OnLost = Callable[[str, int], None]
#: Called when a horse has ended; must not raise.
OnOver = Callable[[], None]
#: Called before each pop, about once in a second: the names of the queues to pop from now, or None for all.
#: Must not raise, and should be brief.
OnIdle = Callable[[], Collection[str] | None]

_logger = log.get(__name__)

_OUTAGE = (redis.ConnectionError, redis.TimeoutError)
# RQ pops for `worker_ttl - 15` seconds; a stop takes effect between two pops.
_WORKER_TTL_S = 16
_MONITORING_S = 2
_MAINTENANCE_S = 60
_SILENCE_S = 10


class FarmWorker(Worker):
    """Pops hand-overs and runs each in a process of its own.

    Args:
        queues: names, the most urgent first.
        connection: a Redis connection of the worker's own.
        wire: knows the functions that may run.
        name: begins the worker's name in Redis; a builder's login covers the names of its user.
        on_lost: called in this process when a horse was killed, so that nobody has to wait for the
            lease of its work to lapse.
        on_idle: called in this process whenever it is about to wait for work; says in which queues.
        on_over: called in this process when a horse has ended, however it did.
    """

    queue_class = FarmQueue
    job_class = FarmJob
    max_connection_wait_time = 2.0

    def __init__(
        self,
        queues: Sequence[str],
        connection: redis.Redis,
        *,
        wire: Wire,
        name: str,
        on_lost: OnLost = lambda _work_id, _attempt: None,
        on_idle: OnIdle = lambda: None,
        on_over: OnOver = lambda: None,
    ) -> None:
        self._on_over = on_over
        self._on_lost = on_lost
        self._on_idle = on_idle
        self._horse_status = 0
        self._farm_queues = [FarmQueue(queue, connection=connection, serializer=wire) for queue in queues]
        super().__init__(
            self._farm_queues,
            name=f"{name}.{uuid.uuid4().hex[:12]}",
            connection=connection,
            worker_ttl=_WORKER_TTL_S,
            job_monitoring_interval=_MONITORING_S,
            maintenance_interval=_MAINTENANCE_S,
            log_job_description=False,
            disable_default_exception_handler=True,  # that is RQ's record of failures
        )
        self._parent_pid = os.getpid()
        self.serializer = wire  # RQ's constructor takes classes only

    # -- stopping --------------------------------------------------------------------------------

    def _shutdown(self) -> None:
        """Called by RQ's signal handler: note the wish; the loop sees it before its next pop."""
        self._stop_requested = True
        for queue in self._farm_queues:
            queue.stopping = True

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """The horse's first act: to be killed when its parent ends, however that happens."""
        die_with_parent(self._parent_pid)
        super().main_work_horse(job, queue)

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill the horse's process group, once it has one.

        RQ asks for the group of `horse_pid`, which is the worker's own until the fork has happened
        and for a moment after it: a stop command in that moment would kill the worker.
        """
        with contextlib.suppress(ProcessLookupError):
            if self.horse_pid and os.getpgid(self.horse_pid) == self.horse_pid:
                super().kill_horse(sig)
            elif self.horse_pid:
                os.kill(self.horse_pid, sig)

    def unsubscribe(self) -> None:
        """Leave the command channel; in this order its thread wakes up and ends without a second's wait."""
        thread = cast("PubSubWorkerThread | None", self.pubsub_thread)
        if thread is not None:
            thread.stop()
            thread.pubsub.unsubscribe()
            thread.join(timeout=1)

    def handle_payload(self, message: Mapping[str, Any]) -> None:
        """Obey the one command the farm sends; others, and what is no command, change nothing.

        RQ kills the horse with SIGKILL. Ours gets SIGTERM: a build then asks the farm whether it shall
        end, and does so in good order; everything else dies of it.
        """
        try:
            payload = json.loads(message["data"])
            job_id = payload["job_id"] if payload["command"] == "stop-job" else None
        except (ValueError, KeyError, TypeError):
            job_id = None
        if not isinstance(job_id, str):
            _logger.warning("worker.command_refused")
            return
        if any(execution.job_id == job_id for execution in list(self.executions.values())):
            self.kill_horse(signal.SIGTERM)

    # -- work ------------------------------------------------------------------------------------

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Run one job in a horse, and outlive an outage of Redis while doing so."""
        began = time.monotonic()
        self._horse_status = 0
        try:
            super().execute_job(job, queue)
        except _OUTAGE as error:
            # Not begun, or over and told to the farm already: either way RQ's note of it is lost.
            self.executions.clear()
            self._stopped_job_id = None
            _logger.warning("worker.note_lost", job=job.id, reason=type(error).__name__)
        _logger.info(
            "worker.job_over", job=job.id, queue=queue.name, seconds=round(time.monotonic() - began, 3)
        )
        if os.WIFSIGNALED(self._horse_status):
            work_id, attempt, _hand_over = job.args
            _logger.warning("worker.horse_killed", job=job.id, signal=os.WTERMSIG(self._horse_status))
            self._on_lost(work_id, attempt)
        self._on_over()

    def wait_for_horse(self) -> tuple[int | None, int | None, struct_rusage | None]:
        """Wait for the horse's end, and remember what it was."""
        ended = super().wait_for_horse()
        self._horse_status = ended[1] or 0
        return ended

    def handle_job_failure(
        self,
        job: Job,
        queue: Queue,
        started_job_registry: StartedJobRegistry | None = None,
        exc_string: str = "",
        execution: Execution | None = None,
    ) -> None:
        """Leave nothing of a failed job: the row in SQL and the log have it, tracebacks tell secrets."""
        super().handle_job_failure(job, queue, started_job_registry, exc_string, execution)
        self.connection.delete(job.key)

    def run_maintenance_tasks(self) -> None:
        """Sweep up what dead workers left of these queues.

        RQ's own sweep would also act on the content of keys that the farm never writes.
        """
        with _outliving_outage():
            for queue in self._farm_queues:
                if not queue.acquire_maintenance_lock():
                    continue
                started = StartedJobRegistry(queue=queue)
                moment = time.time()
                with self.connection.pipeline() as pipeline:
                    for job_id in started.get_expired_job_ids(moment):
                        pipeline.delete(FarmJob.key_for(job_id))
                    pipeline.zremrangebyscore(started.key, 0, moment)
                    pipeline.execute()
                clean_worker_registry(queue)
                queue.release_maintenance_lock()  # type: ignore[no-untyped-call]
        self.last_cleaned_at = now()  # type: ignore[assignment]

    def check_for_suspension(self, burst: bool) -> None:
        """The farm has no use for `rq suspend`; asking Redis for it would be one more way to fail."""

    def get_heartbeat_ttl(self, job: Job, working_time: float = 0.0) -> int:
        """How long what runs here counts as held after a sign of life, in seconds (RQ: a minute more).

        When this process dies between its pop and the claim, the keeper waits for so long.
        """
        return _MONITORING_S + _SILENCE_S

    # -- outages ---------------------------------------------------------------------------------

    def heartbeat(self, timeout: int | None = None, pipeline: redis.client.Pipeline | None = None) -> None:
        """A sign of life; one that cannot be given is given later."""
        with _outliving_outage():
            super().heartbeat(timeout, pipeline)
        if timeout is None and pipeline is None:  # how RQ calls it before a pop
            chosen = self._on_idle()
            for queue in self._farm_queues:
                queue.resting = chosen is not None and queue.name not in chosen

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        """Signs of life of worker, execution and job while a horse runs."""
        with _outliving_outage():
            super().maintain_heartbeats(job, execution)

    def set_state(self, state: str, pipeline: redis.client.Pipeline | None = None) -> None:
        """The state shown by RQ's tools."""
        with _outliving_outage():
            super().set_state(state, pipeline)

    def teardown(self) -> None:
        """Say goodbye, if there is anybody to say it to; the worker's keys expire by themselves."""
        with _outliving_outage():
            super().teardown()  # type: ignore[no-untyped-call]


def run_worker(
    queues: Sequence[str],
    redis_url: str,
    allow: Collection[str],
    *,
    name: str,
    on_lost: OnLost = lambda _work_id, _attempt: None,
    on_idle: OnIdle = lambda: None,
    on_over: OnOver = lambda: None,
    in_turn: bool = False,
) -> int:
    """Work until SIGTERM or SIGINT, finishing what runs; a second signal ends that too.

    Args:
        queues: names, the most urgent first.
        redis_url: as redis-py takes it, with the login that covers these queues.
        allow: dotted names of the functions that may run. They are imported here, once: a horse
            forks from this process and finds everything loaded.
        name: begins the worker's name; for a builder its Redis user, else the process's role.
        on_lost: see `FarmWorker`.
        on_idle: likewise.
        on_over: likewise.
        in_turn: look into the next queue after each piece of work, so that none of them waits for ever.

    Returns:
        Exit code: 0 after a stop that was asked for, 1 when Redis was lost at the start.

    Raises:
        EnvironmentProblem: an allowed function cannot be imported (`worker.no_function`).
    """
    for function in allow:
        try:
            import_attribute(function)
        except (ImportError, ValueError, AttributeError) as error:
            raise EnvironmentProblem(
                f"The worker's function {function} cannot be imported: {error}.", code="worker.no_function"
            ) from error
    for logger in ("rq.worker", "rq.job"):
        logging.getLogger(logger).setLevel(logging.WARNING)  # importing them sets INFO
    connection = redis.Redis.from_url(
        redis_url, socket_connect_timeout=2.0, retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), 3)
    )
    try:
        worker = FarmWorker(
            queues, connection, wire=Wire(allow), name=name, on_lost=on_lost, on_idle=on_idle, on_over=on_over
        )
        _logger.info("worker.started", worker=worker.name, queues=list(queues))
        worker.work(dequeue_strategy=DequeueStrategy.ROUND_ROBIN if in_turn else DequeueStrategy.DEFAULT)
    except _OUTAGE as error:
        _logger.error("worker.no_redis", reason=str(error))
        return 1
    _logger.info("worker.ended", worker=worker.name)
    return 0 if worker._stop_requested else 1


@contextlib.contextmanager
def _outliving_outage() -> Iterator[None]:
    try:
        yield
    except _OUTAGE as error:
        _logger.warning("worker.redis_outage", reason=type(error).__name__)
