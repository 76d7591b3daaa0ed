"""The API v1 of Gitea and Forgejo, which is one for what is asked of it here.

Source: the API description that both serve at `/swagger.v1.json`: `repoCreateStatus`,
`repoGetCommitPullRequest`, `repoGetRepoPermissions`, `issueCreateComment`, `issueEditComment`,
`repoListHooks`, `orgListHooks` and their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from buildfarm.errors import Conflict
from buildfarm.scm.forges.address import in_path
from buildfarm.scm.forges.port import FailedDelivery, Hook, Outcome, Status, WantedHook
from buildfarm.scm.forges.rest import Rest, session

_STATES: Final = {
    Outcome.PENDING: "pending",
    Outcome.RUNNING: "pending",
    Outcome.SUCCESS: "success",
    Outcome.FAILED: "failure",
    Outcome.CANCELLED: "error",
}
_EVENTS: Final = frozenset({"push", "release", "pull_request"})


class GiteaForge:
    """One repository of a Gitea or Forgejo, or one organisation, of which only hooks can be asked.

    `type` of its hooks is the product's name.
    """

    events = _EVENTS
    redelivers = False

    def __init__(self, api: str, repository: str, token: str, *, ca_file: str | None, product: str) -> None:
        asking = session(ca_file)
        asking.headers["Authorization"] = f"token {token}"
        owner, _, name = repository.partition("/")
        self._product, self._is_repository = product, bool(name)
        place = f"repos/{in_path(owner)}/{in_path(name)}" if name else f"orgs/{in_path(owner)}"
        self._repo = Rest(f"{api}/{place}", asking)

    @property
    def pings(self) -> bool:
        """Those of organisations cannot be tested."""
        return self._is_repository

    def set_status(self, status: Status, known: str | None) -> str | None:
        """A commit status; the last of a context is the one that counts."""
        self._repo.post(
            f"/statuses/{status.commit}",
            {
                "state": _STATES[status.outcome],
                "context": status.context,
                "target_url": status.url,
                "description": status.description,
            },
        )
        return None

    def requests_of(self, commit: str) -> Sequence[str]:
        """The pull request that the commit came by; these SCMs name one at the most."""
        try:
            found = self._repo.get(f"/commits/{commit}/pull")
        except Conflict as err:
            if err.code != "forge.not_found":
                raise
            return []
        return [str(found["number"])] if found["state"] == "open" else []

    def comment(self, request: str, text: str, known: str | None) -> str:
        """A comment on the issue that a pull request is."""
        if known:
            try:
                self._repo.patch(f"/issues/comments/{int(known)}", {"body": text})
            except Conflict as err:
                if err.code != "forge.not_found":  # somebody removed it
                    raise
            else:
                return known
        path = f"/issues/{int(request)}/comments"
        for one in self._repo.get(path):
            if one["body"] == text:
                return str(one["id"])
        return str(self._repo.post(path, {"body": text})["id"])

    def may_write(self, user: str) -> bool:
        """By the permission that all of somebody's teams come to; the token must be an administrator's."""
        try:
            found = self._repo.get(f"/collaborators/{in_path(user)}/permission")
        except Conflict as err:
            if err.code != "forge.not_found":
                raise
            return False
        return found["permission"] in {"write", "admin", "owner"}

    def hooks(self) -> Sequence[Hook]:
        """The repository's own, without those of its organisation; or the organisation's."""
        return [_hook(one) for one in self._repo.numbered("/hooks")]

    def create_hook(self, wanted: WantedHook) -> Hook:
        """A hook that sends JSON."""
        return _hook(self._repo.post("/hooks", {"type": self._product, **_settings(wanted)}))

    def edit_hook(self, hook_id: str, wanted: WantedHook) -> Hook:
        """Its settings anew, and switched on."""
        return _hook(self._repo.patch(f"/hooks/{int(hook_id)}", _settings(wanted)))

    def delete_hook(self, hook_id: str) -> None:
        """Remove it."""
        self._repo.delete(f"/hooks/{int(hook_id)}")

    def ping_hook(self, hook_id: str) -> None:
        """Their test: a push of the default branch's head."""
        self._repo.post(f"/hooks/{int(hook_id)}/tests")

    def failed_deliveries(self, hook_id: str, since: datetime) -> Sequence[FailedDelivery]:
        """None can be had: deliveries are on their pages and not in their API."""
        return ()

    def redeliver(self, hook_id: str, delivery: FailedDelivery) -> None:
        """They cannot be asked to."""
        raise Conflict("This SCM sends nothing again by its API.", code="forge.not_offered")


def _settings(wanted: WantedHook) -> dict[str, Any]:
    config = {"url": wanted.url, "content_type": "json", "secret": wanted.secret}
    return {"config": config, "events": sorted(_EVENTS), "active": True}


def _hook(found: dict[str, Any]) -> Hook:
    return Hook(
        id=str(found["id"]),
        url=found["config"]["url"],
        events=frozenset(found["events"]),
        enabled=found["active"],
        trouble="" if found["active"] else "It is switched off.",
    )
