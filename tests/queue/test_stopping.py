"""The two corrections to RQ's worker, and the stop command's bad moment."""

import multiprocessing
import os
import random
import signal
import threading
import time

import pytest
import redis
from queue_harness import ALLOWED, HERE, ran
from rq.exceptions import StopRequested

from buildfarm.farm.queue import Queues
from buildfarm.farm.wire import Wire
from tests.waiting import wait_for
from workers.worker import FarmWorker, run_worker

pytestmark = pytest.mark.system
STOPS = 8


@pytest.fixture
def worker(server):
    with redis.Redis.from_url(server.url) as connection:
        yield FarmWorker(["fetch", "plan"], connection, wire=Wire(ALLOWED), name="test")


def test_a_stop_is_noted_without_raising_and_the_next_pop_takes_nothing(server, queues, worker):
    queues.hand_over("fetch", "farmjobs.note", "job_0000000000", 1, 1, timeout_s=9)
    worker._shutdown()  # what RQ's signal handler calls, here with a worker that is not busy
    with pytest.raises(StopRequested):
        worker.dequeue_job_and_maintain_ttl(1)
    assert queues.depths() == {"fetch": 1}


def test_a_worker_that_waits_can_say_so_before_each_pop(server):
    calls = []

    def idle() -> None:
        calls.append(worker.horse_pid)
        if len(calls) == 3:
            worker._shutdown()

    with redis.Redis.from_url(server.url) as connection:
        worker = FarmWorker(["fetch"], connection, wire=Wire(ALLOWED), name="test", on_idle=idle)
        with pytest.raises(StopRequested):
            worker.dequeue_job_and_maintain_ttl(worker.dequeue_timeout)
    assert calls == [0, 0, 0]


def test_a_worker_passes_over_the_queues_that_it_leaves_to_others(server, queues):
    for queue in ("fetch", "plan"):
        queues.hand_over(queue, "farmjobs.note", f"job_{queue:0>10}", 1, 1, timeout_s=9)
    with redis.Redis.from_url(server.url) as connection:
        worker = FarmWorker(
            ["fetch", "plan"], connection, wire=Wire(ALLOWED), name="test", on_idle=lambda: ["plan"]
        )
        job, queue = worker.dequeue_job_and_maintain_ttl(worker.dequeue_timeout)
    assert (queue.name, job.args[0]) == ("plan", "job_000000plan")
    assert queues.depths() == {"fetch": 1, "plan": 0}


def test_a_stop_that_comes_during_the_pop_does_not_drop_what_it_brings(server, queues, worker):
    queues.ping()  # connected before the pop's second begins

    def stop_then_give() -> None:
        wait_for(lambda: any(c["cmd"] == "blpop" for c in server.admin.client_list()), "the pop")
        worker._shutdown()
        queues.hand_over("plan", "farmjobs.note", "job_0000000000", 1, 1, timeout_s=9)

    thread = threading.Thread(target=stop_then_give)
    thread.start()
    job, _ = worker.dequeue_job_and_maintain_ttl(worker.dequeue_timeout)
    thread.join()
    assert job.args == ("job_0000000000", 1, 1)
    assert worker.dequeue_timeout == 1


def test_nothing_is_lost_by_stops_while_work_arrives(server, queues, tmp_path, monkeypatch):
    monkeypatch.setenv("FARM_TEST_DIR", str(tmp_path))
    monkeypatch.syspath_prepend(HERE)
    fork = multiprocessing.get_context("fork")
    dice = random.Random(7)  # noqa: S311
    done = threading.Event()
    given: list[str] = []

    def give() -> None:
        mine = Queues(server.url, allow=ALLOWED)
        while not done.wait(dice.uniform(0.01, 0.06)):
            work_id = f"job_{len(given):012}"
            mine.hand_over(dice.choice(("fetch", "plan")), "farmjobs.note", work_id, 1, 1, timeout_s=9)
            given.append(f"{work_id} 1 1")

    def work() -> None:
        os._exit(run_worker(["fetch", "plan"], server.url, ALLOWED, name="test"))

    giver = threading.Thread(target=give)
    giver.start()
    try:
        for _ in range(STOPS):
            before = len(ran(tmp_path))
            process = fork.Process(target=work)
            process.start()
            wait_for(lambda before=before: len(ran(tmp_path)) > before, "work to be done")
            time.sleep(dice.uniform(0.0, 0.3))  # the moment of the stop is what varies, nothing waits for it
            os.kill(process.pid, signal.SIGTERM)
            process.join(60)
            assert process.exitcode == 0
    finally:
        done.set()
        giver.join()
    if any(queues.depths().values()):
        last = fork.Process(target=work)
        last.start()
        wait_for(lambda: len(ran(tmp_path)) >= len(given), "what is left to be done")
        os.kill(last.pid, signal.SIGTERM)
        last.join(60)
    assert sorted(ran(tmp_path)) == given


def in_a_session_of_its_own(act) -> int:
    """Exit code of a forked process that does this: what it wrongly kills is itself alone."""
    pid = os.fork()
    if pid == 0:
        os.setsid()
        try:
            act()
        except BaseException:  # noqa: BLE001 - nothing of the test may go on in the copy
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_a_stop_command_before_the_fork_does_not_kill_the_worker(worker):
    # RQ would send SIGKILL to the process group of process 0, which means its own.
    assert worker.horse_pid == 0
    assert in_a_session_of_its_own(worker.kill_horse) == 0


def test_a_stop_command_right_after_the_fork_kills_the_horse_alone(worker):
    def fork_and_kill() -> None:
        pid = os.fork()
        if pid == 0:
            signal.pause()  # still in its parent's process group
        worker._horse_pid = pid
        worker.kill_horse()
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL

    assert in_a_session_of_its_own(fork_and_kill) == 0


def test_work_of_a_single_queue_does_not_pass_through_the_intermediate_list(server, queues):
    queues.hand_over("fetch", "farmjobs.note", "job_0000000000", 1, 1, timeout_s=9)
    with redis.Redis.from_url(server.url) as connection:
        worker = FarmWorker(["fetch"], connection, wire=Wire(ALLOWED), name="test")
        assert worker.dequeue_job_and_maintain_ttl(1) is not None
    assert server.admin.keys("rq:queue:*") == []
    assert not queues.holds("fetch", "job_0000000000", 1, 1)
