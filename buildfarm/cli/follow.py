"""Following what runs on the farm: through short outages, with every change told once."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from buildfarm.cli.client import Client
from buildfarm.errors import ExternalFailure

FINAL = frozenset({"published", "compared", "succeeded", "failed", "timed_out", "cancelled", "skipped"})
_POLL_S = 1.0
#: An outage longer than this ends the waiting; a restart of the web is over much sooner.
_PATIENCE_S = 120.0


@dataclass
class Follower:
    """Asks the farm again and again; `say` gets a line when it falls silent and when it is back."""

    client: Client
    say: Callable[[str], None]
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic

    def build(self, build_id: str) -> dict[str, Any]:
        """The build once it has ended; each change of a state or phase is a line.

        Raises:
            ExternalFailure: the farm was away for too long.
        """
        told: dict[str, str] = {}
        while True:
            build: dict[str, Any] = self._patiently(lambda: self.client.get("builds", build_id))
            for name, text in _states(build):
                if told.get(name) != text:
                    told[name] = text
                    self.say(f"{name}: {text}")
            if build["state"] in FINAL:
                return build
            self.sleep(_POLL_S)

    def log(self, job_id: str, attempt: int | None, *, follow: bool) -> Iterator[dict[str, Any]]:
        """The segments of a log; with `follow` those to come too, over new attempts, until the job ends.

        Raises:
            ExternalFailure: the farm was away for too long.
        """
        number, offset = attempt, 0
        while True:
            wanted = {"attempt": number, "offset": offset}
            part = self._patiently(lambda query=wanted: self.client.get("jobs", job_id, "log", **query))  # type: ignore[misc]
            yield from part["segments"]
            offset, number = part["next"], part["attempt"] or number
            if part["done"]:
                following = self._next_attempt(job_id, number) if follow and attempt is None else None
                if following is None:
                    return
                number, offset = following, 0
            elif not part["segments"]:
                if not follow:
                    return
                self.sleep(_POLL_S)

    def _next_attempt(self, job_id: str, number: int | None) -> int | None:
        """The number of the attempt after this one, once a builder has it; None when the job is over."""
        while True:
            found = self._patiently(lambda: self.client.get("jobs", job_id))
            newer = [one["number"] for one in found["attempts"] if one["number"] > (number or 0)]
            if newer:
                return int(newer[0])
            if found["job"]["state"] in FINAL:
                return None
            self.sleep(_POLL_S)

    def _patiently(self, ask: Callable[[], Any]) -> Any:  # noqa: ANN401
        away_since: float | None = None
        while True:
            try:
                answer = ask()
            except ExternalFailure as error:
                now = self.monotonic()
                if away_since is None:
                    away_since = now
                    self.say(f"{error.message} Trying again.")
                if now - away_since > _PATIENCE_S:
                    raise
                self.sleep(_POLL_S)
            else:
                if away_since is not None:
                    self.say("The farm is back.")
                return answer


def _states(build: dict[str, Any]) -> Iterator[tuple[str, str]]:
    yield build["id"], build["state"]
    for job in build["jobs"]:
        running = job["state"] == "running" and job["phase"]
        yield job["target"], f"{job['state']}, {job['phase']}" if running else job["state"]
