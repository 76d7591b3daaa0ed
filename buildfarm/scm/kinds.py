"""The SCMs the farm can listen to, by the name in `source add --scm`."""

from __future__ import annotations

from urllib.parse import urlsplit

from buildfarm.errors import InvalidInput
from buildfarm.scm.bitbucket_cloud import BitbucketCloud
from buildfarm.scm.bitbucket_data_center import BitbucketDataCenter
from buildfarm.scm.forgejo import Forgejo
from buildfarm.scm.generic import Generic
from buildfarm.scm.generic_settings import GenericSettings
from buildfarm.scm.gitea import Gitea
from buildfarm.scm.github import GitHub
from buildfarm.scm.gitlab import GitLab
from buildfarm.scm.pagure import Pagure
from buildfarm.scm.port import Scm
from buildfarm.sources.model import Source

_RECEIVERS: dict[str, Scm] = {
    scm.kind: scm
    for scm in (
        GitHub(), GitLab(), Gitea(), Forgejo(), BitbucketDataCenter(), BitbucketCloud(), Pagure(), Generic()
    )
}  # fmt: skip

#: The names `scm_for` takes.
KINDS = tuple(_RECEIVERS)

#: Words in a host's name, and the SCM they suggest.
_HOSTS = {
    "github": GitHub.kind,
    "gitlab": GitLab.kind,
    "gitea": Gitea.kind,
    "forgejo": Forgejo.kind,
    "codeberg.org": Forgejo.kind,
    "bitbucket.org": BitbucketCloud.kind,
    "bitbucket": BitbucketDataCenter.kind,
    "pagure": Pagure.kind,
}


def scm_for(kind: str, settings: GenericSettings | None = None) -> Scm:
    """The receiver for a source's SCM kind. The source decides, never the headers of a request.

    Headers cannot: Forgejo sends GitHub's beside its own, and a sender could pick the weakest check.

    Raises:
        InvalidInput: code `source.scm_unknown`; `source.generic_settings`, this kind takes no settings.
    """
    if kind not in _RECEIVERS:
        raise InvalidInput(
            f"There is no SCM kind {kind!r}.",
            code="source.scm_unknown",
            hint=f"Choose one of {', '.join(KINDS)}; `generic` serves any git server.",
        )
    if settings is None:
        return _RECEIVERS[kind]
    if kind != Generic.kind:
        raise InvalidInput(
            f"A source of the kind {kind} takes no settings of its sender.",
            code="source.generic_settings",
            hint="Leave them out: how it signs and what it sends is known.",
        )
    return Generic(settings)


def receiver_of(source: Source) -> Scm:
    """The receiver of a source, with the settings that it has."""
    given = source.scm_settings
    return scm_for(source.scm, None if given is None else GenericSettings.model_validate(given))


def reader_of(scm: str, source: Source) -> Scm:
    """What reads a delivery that is kept: a connection's may be of another kind than the source it is for."""
    return receiver_of(source) if scm == source.scm else scm_for(scm)


def kind_of(url: str) -> str:
    """The SCM that a repository URL suggests by its host's name; `generic` serves every other."""
    host = urlsplit(url).hostname or ""
    return next((kind for word, kind in _HOSTS.items() if word in host), Generic.kind)
