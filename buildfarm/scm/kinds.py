"""The SCMs the farm can listen to, by the name in `source add --scm`."""

from __future__ import annotations

from buildfarm.errors import InvalidInput
from buildfarm.scm.generic import Generic
from buildfarm.scm.github import GitHub
from buildfarm.scm.gitlab import GitLab
from buildfarm.scm.port import Scm

#: The names `scm_for` takes.
KINDS = (GitHub.kind, GitLab.kind, Generic.kind)


def scm_for(kind: str) -> Scm:
    """The receiver for a source's SCM kind. The source decides, never the headers of a request.

    Headers cannot: Forgejo sends GitHub's beside its own, and a sender could pick the weakest check.

    Raises:
        InvalidInput: code `source.scm_unknown`.
    """
    match kind:
        case GitHub.kind:
            return GitHub()
        case GitLab.kind:
            return GitLab()
        case Generic.kind:
            return Generic()
        case _:
            raise InvalidInput(
                f"There is no SCM kind {kind!r}.",
                code="source.scm_unknown",
                hint=f"Choose one of {', '.join(KINDS)}; `generic` serves any git server.",
            )
