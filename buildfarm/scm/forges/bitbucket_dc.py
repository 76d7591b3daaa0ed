"""Bitbucket Data Center's REST API.

Sources: Atlassian, "Bitbucket Data Center REST API": Builds and Deployments, Pull Requests, Repository
(webhooks), System Maintenance ("Get users", which takes permissions to search by); "Event payload" for the
names of events.
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
    Outcome.PENDING: "INPROGRESS",
    Outcome.RUNNING: "INPROGRESS",
    Outcome.SUCCESS: "SUCCESSFUL",
    Outcome.FAILED: "FAILED",
    Outcome.CANCELLED: "CANCELLED",
}
_EVENTS: Final = frozenset(
    {
        *("repo:refs_changed", "repo:modified", "pr:opened", "pr:from_ref_updated", "pr:merged"),
        *("pr:declined", "pr:comment:added"),
    }
)
_KEY_MAX: Final = 255


class BitbucketDataCenterForge:
    """One repository of a Bitbucket Data Center, or one project, of which only hooks can be asked.

    The token is an HTTP access token.
    """

    events = _EVENTS
    pings = True
    redelivers = False

    def __init__(self, api: str, repository: str, token: str, *, ca_file: str | None) -> None:
        asking = session(ca_file)
        asking.headers["Authorization"] = f"Bearer {token}"
        project, _, name = repository.partition("/")
        self._project, self._name = project, name
        self._users = Rest(f"{api}/users", asking)
        below = f"/repos/{in_path(name)}" if name else ""
        self._repo = Rest(f"{api}/projects/{in_path(project)}{below}", asking)

    def set_status(self, status: Status, known: str | None) -> str | None:
        """A build status; one with the same key takes its place."""
        self._repo.post(
            f"/commits/{status.commit}/builds",
            {
                "key": status.context[:_KEY_MAX],
                "name": status.context[:_KEY_MAX],
                "ref": status.ref,
                "state": _STATES[status.outcome],
                "url": status.url,
                "description": status.description,
            },
        )
        return None

    def requests_of(self, commit: str) -> Sequence[str]:
        """The open pull requests with this commit."""
        found = self._repo.started(f"/commits/{commit}/pull-requests")
        return [str(one["id"]) for one in found if one["state"] == "OPEN"]

    def comment(self, request: str, text: str, known: str | None) -> str:
        """A comment on a pull request; changing one takes the version that it has."""
        path = f"/pull-requests/{int(request)}"
        if known:
            try:
                now = self._repo.get(f"{path}/comments/{int(known)}")
                change = {"text": text, "version": now["version"]}
                self._repo.put(f"{path}/comments/{int(known)}", change)
            except Conflict as err:
                if err.code != "forge.not_found":  # somebody removed it
                    raise
            else:
                return known
        for activity in self._repo.started(f"{path}/activities"):
            if activity["action"] == "COMMENTED" and activity["comment"]["text"] == text:
                return str(activity["comment"]["id"])
        return str(self._repo.post(f"{path}/comments", {"text": text})["id"])

    def may_write(self, user: str) -> bool:
        """By the list of those who may, be it by a group or by the project, which is searched by name."""
        able = self._users.started(
            "",
            **{
                "filter": user,
                "permission.1": "REPO_WRITE",
                "permission.1.projectKey": self._project,
                "permission.1.repositorySlug": self._name,
            },
        )
        return any(one["name"] == user and one["active"] for one in able)

    def hooks(self) -> Sequence[Hook]:
        """The repository's own, without those of its project, or the project's; each with its last call."""
        return [_hook(one, self._last_call(one["id"])) for one in self._repo.started("/webhooks")]

    def create_hook(self, wanted: WantedHook) -> Hook:
        """A webhook that signs."""
        return _hook(self._repo.post("/webhooks", _settings(wanted)), None)

    def edit_hook(self, hook_id: str, wanted: WantedHook) -> Hook:
        """Its settings anew, and switched on."""
        return _hook(self._repo.put(f"/webhooks/{int(hook_id)}", _settings(wanted)), None)

    def delete_hook(self, hook_id: str) -> None:
        """Remove it."""
        self._repo.delete(f"/webhooks/{int(hook_id)}")

    def ping_hook(self, hook_id: str) -> None:
        """Its test, which sends `diagnostics:ping`."""
        url = self._repo.get(f"/webhooks/{int(hook_id)}")["url"]
        self._repo.post("/webhooks/test", webhookId=int(hook_id), url=url)

    def failed_deliveries(self, hook_id: str, since: datetime) -> Sequence[FailedDelivery]:
        """None can be had: the API tells of the last call of each kind alone."""
        return ()

    def redeliver(self, hook_id: str, delivery: FailedDelivery) -> None:
        """It cannot be asked to."""
        raise Conflict("Bitbucket Data Center sends nothing again.", code="forge.not_offered")

    def _last_call(self, hook_id: int) -> dict[str, Any] | None:
        """The last call's `event` and `result`; None when there was none."""
        found: dict[str, Any] | None = self._repo.get(f"/webhooks/{hook_id}/latest")
        return found


def _settings(wanted: WantedHook) -> dict[str, Any]:
    return {
        "name": "buildfarm",
        "url": wanted.url,
        "active": True,
        "events": sorted(_EVENTS),
        "configuration": {"secret": wanted.secret},
        "sslVerificationRequired": True,
    }


def _hook(found: dict[str, Any], last: dict[str, Any] | None) -> Hook:
    result = (last or {}).get("result") or {}
    failed = result.get("outcome", "SUCCESS") != "SUCCESS"
    trouble = f"Its last call failed: {str(result.get('description'))[:200]}." if failed else ""
    return Hook(
        id=str(found["id"]),
        url=found["url"],
        events=frozenset(found["events"]),
        enabled=found["active"],
        trouble=trouble if found["active"] else "It is switched off.",
    )
