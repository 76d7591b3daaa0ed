"""GitHub's REST API, of github.com and of Enterprise Server, by PyGithub.

With a token, a commit is marked by statuses; a GitHub App marks it by check runs, which can point at a line.
Sources: GitHub REST API, "Commit statuses", "Check runs", "Repository webhooks", "Issue comments".
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, Final

import requests
from github import Auth, Github, GithubException, GithubIntegration
from github.Hook import Hook as GithubHook
from github.Organization import Organization
from github.Repository import Repository

from buildfarm.scm.forges.faults import away, fault, moved
from buildfarm.scm.forges.port import FailedDelivery, Hook, Outcome, Status, WantedHook
from buildfarm.scm.forges.rest import TIMEOUT_S, USER_AGENT

_STATES: Final = {
    Outcome.PENDING: "pending",
    Outcome.RUNNING: "pending",
    Outcome.SUCCESS: "success",
    Outcome.FAILED: "failure",
    Outcome.CANCELLED: "error",
}
_CHECKS: Final[dict[Outcome, dict[str, str]]] = {
    Outcome.PENDING: {"status": "queued"},
    Outcome.RUNNING: {"status": "in_progress"},
    Outcome.SUCCESS: {"status": "completed", "conclusion": "success"},
    Outcome.FAILED: {"status": "completed", "conclusion": "failure"},
    Outcome.CANCELLED: {"status": "completed", "conclusion": "cancelled"},
}
_EVENTS: Final = frozenset({"push", "release", "pull_request", "issue_comment", "repository"})
#: How many of a hook's newest calls are looked at.
_CALLS: Final = 200
#: `src/rim.c:12:5: error: ...` of compilers, `File "setup.py", line 3` of Python.
_PLACES: Final = (
    re.compile(r"(?:^|\s)(?P<path>[\w.][\w./+-]{0,200}\.\w{1,8}):(?P<line>[1-9]\d{0,6})(?::\d+)?:"),
    re.compile(r'File "(?P<path>[\w.][\w./+-]{0,200})", line (?P<line>[1-9]\d{0,6})'),
)


class GitHubForge:
    """One repository of a GitHub, or one organisation, of which nothing but its hooks can be asked.

    Args:
        api: the API's address.
        repository: `owner/name`, or the organisation's name.
        token: a token, or with `app_id` the private key of a GitHub App in PEM form.
        app_id: the App's id.
        ca_file: authorities of the host's certificate, where they are not the machine's.
    """

    events = _EVENTS
    pings = True
    redelivers = True

    def __init__(
        self, api: str, repository: str, token: str, *, app_id: str | None = None, ca_file: str | None
    ) -> None:
        # When to ask again is the farm's to decide, so the library neither waits nor repeats.
        self._how: dict[str, Any] = {
            "base_url": api, "timeout": int(TIMEOUT_S), "user_agent": USER_AGENT, "verify": ca_file or True,
            "retry": None, "seconds_between_requests": None, "seconds_between_writes": None, "lazy": True,
        }  # fmt: skip
        self._name, self._app_id, self._token = repository, app_id, token
        self._opened: Repository | None = None
        self._holder: Repository | Organization | None = None

    def set_status(self, status: Status, known: str | None) -> str | None:
        """A commit status, or an App's check run, which is made once and then changed."""
        with _translated():
            if self._app_id:
                return self._check(status, known)
            self._repo.requester.requestJsonAndCheck(
                "POST",
                f"{self._repo.url}/statuses/{status.commit}",
                input={
                    "state": _STATES[status.outcome],
                    "context": status.context,
                    "target_url": status.url,
                    "description": status.description,
                },
            )
        return None

    def requests_of(self, commit: str) -> Sequence[str]:
        """The open pull requests with this commit."""
        with _translated():
            return [
                str(one.number) for one in self._repo.get_commit(commit).get_pulls() if one.state == "open"
            ]

    def comment(self, request: str, text: str, known: str | None) -> str:
        """A comment on the issue that a pull request is."""
        with _translated():
            issue = self._repo.get_issue(int(request))
            if known:
                try:
                    issue.get_comment(int(known)).edit(text)
                except GithubException as err:
                    if err.status != 404:  # somebody removed it
                        raise
                else:
                    return known
            for one in issue.get_comments():
                if one.body == text:
                    return str(one.id)
            return str(issue.create_comment(text).id)

    def may_write(self, user: str) -> bool:
        """By the permission that all of somebody's roles and teams come to; `maintain` is `write` here."""
        with _translated():
            try:
                return self._repo.get_collaborator_permission(user) in {"write", "admin"}
            except GithubException as err:
                if err.status != 404:
                    raise
                return False

    def hooks(self) -> Sequence[Hook]:
        """The repository's own, without those of its organisation; or the organisation's."""
        with _translated():
            return [_hook(one) for one in self._hooked.get_hooks()]

    def create_hook(self, wanted: WantedHook) -> Hook:
        """A webhook that sends JSON."""
        with _translated():
            return _hook(self._hooked.create_hook("web", _config(wanted), sorted(_EVENTS), active=True))

    def edit_hook(self, hook_id: str, wanted: WantedHook) -> Hook:
        """Its settings anew, and switched on."""
        with _translated():
            hook = self._hooked.get_hook(int(hook_id))
            hook.edit("web", _config(wanted), sorted(_EVENTS), active=True)
            return _hook(hook)

    def delete_hook(self, hook_id: str) -> None:
        """Remove it."""
        with _translated():
            self._hooked.get_hook(int(hook_id)).delete()

    def ping_hook(self, hook_id: str) -> None:
        """GitHub's ping."""
        with _translated():
            self._hooked.get_hook(int(hook_id)).ping()

    def failed_deliveries(self, hook_id: str, since: datetime) -> Sequence[FailedDelivery]:
        """From the list of the hook's deliveries, which GitHub keeps for three days."""
        failed: dict[str, FailedDelivery] = {}
        taken: set[str] = set()
        with _translated():
            for _, one in zip(range(_CALLS), self._hooked.get_hook_deliveries(int(hook_id)), strict=False):
                at, guid = one.delivered_at, one.guid
                if at is None or guid is None or at < since:
                    break
                if one.status_code is not None and 200 <= one.status_code < 300:
                    taken.add(guid)
                else:
                    found = FailedDelivery(str(one.id), guid, one.event or "", at, one.status or "")
                    failed.setdefault(guid, found)
        return [one for guid, one in failed.items() if guid not in taken]

    def redeliver(self, hook_id: str, delivery: FailedDelivery) -> None:
        """GitHub's redelivery, under the same delivery id."""
        with _translated():
            url = f"{self._hooked.url}/hooks/{int(hook_id)}/deliveries/{int(delivery.id)}/attempts"
            self._hooked.requester.requestJsonAndCheck("POST", url)

    @property
    def _repo(self) -> Repository:
        """The repository, of which nothing is asked."""
        if self._opened is None:
            self._opened = self._github().get_repo(self._name)
        return self._opened

    @property
    def _hooked(self) -> Repository | Organization:
        """What has the hooks, of which nothing is asked."""
        if self._holder is None:
            is_repository = "/" in self._name
            self._holder = self._repo if is_repository else self._github().get_organization(self._name)
        return self._holder

    def _github(self) -> Github:
        """The whole; for an App, with the token of its installation there."""
        if not self._app_id:
            return Github(auth=Auth.Token(self._token), **self._how)
        how = {name: value for name, value in self._how.items() if name != "verify"}
        auth = Auth.AppAuth(self._app_id, self._token)
        app = GithubIntegration(auth=auth, verify=self._how["verify"], **how)
        owner, _, name = self._name.partition("/")
        found = app.get_repo_installation(owner, name) if name else app.get_org_installation(owner)
        return app.get_github_for_installation(found.id)

    def _check(self, status: Status, known: str | None) -> str:
        output: dict[str, Any] = {"title": status.description, "summary": _quoted(status)}
        if place := _place(status.error):
            path, line = place
            output["annotations"] = [
                {
                    "path": path,
                    "start_line": line,
                    "end_line": line,
                    "annotation_level": "failure",
                    "message": status.error,
                }
            ]
        facts: dict[str, Any] = {"details_url": status.url, "output": output, **_CHECKS[status.outcome]}
        if known:
            self._repo.get_check_run(int(known)).edit(name=status.context, **facts)
            return known
        return str(self._repo.create_check_run(status.context, status.commit, **facts).id)


def _quoted(status: Status) -> str:
    """Markdown; what the log says is shown as it is, and names nobody."""
    line = f"    {status.error}\n\n" if status.error else ""
    return f"{line}[{status.context}]({status.url})"


def _place(error: str) -> tuple[str, int] | None:
    """File and line in the repository that the telling line of a log names."""
    for pattern in _PLACES:
        found = pattern.search(error)
        if found and ".." not in found["path"].split("/"):
            return found["path"].removeprefix("./"), int(found["line"])
    return None


def _config(wanted: WantedHook) -> dict[str, str]:
    return {"url": wanted.url, "content_type": "json", "secret": wanted.secret, "insecure_ssl": "0"}


def _hook(found: GithubHook) -> Hook:
    # The code is null before the first call.
    last = found.last_response
    code = last.code if last else None
    trouble = f"Its last call was answered with {code}." if code and not 200 <= code < 300 else ""
    return Hook(
        id=str(found.id),
        url=str(found.config.get("url", "")),
        events=frozenset(found.events),
        enabled=found.active,
        trouble=trouble if found.active else "It is switched off.",
    )


@contextmanager
def _translated() -> Iterator[None]:
    """PyGithub's exceptions as the farm's."""
    try:
        yield
    except GithubException as err:
        said = err.data.get("message", "") if isinstance(err.data, dict) else ""
        raise fault(err.status, err.headers or {}, str(said)) from err
    except requests.RequestException as err:
        # Its text may hold the URL and, with a proxy, a password; the class says enough.
        raise away(f"{type(err).__name__} on the way to it") from err
    except (AssertionError, RuntimeError) as err:
        # PyGithub follows no link (assertion) and no redirect (runtime error) to another host than the API's.
        raise moved() from err
