"""What travels through RQ, and under which names: an allowed function, a work id, two numbers.

Whoever can write to Redis can put bytes where a worker looks for a job. With RQ's own serializers,
pickle and JSON, such bytes run any code: pickle by itself, JSON by naming any importable function.
This one knows a closed list of names and the grammar of the arguments, and refuses all else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence

from buildfarm.errors import InvalidInput

#: Function that control workers run, by dotted name.
RUN_TASK = "workers.tasks.run_task"
#: Function that builders run, by dotted name.
RUN_BUILD = "workers.builds.run_build"

#: How soon a job is wanted, the most urgent first: somebody waits for it, a release, nobody waits for it.
CLASSES = ("interactive", "release", "background")
#: `build.<platform>-<arch>.<tier>.<class>`
BUILD_QUEUE = re.compile(
    rf"(build\.[a-z0-9]+-[a-z0-9_]+\.(?:release|dev|untrusted))\.({'|'.join(CLASSES)})", re.ASCII
)
CONTROL_QUEUES = ("fetch", "plan", "publish", "notify", "mirror")
#: Those of them that builds wait for; none of `notify` does, which may take long.
BUILDING_QUEUES = tuple(name for name in CONTROL_QUEUES if name != "notify")

# More than the longest honest payload, far less than a payload that hurts.
_LONGEST = 512
_WORK_ID = re.compile(r"[a-z]{2,4}_[0-9a-z]{10,30}", re.ASCII)
_HIGHEST = 1_000_000


def queues_of_slot(prefixes: Sequence[str], slot: int, slots: int) -> list[str]:
    """The build queues of one of a host's slots, in the order in which it looks into them.

    RQ's order is strict: while urgent work comes in, what is less urgent waits. So the last of several
    slots looks from the other end, and whatever waits is begun some day.
    """
    order = reversed(CLASSES) if slots > 1 and slot == slots - 1 else CLASSES
    return [f"{prefix}.{one}" for one in order for prefix in prefixes]


def rq_job_id(queue: str, work_id: str, attempt: int, hand_over: int) -> str:
    """The id under which RQ knows one hand-over; the same hand-over has the same id.

    It begins with the queue's kind, `task` or the build queue's name without its class, so that a
    builder's Redis login can be limited to the jobs of its tier by key pattern.

    Raises:
        InvalidInput: if there is no such queue (`queue.unknown`).
    """
    if queue in CONTROL_QUEUES:
        kind = "task"
    elif build := BUILD_QUEUE.fullmatch(queue):
        kind = job_kind(build[1])
    else:
        raise InvalidInput(f"There is no queue {queue!r}.", code="queue.unknown", queue=queue)
    return f"{kind}_{work_id}_{attempt}_{hand_over}"


def job_kind(prefix: str) -> str:
    """The beginning of RQ job ids for the build queues of a prefix such as `build.a-b.dev`."""
    return prefix.replace(".", "-")  # RQ takes letters, digits, `_` and `-`


class RefusedPayload(InvalidInput):
    """Bytes in a queue that the farm did not write."""

    default_code = "queue.payload_refused"


class Wire:
    """A serializer for RQ: `dumps` and `loads` of `[function, null, [id, attempt, hand-over], {}]`."""

    def __init__(self, allowed: Collection[str]) -> None:
        self.allowed = frozenset(allowed)

    def dumps(self, value: tuple[str, None, Sequence[object], dict[str, object]]) -> bytes:
        """RQ's job tuple as JSON.

        Raises:
            RefusedPayload: if `loads` would not take it.
        """
        function, instance, arguments, keywords = value
        text = json.dumps([function, instance, list(arguments), keywords], separators=(",", ":"))
        self.loads(text.encode())
        return text.encode()

    def loads(self, data: bytes) -> tuple[str, None, tuple[str, int, int], dict[str, object]]:
        """The job tuple that `dumps` wrote.

        Raises:
            RefusedPayload: for any other bytes; the message does not repeat them.
        """
        if len(data) > _LONGEST:
            raise RefusedPayload("The payload is too long for a hand-over.")
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise RefusedPayload("The payload is not JSON.") from error
        match value:
            case [str(function), None, [str(work_id), attempt, hand_over], dict(keywords)] if not keywords:
                pass
            case _:
                raise RefusedPayload("The payload has not the form of a hand-over.")
        if function not in self.allowed:
            raise RefusedPayload("The payload names a function that is not on the list.")
        if not _WORK_ID.fullmatch(work_id) or not _is_count(attempt) or not _is_count(hand_over):
            raise RefusedPayload("The payload's arguments are not an id and two counts.")
        return function, None, (work_id, attempt, hand_over), {}


def _is_count(value: object) -> bool:
    # `bool` is an `int` in Python, not in JSON.
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _HIGHEST
