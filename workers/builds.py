"""One attempt on a builder: claim it at the farm, run it in containers, report how it ended."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial

from buildfarm import log
from buildfarm.errors import Conflict, ExternalFailure, Forbidden, StaleAttempt
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.bytecode import store_of
from buildfarm.sandbox.images import check_engine
from buildfarm.sandbox.prestart import remember
from buildfarm.sandbox.spec import AttemptOutcome, AttemptSpec
from workers import builder_config
from workers.farm_client import FarmClient

_log = log.get(__name__)
#: How long a hand-over is held while the engine is away; then it is left to the keeper, and to others.
_ENGINE_PATIENCE_S = 60.0
_PAUSE_S = 1.0


def run_build(job_id: str, attempt: int, hand_over: int) -> None:
    """Run the attempt that RQ named, if the farm still wants it."""
    own = builder_config.load()
    nudge = _nudged_by_a_stop_command()
    with log.bind(job_id=job_id, attempt=attempt, hand_over=hand_over):
        if not _engine_answers(own.docker_host):
            # Not claimed, so no attempt is used up; the keeper hands it over again.
            _log.warning("attempt.not_claimed", code="engine.down")
            return
        try:
            spec, token = FarmClient(own.farm_url, own.token).claim(job_id, attempt)
        except (StaleAttempt, Conflict, Forbidden, ExternalFailure) as err:
            _log.info("attempt.not_claimed", code=err.code, message=err.message)
            return
        farm = FarmClient(own.farm_url, token)
        told = AttemptSpec.model_validate(spec)
        outcome = run_attempt(
            told,
            farm,
            docker_host=own.docker_host,
            workdir=own.workdir,
            instance=own.instance,
            bytecode=store_of(own.workdir),
            nudge=nudge,
            report=partial(_report, farm),
        )
        remember(told, outcome, own.workdir)


def _report(farm: FarmClient, outcome: AttemptOutcome) -> None:
    try:
        state = farm.finish(outcome.model_dump(mode="json"))
    except (StaleAttempt, Conflict, Forbidden, ExternalFailure) as err:
        # Nobody waits for this outcome: the attempt was replaced, or the lease will run out.
        _log.warning("attempt.outcome_lost", code=err.code, outcome=outcome.state)
        return
    _log.info("attempt.reported", outcome=outcome.state, cause=outcome.cause, job_state=state)


def _engine_answers(docker_host: str | None) -> bool:
    """Whether the engine can be used; waits for it for a while.

    A builder that claimed without an engine would fail one attempt after the other, as fast as it can.
    """
    end = time.monotonic() + _ENGINE_PATIENCE_S
    while not check_engine(docker_host).usable:
        if time.monotonic() > end:
            return False
        time.sleep(_PAUSE_S)
    return True


def _nudged_by_a_stop_command() -> threading.Event:
    """An event that is set when the worker passes on a stop command (SIGTERM).

    The command only hurries: the attempt asks the farm whether to go on, and the farm's answer decides.
    """
    nudge = threading.Event()
    # From a thread: a handler that runs inside `nudge.set()` itself would wait for its lock for ever.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=nudge.set).start())
    return nudge
