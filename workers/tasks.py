"""Control work: what RQ tells a control worker to do for a task row."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from buildfarm import bootstrap, config, log
from buildfarm.bootstrap import Farm
from buildfarm.errors import ExternalFailure, FarmError, StaleAttempt
from buildfarm.farm import claims, handover
from buildfarm.farm.builds import COMMAND, HOOK, NOTIFY, OFFER, WATCH
from buildfarm.farm.keeper import fail_or_retry_task, fail_task
from buildfarm.farm.model import Task
from buildfarm.farm.plan import Planner
from buildfarm.index.comparer import Comparer
from buildfarm.index.publish import Publisher
from buildfarm.scm.answers.send import Sender
from buildfarm.scm.commands.perform import Commander
from buildfarm.scm.hooking.perform import Performer
from buildfarm.scm.hooking.watch import Watcher
from buildfarm.scm.offered.look import Looker
from buildfarm.waves.cutoff import CutOff

_log = log.get(__name__)
#: Nothing unsigned is published: without a signer a build waits, however long, and uses up no attempt.
_WAITS_FOR = frozenset({"signer.down", "signer.closed", "signer.contended"})


@cache
def own_farm() -> Farm:
    """This process's farm; one that is forked from a process that has it finds it made."""
    return bootstrap.farm(config.load())


def run_task(task_id: str, attempt: int, hand_over: int) -> None:
    """Claim the task and do it; every end is written to its row.

    What shall be tried again is left to the keeper's next round: at once, it would fail at once.
    """
    farm = own_farm()
    with farm.database.read() as session:
        task = session.get(Task, task_id)
    if task is None:
        return
    with log.bind(task_id=task_id, build_id=task.subject, attempt=attempt, hand_over=hand_over):
        try:
            with farm.database.begin() as session:
                claims.claim(session, Task, task_id, attempt)
            with _beating(farm, task_id, attempt):
                _do(farm, task, attempt)
            _log.info("task.done", kind=task.kind)
            handover.try_hand_over(farm.database, farm.queues)
        except StaleAttempt:
            _log.info("task.stale", kind=task.kind)
        except FarmError as err:
            _end(farm, task_id, attempt, err)
        except Exception:  # noqa: BLE001 - the edge of a process: every end is written to the row
            _log.exception("task.crashed", kind=task.kind)
            sentence = "A fault of the farm's own; the log of the worker has it."
            _end(farm, task_id, attempt, ExternalFailure(sentence, code="farm.bug"))


def _do(farm: Farm, task: Task, attempt: int) -> None:
    claim = (task.id, attempt)
    if task.kind == "fetch":
        planner = Planner(farm.database, farm.blobs, farm.settings, farm.upstream, farm.build_door)
        planner.run(task.subject, claim)
        return
    if task.kind == HOOK:
        Performer(farm.database, farm.settings.public_url, claim).perform(task.subject)
        return
    if task.kind == WATCH:
        Watcher(farm.database, farm.settings.public_url, claim).look(task.subject)
        return
    if task.kind == COMMAND:
        Commander(farm.database, farm.settings.public_url, claim).perform(task.subject)
        return
    if task.kind == OFFER:
        Looker(farm.database, farm.settings, claim).look(task.subject)
        return
    if task.kind == NOTIFY:
        Sender(farm.database, farm.settings.public_url, task.subject, claim).run()
        return

    def beat() -> None:
        with farm.database.begin() as session:
            claims.heartbeat(session, Task, *claim)

    if task.kind == "compare":
        comparer = Comparer(farm.database, farm.blobs, farm.signer, farm.settings)
        serial = comparer.compare(task.subject, claim, beat)
    elif CutOff(farm.database, farm.blobs).take(task.subject, claim):
        return
    else:
        publisher = Publisher(farm.database, farm.blobs, farm.signer, farm.upstream, farm.settings)
        serial = publisher.publish(task.subject, claim, beat)
    farm.visibility.wait(serial)


def _end(farm: Farm, task_id: str, attempt: int, err: FarmError) -> None:
    _log.warning("task.failed", code=err.code, message=err.message, again=isinstance(err, ExternalFailure))
    with farm.database.begin() as session:
        task = session.get_one(Task, task_id)
        if task.attempt != attempt:
            return  # somebody else has it by now, and their end is the one that counts
        try:
            if err.code in _WAITS_FOR:
                claims.put_down(session, Task, task_id, attempt)
            elif isinstance(err, ExternalFailure):
                fail_or_retry_task(session, task, err, attempts_max=farm.settings.limits.attempts)
            else:
                fail_task(session, task, err)
        except StaleAttempt:
            session.rollback()


@contextmanager
def _beating(farm: Farm, task_id: str, attempt: int) -> Iterator[None]:
    """Renew the claim while the block runs; whether it is still held is asked when it ends."""
    over = threading.Event()

    def beat() -> None:
        while not over.wait(farm.settings.timing.heartbeat_s):
            try:
                with farm.database.begin() as session:
                    claims.heartbeat(session, Task, task_id, attempt)
            except StaleAttempt:
                return
            except ExternalFailure as err:
                _log.warning("task.heartbeat_missed", code=err.code)

    thread = threading.Thread(target=beat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
