"""What follows when somebody accepts an offered repository: its source, its projects, its first build."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.orm import Session

from buildfarm.errors import Conflict
from buildfarm.index import names
from buildfarm.scm.offered import offers
from buildfarm.scm.offered.begin import begin
from buildfarm.sources.model import Source
from webapp.context import farm


@dataclass(frozen=True)
class Accepted:
    """An offered repository's source, and the build of the ref that was pushed, or why there is none."""

    source: Source
    ref: str
    build: str | None
    refused: Conflict | None

    @property
    def build_url(self) -> str | None:
        """Where it is followed."""
        return f"{farm().settings.public_url.rstrip('/')}/builds/{self.build}" if self.build else None


def accepted(
    session: Session, offer_id: str, *, name: str | None, projects: list[str], actor: str
) -> Accepted:
    """Listen to an offered repository, let it publish the projects, and build what was pushed."""
    allow_file = farm().settings.sources_allow_file
    source, ref = offers.accept(session, offer_id, name=name, allow_file=allow_file, actor=actor)
    names.make_local(session, projects, source, actor=actor)
    try:
        return Accepted(source, ref, begin(session, source, ref, actor=actor).id, None)
    except Conflict as refused:
        return Accepted(source, ref, None, refused)
