"""What a worker takes from Redis: the few fields the farm writes, and nothing that names code.

Besides the payload, RQ's job hash can name functions (callbacks), addresses (webhooks) and other
jobs (dependencies, retries, groups), and RQ obeys whatever stands there. A builder's Redis login
may write such hashes, so they are read with a closed list of fields.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import cast

from redis import Redis
from rq import Queue
from rq.exceptions import DequeueTimeout, NoSuchJobError, StopRequested
from rq.job import Job
from rq.serializers import Serializer
from rq.timeouts import BaseDeathPenalty

from buildfarm import log
from buildfarm.farm.wire import Wire

_logger = log.get(__name__)

_FIELDS = frozenset(
    b"data origin created_at enqueued_at started_at ended_at last_heartbeat status worker_name"
    b" timeout result_ttl".split()
)
# Compressed; the payload itself is limited by `Wire`, this is for what unpacks to a great size.
_LONGEST_DATA = 1024
_REST_S = 1.0


class FarmJob(Job):
    """A job read with suspicion: one that the farm did not write counts as absent."""

    def restore(self, raw_data: Mapping[bytes, bytes]) -> None:
        """Take the known fields and check the payload.

        Raises:
            NoSuchJobError: if anything is odd. RQ passes over such jobs, the worker goes on.
        """
        if not isinstance(self.serializer, Wire):
            raise TypeError("A farm job is read with the farm's serializer, or not at all.")
        try:
            if len(raw_data.get(b"data", b"")) > _LONGEST_DATA:
                raise ValueError("data too long")
            super().restore({name: value for name, value in raw_data.items() if name in _FIELDS})
            self._deserialize_data()  # type: ignore[no-untyped-call]
        except NoSuchJobError:
            raise
        except Exception as error:
            cause = error.__cause__ or error
            _logger.warning("queue.job_refused", job=self.id, reason=f"{type(cause).__name__}: {cause}")
            raise NoSuchJobError(f"Job {self.id} was refused.") from error


class FarmQueue(Queue):
    """A queue whose pop is never interrupted and leaves no half-taken work behind.

    One way to pop for one queue and for many: RQ moves work of a single queue through an
    "intermediate" list, where after a crash it seems to be held for ten minutes and more. Work lost
    between pop and start is simply absent, which the keeper sees at once.
    """

    job_class = FarmJob
    #: Set on the queues of one worker when it was told to stop.
    stopping = False
    #: Set on those from which it may take no work now.
    resting = False

    @classmethod
    def dequeue_any(
        cls,
        queues: Iterable[Queue],
        timeout: int | None,
        connection: Redis,
        job_class: type[Job] | None = None,
        serializer: Serializer | str | None = None,
        death_penalty_class: type[BaseDeathPenalty] | None = None,
    ) -> tuple[Job, Queue] | None:
        """Pop from the first queue that has work, unless the worker was told to stop.

        Raises:
            StopRequested: before the pop. Raised during it, as RQ does, it would drop work that is
                on its way already; raised after it, work that has come.
            DequeueTimeout: nothing came in time, or the worker rests.
        """
        listed = list(queues)
        while True:
            if any(isinstance(queue, FarmQueue) and queue.stopping for queue in listed):
                raise StopRequested
            awake = [queue for queue in listed if not (isinstance(queue, FarmQueue) and queue.resting)]
            if not awake:
                time.sleep(_REST_S)
                raise DequeueTimeout(_REST_S, [queue.key for queue in listed])
            try:
                return super().dequeue_any(
                    awake, timeout, connection, job_class, serializer, death_penalty_class
                )
            except ValueError as error:  # an id that cannot be one, or is not UTF-8
                _logger.warning("queue.entry_refused", reason=type(error).__name__)

    @classmethod
    def lmove(cls, connection: Redis, queue_key: str, timeout: int | None) -> tuple[str, bytes] | None:
        """RQ's pop for a worker with a single queue: the same as for many."""
        return cast("tuple[str, bytes] | None", cls.lpop([queue_key], timeout, connection=connection))
