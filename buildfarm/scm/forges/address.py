"""Where an SCM's API is and what it calls the repository, both from the source's URL."""

from __future__ import annotations

import ipaddress
from urllib.parse import quote, urlsplit

from buildfarm.errors import InvalidInput
from buildfarm.sources.rules import checked_url

#: Hosts whose API is elsewhere.
_HOSTED = {
    ("github", "github.com"): "https://api.github.com",
    ("bitbucket-cloud", "bitbucket.org"): "https://api.bitbucket.org/2.0",
}
#: Path of the API on the SCM's own host; python-gitlab adds GitLab's.
_PATHS = {
    "github": "/api/v3",
    "gitlab": "",
    "gitea": "/api/v1",
    "forgejo": "/api/v1",
    "bitbucket-data-center": "/rest/api/latest",
    "bitbucket-cloud": "/2.0",
}

#: The SCMs that have an API which the farm speaks.
KINDS = tuple(_PATHS)


def api_url(kind: str, url: str) -> str:
    """The API's address for a repository at `url`, without a slash at its end.

    An SCM that lives below a path of its host must be told: the URL cannot say where the path ends.

    Raises:
        InvalidInput: `forge.none`, this SCM has no API, or a `file:` URL no SCM.
    """
    parts = checked_url(url, allow_file=True)
    if kind not in _PATHS or parts.scheme == "file":
        raise InvalidInput(
            f"The farm knows no API of the SCM kind {kind} at this URL.",
            code="forge.none",
            hint=f"There is one for {', '.join(KINDS)}.",
        )
    if known := _HOSTED.get((kind, parts.host.lower().removeprefix("ssh."))):
        return known
    host = f"[{parts.host}]" if ":" in parts.host else parts.host
    # The port of an ssh URL is not the API's.
    port = urlsplit(url).port if parts.scheme != "ssh" else None
    scheme = "http" if parts.scheme == "http" else "https"
    return f"{scheme}://{host}{f':{port}' if port else ''}{_PATHS[kind]}"


def checked_api_url(url: str) -> str:
    """The address as it was given, if the token may be sent there.

    Raises:
        InvalidInput: `forge.api_url`.
    """
    problem = ""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
        if parts.scheme not in {"https", "http"} or not host or not url.isprintable():
            problem = "it is no http or https URL"
        elif parts.scheme == "http" and not _is_loopback(host):
            problem = "the token would cross the network in clear; use https"
        elif "@" in parts.netloc or parts.query or parts.fragment or " " in url:
            problem = "it holds more than host and path"
    except ValueError:
        problem = "it is not well formed"
    if problem:
        raise InvalidInput(f"This API address cannot be used: {problem}.", code="forge.api_url")
    return url.rstrip("/")


def repository_path(kind: str, url: str, api: str) -> str:
    """What the SCM calls the repository: `acme/widget`, with all groups on GitLab."""
    path = urlsplit(url).path.strip("/").removesuffix(".git")
    below = urlsplit(api).path.removesuffix(_PATHS[kind]).strip("/")
    if below and path.startswith(f"{below}/"):
        path = path.removeprefix(f"{below}/")
    if kind == "bitbucket-data-center":
        path = path.removeprefix("scm/")
    return path


def owner_path(kind: str, url: str, api: str) -> str:
    """What the SCM calls the owner of repositories at `url`: an organisation, group, project or workspace.

    Taken as their pages' addresses are, too: `/groups/a/b`, `/orgs/a`, `/projects/A`.
    """
    path = repository_path(kind, url, api)
    first, _, rest = path.partition("/")
    return rest if rest and first in {"groups", "orgs", "projects"} else path


def in_path(text: str) -> str:
    """Quoted as one part of a URL's path."""
    return quote(text, safe="")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"
