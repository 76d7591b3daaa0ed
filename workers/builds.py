"""One attempt on a builder: claim it at the farm, run it in containers, report how it ended."""

from __future__ import annotations

from buildfarm import log
from buildfarm.errors import Conflict, ExternalFailure, Forbidden, StaleAttempt
from buildfarm.sandbox.attempt import run_attempt
from buildfarm.sandbox.spec import AttemptSpec
from workers import builder_config
from workers.farm_client import FarmClient

_log = log.get(__name__)


def run_build(job_id: str, attempt: int, hand_over: int) -> None:
    """Run the attempt that RQ named, if the farm still wants it."""
    own = builder_config.load()
    with log.bind(job_id=job_id, attempt=attempt, hand_over=hand_over):
        try:
            spec, token = FarmClient(own.farm_url, own.token).claim(job_id, attempt)
        except (StaleAttempt, Conflict, Forbidden, ExternalFailure) as err:
            _log.info("attempt.not_claimed", code=err.code, message=err.message)
            return
        farm = FarmClient(own.farm_url, token)
        outcome = run_attempt(
            AttemptSpec.model_validate(spec),
            farm,
            docker_host=own.docker_host,
            workdir=own.workdir,
            instance=own.instance,
        )
        try:
            state = farm.finish(outcome.model_dump(mode="json"))
        except (StaleAttempt, ExternalFailure) as err:
            # Nobody waits for this outcome: the attempt was replaced, or the lease will run out.
            _log.warning("attempt.outcome_lost", code=err.code, outcome=outcome.state)
            return
        _log.info("attempt.reported", outcome=outcome.state, cause=outcome.cause, job_state=state)
