"""A builder of another host: its login on a real server, and what becomes of it."""

from __future__ import annotations

import pytest
import redis

from buildfarm.access import tokens
from buildfarm.farm import logins, registry
from buildfarm.farm.logins import join, keep_logins
from buildfarm.farm.queue import Queues

FAMILY = "manylinux-x86_64"
QUEUE = f"build.{FAMILY}.dev.release"
pytestmark = pytest.mark.system


@pytest.fixture
def farm(open_house, server):
    """A farm whose queue server other hosts reach; here at the server's own socket."""
    address = server.url.rpartition("@")[2]
    return open_house(redis=server.url, builder_redis=f"unix://{address}")


def added(farm, tiers: tuple[str, ...] = ("dev",)) -> None:
    with farm.database.begin() as session:
        registry.add_builder(session, "second", list(tiers), actor="test")


def joined(farm) -> logins.Joined:
    with farm.database.begin() as session:
        builder = registry.named(session, "second")
        return join(builder, "x86_64", [], farm.farm.settings, farm.farm.queues)


def kept(farm) -> None:
    with farm.database.read() as session:
        keep_logins(session, farm.farm.settings, farm.farm.queues)


def is_let_in(host: logins.Joined) -> bool:
    with redis.Redis.from_url(host.redis) as connection:
        try:
            return bool(connection.ping())
        except redis.AuthenticationError:
            return False


def test_a_host_that_joins_may_work_on_the_queues_of_its_tiers(farm, server, make_worker, tmp_path) -> None:
    added(farm)
    host = joined(farm)
    assert f"build.{FAMILY}.dev" in host.prefixes
    queues = Queues(server.url, allow=("farmjobs.note",))
    queues.hand_over(QUEUE, "farmjobs.note", "job_00000000000a", 1, 1, timeout_s=60)
    worker = make_worker(host.redis, QUEUE, name=host.redis_user)
    worker.wait_log("worker.job_over")
    assert (tmp_path / "ran").read_text() == "job_00000000000a 1 1\n"
    with redis.Redis.from_url(host.redis) as connection, pytest.raises(redis.exceptions.NoPermissionError):
        connection.rpush(f"rq:queue:{QUEUE.replace('.dev.', '.release.')}", "x")


def test_a_login_that_the_server_lost_is_given_back(farm, server) -> None:
    added(farm)
    host = joined(farm)
    server.kill()
    server.start()
    assert not is_let_in(host)
    kept(farm)
    assert is_let_in(host)


def test_a_login_ends_with_its_token(farm) -> None:
    added(farm)
    first = joined(farm)
    with farm.database.begin() as session:
        tokens.revoke(session, registry.named(session, "second").token_id, actor="test")
    kept(farm)
    assert not is_let_in(first)
    added(farm)
    second = joined(farm)
    assert second.redis_user == first.redis_user
    assert (is_let_in(first), is_let_in(second)) == (False, True)


def test_a_new_token_ends_the_login_of_the_old_one_at_once(farm) -> None:
    added(farm)
    first = joined(farm)
    client = farm.client(farm.token("admin"))
    made = client.post("/api/v1/builders", json={"name": "second", "tiers": ["dev"]}).json
    assert made["command"] == f"buildfarm builder join http://farm.example --token {made['token']}"
    assert not is_let_in(first)


def test_a_builder_joins_by_its_token_and_nobody_else_does(farm, house) -> None:
    body = {"machine": "x86_64"}
    with farm.database.begin() as session:
        token = registry.add_builder(session, "second", ["dev"], actor="test")[1]
    answer = farm.client(token).post("/api/v1/builders/join", json=body)
    assert (answer.status_code, answer.json["name"]) == (200, "second")
    refused = farm.client(farm.token("admin")).post("/api/v1/builders/join", json=body)
    assert (refused.status_code, refused.json["code"]) == (403, "builder.token")
    wrong = farm.client(token).post("/api/v1/builders/join", json={"machine": "* ~*"})
    assert (wrong.status_code, wrong.json["code"]) == (400, "queue.acl_invalid")
    closed = house.client(token).post("/api/v1/builders/join", json=body)
    assert (closed.status_code, closed.json["code"]) == (409, "queue.closed")
