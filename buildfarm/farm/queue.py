"""Hand-overs: putting a row's id where a worker will find it, and asking whether it is still there.

The one place in `buildfarm` that knows RQ. Redis may lose anything at any moment: nothing here is
truth, every call may be repeated, and a caller that gets `queue.unreachable` leaves the row to the
keeper. Facts about RQ 3 are in docs/adr/0004-queue.md.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import cast

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from rq import Queue
from rq.command import send_command
from rq.exceptions import DuplicateJobError
from rq.executions import Execution
from rq.job import Job, parse_job_id
from rq.registry import StartedJobRegistry
from rq.utils import as_text

from buildfarm.errors import ExternalFailure
from buildfarm.farm.wire import RUN_BUILD, RUN_TASK, Wire, rq_job_id

_TIMEOUT_S = 2.0


class Queues:
    """The farm's side of the queues. Connections are made when needed; instances survive a fork."""

    def __init__(self, redis_url: str, *, allow: Collection[str] = (RUN_TASK, RUN_BUILD)) -> None:
        self._redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=_TIMEOUT_S,
            socket_connect_timeout=_TIMEOUT_S,
            # A webhook waits for this: one try anew for a connection that went stale, no more.
            retry=Retry(NoBackoff(), 1),
        )
        self._wire = Wire(allow)

    def hand_over(
        self,
        queue: str,
        function: str,
        work_id: str,
        attempt: int,
        hand_over: int,
        *,
        timeout_s: int,
        first: bool = False,
    ) -> None:
        """Put one piece of work at the end of a queue, or first; once more is harmless.

        Args:
            queue: a control queue or a build queue.
            function: an allowed name, see `buildfarm.farm.wire`.
            work_id: id of the row.
            attempt: the row's attempt.
            hand_over: how often this attempt has been handed over, this time included.
            timeout_s: seconds after which RQ ends the function.
            first: whether it goes before what waits in the queue.

        Raises:
            ExternalFailure: Redis cannot be reached (`queue.unreachable`); the keeper will repair.
            InvalidInput: an unknown queue, or arguments that a worker would refuse.
        """
        job_id = rq_job_id(queue, work_id, attempt, hand_over)
        arguments = (work_id, attempt, hand_over)
        self._wire.dumps((function, None, arguments, {}))
        with _reaching_redis():
            try:
                self._queue(queue).enqueue_call(
                    function,
                    args=arguments,
                    timeout=timeout_s,
                    result_ttl=0,
                    description=job_id,
                    job_id=job_id,
                    unique=True,
                    at_front=first,
                )
            except DuplicateJobError:
                return

    def holds(self, queue: str, work_id: str, attempt: int, hand_over: int) -> bool:
        """Whether this hand-over still waits in its queue or runs on a worker that shows life.

        Between a worker's pop and its first note of the job, a few milliseconds, the answer is
        no: ask about rows that were handed over some time ago.

        Raises:
            ExternalFailure: Redis cannot be reached (`queue.unreachable`): nobody knows.
        """
        job_id = rq_job_id(queue, work_id, attempt, hand_over)
        with _reaching_redis():
            its_queue = self._queue(queue)
            # Read the list first: work moves from the list to the executions, never back.
            waits = self._redis.lpos(its_queue.key, job_id) is not None
            return (waits and bool(self._redis.exists(Job.key_for(job_id)))) or bool(
                self._executions(its_queue, job_id)
            )

    def withdraw(self, queue: str, work_id: str, attempt: int, hand_over: int) -> None:
        """Take a hand-over back: out of its queue, or by RQ's stop command if it runs.

        The command is not acknowledged and may be lost; the row's state is what ends work.

        Raises:
            ExternalFailure: Redis cannot be reached (`queue.unreachable`).
        """
        job_id = rq_job_id(queue, work_id, attempt, hand_over)
        with _reaching_redis():
            its_queue = self._queue(queue)
            executions = self._executions(its_queue, job_id)
            for execution in executions:
                send_command(self._redis, execution.worker_name, "stop-job", job_id=job_id)
            if not executions:
                with self._redis.pipeline() as pipeline:
                    pipeline.lrem(its_queue.key, 0, job_id)
                    pipeline.delete(Job.key_for(job_id))
                    pipeline.execute()

    def admit(self, username: str, acl: str) -> None:
        """Make or replace a login; `acl` is a line as in an ACL file, `user` and the name included.

        Raises:
            ExternalFailure: Redis cannot be reached (`queue.unreachable`).
        """
        with _reaching_redis():
            self._acl("SETUSER", username, *acl.split(" ")[2:])

    def expel(self, username: str) -> None:
        """End a login, and the connections that use it.

        Raises:
            ExternalFailure: Redis cannot be reached (`queue.unreachable`).
        """
        with _reaching_redis():
            self._acl("DELUSER", username)

    def users(self) -> set[str]:
        """The names that have a login.

        Raises:
            ExternalFailure: Redis cannot be reached (`queue.unreachable`).
        """
        with _reaching_redis():
            return {as_text(name) for name in cast("list[bytes]", self._acl("USERS"))}

    def ping(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(self._redis.ping())
        except redis.RedisError:
            return False

    def depths(self) -> dict[str, int]:
        """How many hand-overs wait in each queue that ever had one.

        Raises:
            ExternalFailure: Redis cannot be reached (`queue.unreachable`).
        """
        with _reaching_redis():
            names = sorted(queue.name for queue in Queue.all(self._redis))
            with self._redis.pipeline() as pipeline:
                for name in names:
                    pipeline.llen(self._queue(name).key)
                return dict(zip(names, cast("list[int]", pipeline.execute()), strict=True))

    def _acl(self, *words: str) -> object:
        return self._redis.execute_command("ACL", *words)  # type: ignore[no-untyped-call]

    def _queue(self, name: str) -> Queue:
        return Queue(name, connection=self._redis, serializer=self._wire)

    def _executions(self, queue: Queue, job_id: str) -> list[Execution]:
        """Executions of the job whose worker gave a sign of life before its time was up."""
        registry = StartedJobRegistry(queue=queue)
        members = cast("list[bytes]", self._redis.zrangebyscore(registry.key, time.time(), "+inf"))
        found = []
        for key in (member.decode() for member in members):
            if parse_job_id(key) == job_id:
                execution = Execution.from_composite_key(key, connection=self._redis)
                execution.worker_name = as_text(self._redis.hget(execution.key, "worker_name") or b"")
                found.append(execution)
        return found


@contextmanager
def _reaching_redis() -> Iterator[None]:
    try:
        yield
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise ExternalFailure(
            "The queue cannot be reached now.",
            code="queue.unreachable",
            hint="What was asked for is kept and handed over when the queue is back.",
        ) from error
