"""A container that ends before anybody is attached to it: its end is seen all the same."""

from contextlib import closing

import pytest

import docker
from buildfarm.sandbox.containers import is_running, start, using
from buildfarm.sandbox.spec import Limits
from tests.waiting import wait_for

pytestmark = pytest.mark.engine


@pytest.fixture
def client(engine):
    with closing(docker.APIClient(base_url=engine)) as client:
        yield client


def test_the_end_of_a_container_that_ended_before_we_were_attached_is_seen(client, images):
    ended = start(
        client,
        image=images["builder"],
        command=["sh", "-c", "echo unheard; exit 3"],
        limits=Limits(),
        mounts={},
        labels={},
    )
    wait_for(lambda: not is_running(client, ended), "its end")
    heard: list[bytes] = []
    with using(client, ended, "test-ended-before", heard.append) as container:
        wait_for(lambda: container.has_ended, "its end to be seen")
        assert container.watch(lambda: None, lambda: False).exit_code == 3
    assert heard == []


def sleeping(client, images):
    """A container that would run for a minute."""
    return start(
        client, image=images["builder"], command=["sleep", "60"], limits=Limits(), mounts={}, labels={}
    )


def test_a_kill_that_the_engine_did_not_do_is_sent_again(client, images, monkeypatch):
    sent = []

    def kill(container_id):
        sent.append(container_id)
        if len(sent) == 1:
            raise docker.errors.APIError("the container did not receive an exit event")
        docker.APIClient.kill(client, container_id)

    monkeypatch.setattr(client, "kill", kill)
    with using(client, sleeping(client, images), "test-killed", lambda _said: None) as container:
        ended = container.watch(lambda: "cancelled", lambda: False)
    assert (ended.stopped, ended.exit_code) == ("cancelled", 137)
    assert len(sent) > 1
