"""How a hook is, compared with how the farm wants it: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from buildfarm.scm.forges.port import Hook


class Verb(StrEnum):
    """What can be done with a hook.

    `check` looks and has the SCM call it; `repair` makes it as it should be, also where there is none;
    `rotate` gives it new secrets beside the old; `remove` ends it.
    """

    CHECK = "check"
    REPAIR = "repair"
    ROTATE = "rotate"
    REMOVE = "remove"


class Ping(StrEnum):
    """What came of asking the SCM to call the hook."""

    CAME = "came"
    LOST = "lost"
    REFUSED = "refused"
    NOT_OFFERED = "not_offered"
    NOT_ASKED = "not_asked"


@dataclass(frozen=True)
class Health:
    """How the hook was when it was looked at.

    `drift` are sentences, one for each thing that is not as the farm wants it; `trouble` is what the SCM says
    of the hook. `ping_delivery` is the delivery by which the SCM's call came, `ping_detail` a sentence on it.
    """

    hook_id: str | None
    url: str
    enabled: bool
    events: tuple[str, ...]
    drift: tuple[str, ...]
    trouble: str
    ping: Ping
    ping_delivery: str | None = None
    ping_detail: str = ""

    @property
    def is_good(self) -> bool:
        """Whether pushes reach the farm, as far as one can tell."""
        return self.hook_id is not None and not self.drift and self.ping in {Ping.CAME, Ping.NOT_OFFERED}


def find(hooks: Sequence[Hook], known_id: str | None, url: str) -> Hook | None:
    """The farm's hook: the one that it made, else one that calls the source's address."""
    by_id = next((hook for hook in hooks if hook.id == known_id), None)
    return by_id or next((hook for hook in hooks if hook.url.rstrip("/") == url), None)


def drift(hooks: Sequence[Hook], hook: Hook | None, url: str, events: frozenset[str]) -> tuple[str, ...]:
    """What is not as it should be; empty when all is well."""
    if hook is None:
        return ("There is no hook that calls this farm.",)
    found = []
    if hook.url != url:
        found.append(f"It calls {hook.url} and should call {url}.")
    if not hook.enabled:
        found.append("It is switched off.")
    if missing := sorted(events - hook.events):
        found.append(f"It does not tell of {', '.join(missing)}.")
    if twins := sum(1 for one in hooks if one.url.rstrip("/") == url and one.id != hook.id):
        found.append(
            f"There {'is another hook' if twins == 1 else f'are {twins} other hooks'} for this address."
        )
    return tuple(found)
