"""Waves that would do something now: what was built before something newer was here.

They are offered, to be previewed and opened by a person. What could have been built with the newer thing and
was not, since its own requirements forbid that, is not told of.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from sqlalchemy.orm import Session

from buildfarm.farm import registry
from buildfarm.index import channels
from buildfarm.storage.blobs import Blobs
from buildfarm.waves import own, run
from buildfarm.waves.own import Own
from buildfarm.waves.triggers import Kind, Trigger, judge_of, obstacle

_WHY = {
    Kind.IMAGE: "built in an older image of {}",
    Kind.PYTHON: "without wheels for {}",
    Kind.PROJECT: "built with an older {}",
}


@dataclass(frozen=True)
class Offer:
    """A wave that would build `projects` releases of `channel` again, and then what needs those.

    `why` is what they are: `built in an older image of trixie`.
    """

    trigger: str
    subject: str
    channel: str
    projects: int
    why: str


def offers(session: Session, blobs: Blobs, *, channel: str) -> list[Offer]:
    """What a channel could have waves for, the largest first; nothing while it has one.

    Raises:
        NotFound: `channel.unknown`.
        Conflict: `channel.not_durable`.
    """
    channels.demand_durable(channels.get(session, channel))
    if any(wave.channel == channel for wave in run.under_way(session)):
        return []
    every = own.current(session, blobs, channel)
    able = [one for one in every.values() if not obstacle(one)]
    found: Counter[Trigger] = Counter()
    builders = [image for image in registry.images(session) if image.role == "builder"]
    news = {Trigger(Kind.IMAGE, image.suite) for image in builders}
    news |= {Trigger(Kind.PYTHON, tag) for image in builders for tag in image.interpreters}
    for trigger in news:
        judge = judge_of(session, every, trigger)
        found[trigger] = sum(judge(one)[0] for one in able)
    for one in able:
        found.update(Trigger(Kind.PROJECT, name) for name in one.read if _came_later(every.get(name), one))
    ranked = sorted(found.items(), key=lambda each: (-each[1], each[0].kind, each[0].subject))
    return [
        Offer(what.kind, what.subject, channel, count, _WHY[what.kind].format(what.subject))
        for what, count in ranked
        if count
    ]


def _came_later(library: Own | None, one: Own) -> bool:
    """Whether the newest version of what a project was built with was not there then."""
    if library is None or one.built_at is None or library.version in one.read[library.project]:
        return False
    return library.released_at > one.built_at
