"""The newest rows of the journal are signed though nobody publishes."""

import os
import signal as signals
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from buildfarm import clock
from buildfarm.errors import ExternalFailure, IntegrityFailure
from buildfarm.farm import claims
from buildfarm.farm.model import Job, Lease
from buildfarm.farm.rules import State
from buildfarm.journal.log import newest_size
from buildfarm.journal.model import JournalNode
from buildfarm.journal.record import size as journal_size
from buildfarm.journal.show import newest_checkpoint
from buildfarm.trust import root
from buildfarm.trust.cover import cover
from buildfarm.trust.watch import signed_head

AT_ONCE = timedelta(0)


def covered(house) -> int:
    with house.database.read() as session:
        return newest_size(session)


def size(house) -> int:
    with house.database.read() as session:
        return journal_size(session)


def test_rows_are_covered_once_and_the_heads_continue_each_other(each_house, start_signer) -> None:
    client = start_signer().client
    for name in ("widget", "gadget"):
        each_house.source(name, projects=(name,))
        assert cover(each_house.database, client, AT_ONCE) == size(each_house) == covered(each_house)
        assert cover(each_house.database, client, AT_ONCE) is None
    trusted = root.load(client.health()["documents"][root.TRUSTED_ROOT].encode())
    with each_house.database.read() as session:
        _, checkpoint = signed_head(newest_checkpoint(session).note, trusted)
    assert checkpoint.size == size(each_house)


def test_rows_that_a_publisher_may_still_cover_are_left_to_it(house, start_signer) -> None:
    client = start_signer().client
    house.source()
    assert cover(house.database, client, timedelta(minutes=1)) is None


def test_without_the_signer_nothing_is_covered_and_with_it_everything(house, start_signer) -> None:
    signer = start_signer()
    client = signer.client
    house.source()
    signer.stop()
    with pytest.raises(ExternalFailure):
        cover(house.database, client, AT_ONCE)
    start_signer()
    assert cover(house.database, client, AT_ONCE) == size(house)


def test_a_rewritten_journal_is_not_signed(house, start_signer) -> None:
    client = start_signer().client
    cover(house.database, client, AT_ONCE)
    house.source()
    with house.database.begin() as session:
        for node in session.query(JournalNode):
            node.hash = bytes(32)
    with pytest.raises(IntegrityFailure):
        cover(house.database, client, AT_ONCE)


@pytest.mark.system
def test_a_signer_that_hangs_does_not_keep_the_keeper_from_sweeping(
    open_house, start_signer, tmp_path: Path
) -> None:
    signer = start_signer()
    quick = {"keeper_interval_s": 0.1, "unsigned_s": 0.1, "lease_s": 1.0}
    house = open_house(signer_socket=str(signer.socket), timing=quick)
    _, made = house.build(house.source(), "cp313-manylinux_2_28_x86_64")
    (job_id,) = made.values()
    house.claim(job_id)
    now, hour = clock.now(), timedelta(hours=1)
    with house.database.begin() as session:
        session.add(Lease(name="web/one", holder="one", since=now - hour, until=now + hour))
        claims.heartbeat(session, Job, job_id, 1, phase="build")
    (tmp_path / "settings.json").write_text(house.farm.settings.model_dump_json())
    signer.process.send_signal(signals.SIGSTOP)
    keeper = subprocess.Popen(
        [sys.executable, "-m", "workers.keeper"],
        env={**os.environ, "BUILDFARM_CONFIG": str(tmp_path / "settings.json")},
        stderr=subprocess.DEVNULL,
    )

    def state() -> tuple[str, int]:
        with house.database.read() as session:
            job = session.get_one(Job, job_id)
            return job.state, job.attempt

    try:
        house.wait_for(lambda: state() == (State.QUEUED, 2))
        signer.process.send_signal(signals.SIGCONT)
        house.wait_for(lambda: covered(house) == size(house))
    finally:
        signer.process.send_signal(signals.SIGCONT)
        keeper.terminate()
        assert keeper.wait(60) == 0
