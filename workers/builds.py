"""One attempt on a builder: claim it at the farm, run it in containers, report how it ended."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Sequence
from functools import partial

from pydantic import ValidationError

from buildfarm import log
from buildfarm.errors import Conflict, ExternalFailure, FarmError, Forbidden, StaleAttempt
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.bytecode import store_of
from buildfarm.sandbox.images import check_engine, missing_images
from buildfarm.sandbox.prestart import remember
from buildfarm.sandbox.spec import AttemptOutcome, AttemptSpec
from workers import builder_config
from workers.farm_client import FarmClient

_log = log.get(__name__)
#: How long a hand-over is held while the engine is away; then it is left to the keeper, and to others.
_ENGINE_PATIENCE_S = 60.0
_PAUSE_S = 1.0
#: Images that builds may name, as the farm said last: the builder notes them here, its horses inherit them.
noted_images: Sequence[str] = ()


def run_build(job_id: str, attempt: int, hand_over: int) -> None:
    """Run the attempt that RQ named, if the farm still wants it."""
    own = builder_config.load()
    nudge = _nudged_by_a_stop_command()
    with log.bind(job_id=job_id, attempt=attempt, hand_over=hand_over):
        if trouble := _trouble(own.docker_host):
            # Not claimed, so no attempt is used up; the keeper hands it over again.
            _log.warning("attempt.not_claimed", code=trouble)
            return
        try:
            spec, token = FarmClient(own.farm_url, own.token).claim(job_id, attempt)
        except (StaleAttempt, Conflict, Forbidden, ExternalFailure) as err:
            _log.info("attempt.not_claimed", code=err.code, message=err.message)
            return
        farm = FarmClient(own.farm_url, token)
        try:
            told = AttemptSpec.model_validate(spec)
        except ValidationError as err:
            _report(farm, _not_understood(err))
            return
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


def _not_understood(err: ValidationError) -> AttemptOutcome:
    """The outcome of an attempt that a farm of another version asks for."""
    first = err.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    sentence = f"This builder is of another version than the farm: of the job it does not understand {where}."
    return AttemptOutcome(
        state="failed", cause="infrastructure", failure_class="engine", first_error=sentence
    )


def _report(farm: FarmClient, outcome: AttemptOutcome) -> None:
    try:
        state = farm.finish(outcome.model_dump(mode="json"))
    except (StaleAttempt, Conflict, Forbidden, ExternalFailure) as err:
        # Nobody waits for this outcome: the attempt was replaced, or the lease will run out.
        _log.warning("attempt.outcome_lost", code=err.code, outcome=outcome.state)
        return
    _log.info("attempt.reported", outcome=outcome.state, cause=outcome.cause, job_state=state)


def _trouble(docker_host: str | None) -> str:
    """The code of what keeps every attempt from its container; empty when nothing does.

    An engine that is away is waited for for a while. A builder that claimed without it, or without an image,
    would fail one attempt after the other, as fast as it can.
    """
    end = time.monotonic() + _ENGINE_PATIENCE_S
    while not check_engine(docker_host).usable:
        if time.monotonic() > end:
            return "engine.down"
        time.sleep(_PAUSE_S)
    try:
        return "engine.image_missing" if missing_images(docker_host, noted_images) else ""
    except FarmError as err:
        return err.code


def _nudged_by_a_stop_command() -> threading.Event:
    """An event that is set when the worker passes on a stop command (SIGTERM).

    The command only hurries: the attempt asks the farm whether to go on, and the farm's answer decides.
    """
    nudge = threading.Event()
    # From a thread: a handler that runs inside `nudge.set()` itself would wait for its lock for ever.
    signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=nudge.set).start())
    return nudge
