"""Containers that wait for the next attempt: one use each, found by kind, gone when their builder goes."""

import os
import shutil
import time
from contextlib import closing

import pytest

import docker
from buildfarm.errors import ExternalFailure
from buildfarm.sandbox import prestart
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.containers import using
from buildfarm.sandbox.janitor import reap
from buildfarm.sandbox.prestart import Kind, refill, remember
from buildfarm.sandbox.spec import Limits
from tests.sandbox.conftest import C_PROJECT, INSTANCE, FakeFarm, hostile, source_tar

pytestmark = pytest.mark.engine


@pytest.fixture
def stand(engine, spec_of, tmp_path, wheelhouse):
    """An attempt whose builder leaves containers behind; at the end its builder goes."""

    class Stand:
        workdir = tmp_path / "work"

        def build(self, files, **changes):
            source = source_tar(files)
            farm = FakeFarm(source, wheelhouse)
            spec = spec_of(source, **changes)
            outcome = run_attempt(spec, farm, docker_host=engine, workdir=self.workdir, instance=INSTANCE)
            remember(spec, outcome, self.workdir)
            refill(docker_host=engine, workdir=self.workdir, instance=INSTANCE)
            return outcome, farm

        def waiting(self):
            """Ids of the containers that wait."""
            return {path.read_text() for path in self.workdir.glob("ready/*/container")}

        def alive(self):
            client = docker.APIClient(base_url=engine)
            try:
                found = client.containers(all=True, filters={"label": f"buildfarm.instance={INSTANCE}"})
            finally:
                client.close()
            return {one["Id"] for one in found}

    yield Stand()
    reap(engine, INSTANCE)


def used(outcome):
    return {report.container_id for report in outcome.phases if report.container_id}


def test_the_next_attempt_takes_what_waits_and_each_is_used_once(stand):
    first, farm = stand.build(C_PROJECT, test={})
    assert first.state == "succeeded", farm.log
    waiting = stand.waiting()
    assert len(waiting) == 3
    assert stand.alive() == waiting
    second, farm = stand.build(C_PROJECT, test={})
    assert second.state == "succeeded", farm.log
    assert used(second) == waiting
    assert stand.waiting().isdisjoint(waiting | used(first))
    assert stand.alive() == stand.waiting()


def test_an_attempt_with_other_limits_takes_none(stand):
    stand.build(C_PROJECT)
    waiting = stand.waiting()
    other, _farm = stand.build(C_PROJECT, limits={"memory_bytes": 512 * 1024 * 1024})
    assert used(other).isdisjoint(waiting)
    assert waiting < stand.waiting()


def test_a_waiting_container_that_has_died_or_is_old_is_not_used(stand, engine):
    stand.build(C_PROJECT)
    died, old = sorted(stand.waiting())
    client = docker.APIClient(base_url=engine)
    client.kill(died)
    client.close()
    (folder,) = (path for path in stand.workdir.glob("ready/*") if (path / "container").read_text() == old)
    past = time.time() - 2 * 3600
    os.utime(folder, (past, past))
    again, farm = stand.build(C_PROJECT)
    assert again.state == "succeeded", farm.log
    assert used(again).isdisjoint({died, old})
    assert stand.alive() == stand.waiting()


def test_old_ones_are_replaced_while_there_is_nothing_to_do(stand, engine):
    stand.build(C_PROJECT)
    waiting = stand.waiting()
    past = time.time() - 2 * 3600
    for folder in stand.workdir.glob("ready/*"):
        os.utime(folder, (past, past))
    refill(docker_host=engine, workdir=stand.workdir, instance=INSTANCE)
    assert len(stand.waiting()) == len(waiting)
    assert stand.waiting().isdisjoint(waiting)
    assert stand.alive() == stand.waiting()


def test_what_cannot_be_started_is_not_tried_again_and_again(stand, engine, monkeypatch):
    stand.build(C_PROJECT)
    reap(engine, INSTANCE)
    for folder in stand.workdir.glob("ready/*"):
        shutil.rmtree(folder)
    tried = []

    def refuse(*_arguments):
        tried.append(1)
        raise ExternalFailure("The engine refuses.")

    monkeypatch.setattr(prestart, "start_one", refuse)
    for _look in range(3):
        refill(docker_host=engine, workdir=stand.workdir, instance=INSTANCE)
    assert len(tried) == 1
    assert stand.alive() == set()


def test_no_more_than_a_few_wait(stand, monkeypatch):
    monkeypatch.setattr(prestart, "_MOST", 2)
    stand.build(C_PROJECT, test={})
    assert len(stand.waiting()) == 2
    assert stand.alive() == stand.waiting()


def test_what_one_attempt_leaves_the_next_does_not_find(stand):
    left = "('/tmp/left', '/home/builder/left', '/work/left', '/src/left')"
    leave = f"for path in {left}: open(path, 'w').close()\nraise SystemExit(3)"
    look = f"print('found', [path for path in {left} if os.path.exists(path)])\nraise SystemExit(4)"
    stand.build(hostile(leave))
    _outcome, farm = stand.build(hostile(look))
    assert "found []" in farm.log


def test_what_could_not_make_ready_says_so_however_late_somebody_listens(engine, images, tmp_path):
    kind = Kind("repair", images["test"], "cp311", Limits())  # an image in which auditwheel is missing
    heard = []
    with closing(docker.APIClient(base_url=engine)) as client:
        started = prestart.start_one(client, kind, tmp_path / "waits", INSTANCE)
        try:
            time.sleep(2)  # what waits for nobody has spoken and gone by then
            with using(client, started.container_id, "test-late", heard.append) as container:
                assert not started.tell({}, lambda: container.has_ended)
                assert container.watch(lambda: None, lambda: False).exit_code == 1
        finally:
            reap(engine, INSTANCE)
    assert b"the image is not as it should be: the image has no auditwheel" in b"".join(heard)
