"""What somebody with write access to Redis puts there is not run and does not stop a worker."""

import http.server
import json
import pickle
import threading
import zlib
from pathlib import Path

import pytest
from queue_harness import ran

from tests.waiting import wait_for

pytestmark = pytest.mark.system
A, B = "job_00000000000a", "job_00000000000b"


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.mkdir, (self.path,)


def plant(server, job_id: str, data: bytes, **fields: str) -> None:
    """Write a job as RQ would, and queue it."""
    good = {
        "created_at": "2026-01-01T00:00:00.000000Z",
        "origin": "fetch",
        "status": "queued",
        "timeout": "60",
        "result_ttl": "0",
    }
    server.admin.hset(f"rq:job:{job_id}", mapping={**good, "data": data, **fields})
    server.admin.rpush("rq:queue:fetch", job_id)


def payload(function: str, *arguments: object) -> bytes:
    return zlib.compress(json.dumps([function, None, arguments, {}]).encode())


@pytest.fixture(params=[("fetch",), ("fetch", "plan")], ids=["one queue", "two queues"])
def worker(request, server, make_worker):
    return make_worker(server.url, *request.param)


def goes_on(queues, worker, tmp_path) -> None:
    queues.hand_over("fetch", "farmjobs.note", B, 1, 1, timeout_s=60)
    wait_for(lambda: f"{B} 1 1" in ran(tmp_path), "an honest hand-over")
    assert worker.process.poll() is None


def test_payloads_that_name_or_are_code_are_not_run(server, queues, worker, tmp_path):
    mark = tmp_path / "exploded"
    plant(server, "task_pickle", zlib.compress(pickle.dumps(Bomb(str(mark)))))
    plant(server, "task_rawpickle", pickle.dumps(Bomb(str(mark))))
    plant(server, "task_json", payload("os.mkdir", str(mark)))
    plant(server, "task_system", payload("os.system", f"mkdir {mark}"))
    plant(server, "task_big", zlib.compress(b"[" * 100_000_000))
    goes_on(queues, worker, tmp_path)
    assert not mark.exists()
    assert ran(tmp_path) == [f"{B} 1 1"]
    refused = {line["job"] for line in worker.log("queue.job_refused")}
    assert refused == {"task_pickle", "task_rawpickle", "task_json", "task_system", "task_big"}
    assert peak_kb(worker.process.pid) < 120_000


def peak_kb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])


def test_callbacks_and_results_in_a_job_are_not_obeyed(server, queues, worker, tmp_path):
    mark = str(tmp_path / "exploded")
    for number, function in enumerate(("farmjobs.note", "farmjobs.fail")):
        plant(
            server,
            f"task_{number}",
            payload(function, f"job_{number:012}", 1, 1),
            success_callback_name="farmjobs.called_back",
            failure_callback_name="farmjobs.called_back",
            stopped_callback_name="farmjobs.called_back",
            result=pickle.dumps(Bomb(mark)).decode("latin-1"),
            meta=pickle.dumps(Bomb(mark)).decode("latin-1"),
        )
    goes_on(queues, worker, tmp_path)
    worker.wait_log("worker.job_over", count=3)
    assert len(ran(tmp_path)) == 3
    assert not (tmp_path / "exploded").exists()
    assert not (tmp_path / "called_back").exists()


def test_webhooks_in_a_job_are_not_sent(server, queues, worker, tmp_path):
    calls = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            calls.append(self.path)
            self.send_response(204)
            self.end_headers()

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        threading.Thread(target=listener.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{listener.server_port}/"
        hooks = [
            {"url": url, "job_status": status, "method": "GET", "timeout": 2}
            for status in ("finished", "failed")
        ]
        for number, function in enumerate(("farmjobs.note", "farmjobs.fail")):
            data = payload(function, f"job_{number:012}", 1, 1)
            plant(server, f"task_{number}", data, webhooks=json.dumps(hooks))
        goes_on(queues, worker, tmp_path)
        listener.shutdown()
    assert calls == []


def test_retries_repeats_dependents_and_groups_in_a_job_are_not_obeyed(server, queues, worker, tmp_path):
    plant(
        server,
        "task_again",
        payload("farmjobs.fail", A, 1, 1),
        retries_left="5",
        number_of_retries="0",
        repeats_left="5",
        repeat_intervals="[0]",
        group_id="x",
        rate_limit_key="x",
        rate_limit_concurrency="1",
        dependency_ids='["task_other"]',
    )
    once = "job_00000000000c"
    plant(
        server, "task_repeat", payload("farmjobs.note", once, 1, 1), repeats_left="5", repeat_intervals="[0]"
    )
    goes_on(queues, worker, tmp_path)
    assert ran(tmp_path) == [f"{A} 1 1", f"{once} 1 1", f"{B} 1 1"]
    worker.wait_log("worker.job_over", count=3)
    assert server.admin.keys("rq:job:*") == []


def test_odd_entries_and_odd_fields_are_passed_over(server, queues, worker, tmp_path):
    server.admin.rpush("rq:queue:fetch", b"\xff\xfe", "a b", "", "x" * 5000, "task_absent")
    plant(server, "task_odd", payload("farmjobs.note", A, 1, 1), timeout="soon")
    plant(server, "task_odder", payload("farmjobs.note", A, 1, 1), status="excellent")
    goes_on(queues, worker, tmp_path)
    assert ran(tmp_path) == [f"{B} 1 1"]


def test_commands_other_than_stop_change_nothing_and_stop_works_after_them(server, queues, worker, tmp_path):
    members = wait_for(lambda: server.admin.smembers("rq:workers"), "the worker to enter itself")
    (name,) = (key.decode().removeprefix("rq:worker:") for key in members)
    queues.hand_over("fetch", "farmjobs.hold", A, 1, 1, timeout_s=60)
    horse = worker.horse(A)
    for command in ('{"command": "shutdown"}', '{"command": "kill-horse"}', "no json", "[]", "\\xff", "{}"):
        assert server.admin.publish(f"rq:pubsub:{name}", command) == 1
    wait_for(lambda: len(worker.log("worker.command_refused")) == 6, "all to be refused")
    assert worker.horse(A) == horse
    assert ran(tmp_path) == []
    queues.withdraw("fetch", A, 1, 1)
    goes_on(queues, worker, tmp_path)
    assert ran(tmp_path) == [f"{B} 1 1"]
