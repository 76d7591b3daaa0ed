"""What follows a write once it is committed: clients see it, workers hear of it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from buildfarm.farm import handover
from webapp.context import farm


def wait_visible(session: Session) -> None:
    """Wait, for a bounded time, until every live web node shows what `session` committed."""
    farm().visibility.wait(session.info["serial"])


def hand_over() -> None:
    """Hand over what was queued; what the queue does not take now stays with the keeper."""
    handover.try_hand_over(farm().database, farm().queues)


def withdraw(build_id: str) -> None:
    """Hurry the end of a cancelled build; what is not reached now ends at its next heartbeat."""
    handover.try_withdraw(farm().database, farm().queues, build_id)
