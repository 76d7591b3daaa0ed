"""Hand-overs through a real server and a real worker, and what Redis may do to them."""

import os
import signal
import time

import pytest
import redis
from queue_harness import ALLOWED, alive, ran

from buildfarm.errors import ExternalFailure, InvalidInput
from buildfarm.farm.queue import Queues
from buildfarm.farm.wire import queues_of_slot, rq_job_id
from tests.waiting import wait_for

pytestmark = pytest.mark.system
A, B, C = "job_00000000000a", "job_00000000000b", "job_00000000000c"


def put(queues: Queues, function: str, work_id: str, hand_over: int = 1, queue: str = "fetch") -> None:
    queues.hand_over(queue, f"farmjobs.{function}", work_id, 1, hand_over, timeout_s=60)


def test_a_hand_over_waits_runs_and_is_gone(server, queues, make_worker, tmp_path):
    put(queues, "hold", A)
    assert queues.holds("fetch", A, 1, 1)
    assert queues.depths() == {"fetch": 1}
    worker = make_worker(server.url, "fetch", "plan")
    worker.horse(A)
    assert queues.depths() == {"fetch": 0}
    assert queues.holds("fetch", A, 1, 1)
    assert not queues.holds("fetch", A, 1, 2)
    worker.let_go(A)
    worker.wait_log("worker.job_over")
    assert ran(tmp_path) == [f"{A} 1 1"]
    assert not queues.holds("fetch", A, 1, 1)
    assert not server.admin.exists(f"rq:job:{rq_job_id('fetch', A, 1, 1)}")


def test_handing_over_twice_is_harmless(server, queues, make_worker, tmp_path):
    put(queues, "hold", A)
    put(queues, "hold", A)
    assert queues.depths() == {"fetch": 1}
    worker = make_worker(server.url, "fetch")
    worker.horse(A)
    put(queues, "hold", A)
    worker.let_go(A)
    put(queues, "note", B)
    wait_for(lambda: f"{B} 1 1" in ran(tmp_path), "the next one")
    assert ran(tmp_path) == [f"{A} 1 1", f"{B} 1 1"]


def test_queues_are_served_in_the_order_they_are_listed(server, queues, make_worker, tmp_path):
    for work_id, queue in ((A, "plan"), (B, "fetch"), (C, "plan")):
        put(queues, "note", work_id, queue=queue)
    make_worker(server.url, "fetch", "plan")
    wait_for(lambda: len(ran(tmp_path)) == 3, "all three")
    assert ran(tmp_path) == [f"{B} 1 1", f"{A} 1 1", f"{C} 1 1"]


def test_a_waiting_hand_over_can_be_withdrawn(server, queues, make_worker, tmp_path):
    put(queues, "note", A)
    put(queues, "note", B)
    queues.withdraw("fetch", A, 1, 1)
    assert not queues.holds("fetch", A, 1, 1)
    assert queues.holds("fetch", B, 1, 1)
    make_worker(server.url, "fetch")
    wait_for(lambda: ran(tmp_path) == [f"{B} 1 1"], "the other one alone")


def test_withdrawing_what_runs_ends_it_and_the_worker_goes_on(server, queues, make_worker, tmp_path):
    worker = make_worker(server.url, "fetch", "plan")
    put(queues, "hold", A)
    horse = worker.horse(A)
    queues.withdraw("fetch", A, 1, 1)
    wait_for(lambda: not alive(horse), "the end of the horse", 20)
    put(queues, "note", B)
    wait_for(lambda: ran(tmp_path) == [f"{B} 1 1"], "the next one")
    assert not queues.holds("fetch", A, 1, 1)


def test_withdrawing_what_no_worker_has_does_nothing(server, queues):
    queues.withdraw("fetch", A, 1, 1)
    server.admin.zadd("rq:wip:fetch", {f"{rq_job_id('fetch', A, 1, 1)}:x": time.time() + 60})
    queues.withdraw("fetch", A, 1, 1)  # its command reaches nobody


def test_an_execution_counts_until_its_worker_is_overdue(server, queues):
    member = f"{rq_job_id('fetch', A, 1, 1)}:x"
    server.admin.zadd("rq:wip:fetch", {member: time.time() + 60})
    assert queues.holds("fetch", A, 1, 1)
    server.admin.zadd("rq:wip:fetch", {member: time.time() - 1})
    assert not queues.holds("fetch", A, 1, 1)


def test_an_id_in_the_list_without_its_job_is_not_held(server, queues):
    put(queues, "note", A)
    server.admin.delete(f"rq:job:{rq_job_id('fetch', A, 1, 1)}")
    assert not queues.holds("fetch", A, 1, 1)


def test_without_redis_callers_are_told_so_soon(tmp_path):
    queues = Queues(f"unix://{tmp_path}/absent.sock", allow=ALLOWED)
    began = time.monotonic()
    assert not queues.ping()
    for call in (
        lambda: put(queues, "note", A),
        lambda: queues.holds("fetch", A, 1, 1),
        lambda: queues.withdraw("fetch", A, 1, 1),
        queues.depths,
    ):
        with pytest.raises(ExternalFailure) as caught:
            call()
        assert caught.value.code == "queue.unreachable"
    assert time.monotonic() - began < 5


def test_what_a_worker_would_refuse_is_not_handed_over(server, queues):
    assert queues.ping()
    with pytest.raises(InvalidInput):
        queues.hand_over("fetch", "os.system", A, 1, 1, timeout_s=1)
    with pytest.raises(InvalidInput):
        put(queues, "note", "no id")
    assert server.admin.keys("rq:*") == []


def test_kill_9_of_the_worker_ends_its_horse_at_once(server, queues, make_worker, tmp_path):
    worker = make_worker(server.url, "fetch", "plan")
    put(queues, "hold", A)
    horse = worker.horse(A)
    worker.process.kill()
    wait_for(lambda: not alive(horse), "the end of the horse", 20)
    assert ran(tmp_path) == []


def test_kill_9_of_a_horse_is_seen_at_once_and_the_worker_goes_on(server, queues, make_worker, tmp_path):
    worker = make_worker(server.url, "fetch", "plan")
    put(queues, "hold", A)
    os.kill(worker.horse(A), signal.SIGKILL)
    wait_for(lambda: not queues.holds("fetch", A, 1, 1), "the loss to be seen", 20)
    put(queues, "note", A, hand_over=2)
    wait_for(lambda: ran(tmp_path) == [f"{A} 1 2"], "the second hand-over")


def test_a_failure_leaves_nothing_in_redis_and_the_worker_goes_on(server, queues, make_worker, tmp_path):
    worker = make_worker(server.url, "fetch", "plan")
    put(queues, "fail", A)
    worker.wait_log("worker.job_over")
    assert "hunter2" in worker.log_file.read_text()
    assert not queues.holds("fetch", A, 1, 1)
    assert server.admin.keys(f"*{A}*") == []
    put(queues, "note", B)
    wait_for(lambda: f"{B} 1 1" in ran(tmp_path), "the next one")


@pytest.mark.parametrize("names", [("fetch",), ("fetch", "plan")])
def test_sigterm_while_busy_lets_the_work_end(server, queues, make_worker, tmp_path, names):
    worker = make_worker(server.url, *names)
    put(queues, "hold", A)
    worker.horse(A)
    put(queues, "note", B)
    worker.process.send_signal(signal.SIGTERM)
    worker.let_go(A)
    assert worker.process.wait(60) == 0
    assert ran(tmp_path) == [f"{A} 1 1"]
    assert queues.holds("fetch", B, 1, 1)


def test_a_second_sigterm_ends_the_work_too(server, queues, make_worker, tmp_path):
    worker = make_worker(server.url, "fetch", "plan")
    put(queues, "hold", A)
    horse = worker.horse(A)
    end = time.monotonic() + 60
    while "cold shut down" not in worker.log_file.read_text() and time.monotonic() < end:
        worker.process.send_signal(signal.SIGTERM)
        time.sleep(0.3)  # RQ takes signals within a second for one
    assert worker.process.wait(60) == 0
    assert not alive(horse)
    assert ran(tmp_path) == []


def test_after_kill_9_of_redis_the_work_goes_on(server, queues, make_worker, tmp_path):
    worker = make_worker(server.url, "fetch", "plan")
    put(queues, "hold", A)
    horse = worker.horse(A)
    put(queues, "note", B)
    server.kill()
    worker.wait_log("worker.redis_outage")
    assert alive(horse)
    server.start()
    assert not queues.holds("fetch", B, 1, 1)
    assert ran(tmp_path) == []  # the worker never stopped watching its horse
    put(queues, "note", B, hand_over=2)
    worker.let_go(A)
    wait_for(lambda: ran(tmp_path) == [f"{A} 1 1", f"{B} 1 2"], "both")
    assert worker.process.poll() is None


def test_an_outage_at_the_end_of_work_does_not_end_the_worker(server, queues, make_worker, tmp_path):
    worker = make_worker(server.url, "fetch", "plan")
    put(queues, "hold", A)
    worker.horse(A)
    server.kill()
    worker.let_go(A)
    worker.wait_log("worker.job_over")
    worker.wait_log("worker.redis_outage", count=len(worker.log("worker.redis_outage")) + 2)
    server.start()
    put(queues, "note", B)
    wait_for(lambda: f"{B} 1 1" in ran(tmp_path), "the next one")
    assert worker.process.poll() is None


def test_after_flushall_the_worker_goes_on_and_holds_says_what_is_lost(server, queues, make_worker, tmp_path):
    worker = make_worker(server.url, "fetch", "plan")
    put(queues, "hold", A)
    worker.horse(A)
    put(queues, "note", B)
    server.admin.flushall()
    assert not queues.holds("fetch", B, 1, 1)
    put(queues, "note", B, hand_over=2)
    worker.let_go(A)
    wait_for(lambda: ran(tmp_path) == [f"{A} 1 1", f"{B} 1 2"], "both")
    assert worker.process.poll() is None


def test_a_worker_that_dies_of_a_lost_start_says_so_with_its_exit_code(tmp_path):
    from workers.worker import run_worker

    assert run_worker(["fetch"], f"unix://{tmp_path}/absent.sock", [], name="test") == 1


def test_maintenance_sweeps_up_after_dead_workers(server, queues):
    from buildfarm.farm.wire import Wire
    from workers.worker import FarmWorker

    lost = rq_job_id("fetch", A, 1, 1)
    put(queues, "note", A)
    server.admin.delete("rq:queue:fetch")
    server.admin.zadd("rq:wip:fetch", {f"{lost}:x": time.time() - 1, "task_other:y": time.time() + 60})
    server.admin.sadd("rq:workers:fetch", "rq:worker:dead")
    with redis.Redis.from_url(server.url) as connection:
        FarmWorker(["fetch"], connection, wire=Wire(ALLOWED), name="test").run_maintenance_tasks()
    assert server.admin.zrange("rq:wip:fetch", 0, -1) == [b"task_other:y"]
    assert not server.admin.exists(f"rq:job:{lost}", "rq:clean_registries:fetch")
    assert server.admin.smembers("rq:workers:fetch") == set()


def test_what_is_less_urgent_is_begun_though_urgent_work_waits(server, queues, make_worker, tmp_path):
    prefix = "build.manylinux-x86_64.dev"
    put(queues, "note", A, queue=f"{prefix}.interactive")
    put(queues, "note", B, queue=f"{prefix}.release")
    put(queues, "hold", C, queue=f"{prefix}.background")
    last = make_worker(server.url, *queues_of_slot([prefix], 1, 2), name="last")
    last.horse(C)
    assert ran(tmp_path) == []
    make_worker(server.url, *queues_of_slot([prefix], 0, 2), name="first")
    wait_for(lambda: len(ran(tmp_path)) == 2, "the urgent work")
    last.let_go(C)
    wait_for(lambda: len(ran(tmp_path)) == 3, "the work that was held")
    assert ran(tmp_path) == [f"{work} 1 1" for work in (A, B, C)]


def test_a_worker_that_rests_takes_nothing_and_begins_when_it_may(server, queues, make_worker, tmp_path):
    rest = tmp_path / "rest"
    rest.touch()
    make_worker(server.url, "fetch", "plan")
    put(queues, "note", A)
    wait_for(lambda: len(rest.read_text()) > 2, "the worker to rest")
    assert queues.depths()["fetch"] == 1
    rest.unlink()
    wait_for(lambda: ran(tmp_path) == [f"{A} 1 1"], "the work")


def test_a_worker_that_rests_ends_when_it_is_told(server, make_worker, tmp_path):
    (tmp_path / "rest").touch()
    worker = make_worker(server.url, "fetch")
    wait_for(lambda: (tmp_path / "rest").read_text(), "the worker to rest")
    worker.process.terminate()
    assert worker.process.wait(60) == 0


def test_a_worker_that_is_alone_takes_the_queues_in_turn(server, queues, make_worker, tmp_path):
    prefix = "build.manylinux-x86_64.dev"
    for work_id in (A, B):
        put(queues, "note", work_id, queue=f"{prefix}.interactive")
    put(queues, "note", C, queue=f"{prefix}.background")
    make_worker(server.url, *queues_of_slot([prefix], 0, 1), name="alone")
    wait_for(lambda: len(ran(tmp_path)) == 3, "all of it")
    assert ran(tmp_path) == [f"{work} 1 1" for work in (A, C, B)]
