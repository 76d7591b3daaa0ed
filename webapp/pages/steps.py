"""How far connecting by an SCM's API is: pure conclusions from what was ordered, and what looks found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from buildfarm.scm.answers.show import AnsweringRow
from buildfarm.scm.hooking.orders import OrderRow
from buildfarm.scm.hooking.rules import Ping, Verb
from buildfarm.scm.hooking.show import Watched
from buildfarm.sources.show import SecretRow


@dataclass(frozen=True)
class Step:
    """One step: `state` is `good`, `bad`, `waiting` for a worker, or `open` where somebody must act.

    `path` leads to more, where it is not empty.
    """

    name: str
    state: str
    sentence: str
    path: str = ""


def steps(
    answering: AnsweringRow | None,
    order: OrderRow | None,
    watch: Watched | None,
    secrets: Sequence[SecretRow],
    covered: str | None = None,
) -> list[Step]:
    """Token, hook, test call, and a call that was rightly signed, in this order; none without a token.

    `watch` is the last look that nobody asked for, `covered` the connection by whose hook a source's pushes
    come.
    """
    if answering is None:
        return []
    seen = watch if watch and _is_newer(watch, order) else None
    token = _token(answering, order, seen)
    if covered and not answering.hook_id and order is None:
        told = Step(
            "Hook",
            "good",
            "None is needed: pushes come by that of the connection.",
            f"/connections/{covered}",
        )
        return [token, told]
    return [token, _installed(answering, order, seen), _called(order), _seen(secrets)]


def _is_newer(watch: Watched, order: OrderRow | None) -> bool:
    """Whether the look says more of the hook than what was ordered last."""
    if watch.looked_at is None:
        return False
    return order is None or (order.done_at is not None and watch.looked_at > order.done_at)


def _token(answering: AnsweringRow, order: OrderRow | None, seen: Watched | None) -> Step:
    code = seen.code if seen else order.code if order else None
    if code == "forge.token_refused":
        return Step("Token", "bad", f"{answering.api_url} does not take it.")
    return Step("Token", "good", f"The farm speaks to {answering.api_url}.")


def _installed(answering: AnsweringRow, order: OrderRow | None, seen: Watched | None) -> Step:
    name = "Hook"
    if order and order.state == "waiting":
        doing = "is being installed" if order.verb == Verb.REPAIR else "is being looked at"
        return Step(name, "waiting", f"It {doing} by a worker.")
    if seen and seen.problem:
        return Step(name, "bad", seen.problem)
    if order and order.error:
        return Step(name, "bad", order.error)
    if order and order.health and order.health.drift:
        return Step(name, "bad", " ".join(order.health.drift))
    if answering.hook_id or (order and order.health and order.health.hook_id):
        return Step(
            name, "good", "It is in the SCM, with the address, the secrets and the events that are wanted."
        )
    return Step(name, "open", "It is not there yet: install it.")


def _called(order: OrderRow | None) -> Step:
    name = "Test call"
    if order and order.state == "waiting":
        return Step(name, "waiting", "The SCM is asked for it next.")
    if order is None or order.health is None or order.health.ping is Ping.NOT_ASKED:
        return Step(name, "open", "Nobody has asked the SCM for one.")
    good = order.health.ping in {Ping.CAME, Ping.NOT_OFFERED}
    delivery = order.health.ping_delivery
    path = f"/deliveries/{delivery}" if delivery else ""
    return Step(name, "good" if good else "bad", order.health.ping_detail, path)


def _seen(secrets: Sequence[SecretRow]) -> Step:
    if any(secret.last_used_at for secret in secrets):
        return Step("Seen", "good", "A call came in that was signed with a live secret.")
    return Step(
        "Seen", "open", "No call has come so far that was rightly signed: push, and this page shows it."
    )
