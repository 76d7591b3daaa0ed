"""Bitbucket Cloud's REST API 2.0.

Sources: Atlassian, "The Bitbucket Cloud REST API": Commit statuses, Pullrequests, Repositories (hooks),
Workspaces (repository permissions; for tokens that may administer the repository).
"""

from __future__ import annotations

import hashlib
import re
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
    Outcome.CANCELLED: "STOPPED",
}
_EVENTS: Final = frozenset(
    {
        "repo:push",
        "repo:updated",
        "pullrequest:created",
        "pullrequest:updated",
        "pullrequest:fulfilled",
        "pullrequest:rejected",
        "pullrequest:comment_created",
    }
)
_KEY_MAX: Final = 40
#: What may stand in a search between quotes.
_UUID: Final = re.compile(r"\{[0-9a-f-]{36}\}")


class BitbucketCloudForge:
    """One repository of Bitbucket Cloud, or one workspace, of which only hooks can be asked.

    The token is an access token of it, its project or workspace.
    """

    events = _EVENTS
    pings = False
    redelivers = False

    def __init__(self, api: str, repository: str, token: str, *, ca_file: str | None) -> None:
        asking = session(ca_file)
        asking.headers["Authorization"] = f"Bearer {token}"
        workspace, _, name = repository.partition("/")
        self._permissions = Rest(
            f"{api}/workspaces/{in_path(workspace)}/permissions/repositories/{in_path(name)}", asking
        )
        below = f"repositories/{in_path(workspace)}/{in_path(name)}"
        self._repo = Rest(f"{api}/{below if name else f'workspaces/{in_path(workspace)}'}", asking)

    def set_status(self, status: Status, known: str | None) -> str | None:
        """A build status; one with the same key takes its place."""
        self._repo.post(
            f"/commit/{status.commit}/statuses/build",
            {
                "key": _key(status.context),
                "name": status.context,
                "state": _STATES[status.outcome],
                "url": status.url,
                "description": status.description,
            },
        )
        return None

    def requests_of(self, commit: str) -> Sequence[str]:
        """The open pull requests with this commit; none where the workspace does not index them."""
        try:
            found = list(self._repo.linked(f"/commit/{commit}/pullrequests"))
        except Conflict as err:
            if err.code != "forge.not_found":
                raise
            return []
        return [str(one["id"]) for one in found if one.get("state", "OPEN") == "OPEN"]

    def comment(self, request: str, text: str, known: str | None) -> str:
        """A comment on a pull request."""
        path, content = f"/pullrequests/{int(request)}/comments", {"content": {"raw": text}}
        if known:
            try:
                self._repo.put(f"{path}/{int(known)}", content)
            except Conflict as err:
                if err.code != "forge.not_found":  # somebody removed it
                    raise
            else:
                return known
        for one in self._repo.linked(path):
            if one["content"]["raw"] == text:
                return str(one["id"])
        return str(self._repo.post(path, content)["id"])

    def may_write(self, user: str) -> bool:
        """By the permission that all of somebody's groups come to."""
        if not _UUID.fullmatch(user):
            return False
        found = self._permissions.linked("", q=f'user.uuid="{user}"')
        return any(one["user"]["uuid"] == user and one["permission"] in {"write", "admin"} for one in found)

    def hooks(self) -> Sequence[Hook]:
        """The repository's own, without those of its workspace; or the workspace's."""
        return [_hook(one) for one in self._repo.linked("/hooks")]

    def create_hook(self, wanted: WantedHook) -> Hook:
        """A webhook that signs."""
        return _hook(self._repo.post("/hooks", _settings(wanted)))

    def edit_hook(self, hook_id: str, wanted: WantedHook) -> Hook:
        """Its settings anew, and switched on."""
        return _hook(self._repo.put(f"/hooks/{in_path(hook_id)}", _settings(wanted)))

    def delete_hook(self, hook_id: str) -> None:
        """Remove it."""
        self._repo.delete(f"/hooks/{in_path(hook_id)}")

    def ping_hook(self, hook_id: str) -> None:
        """It cannot be asked to."""
        raise Conflict(
            "Bitbucket Cloud tests no hook.", code="forge.not_offered", hint="Push to see it work."
        )

    def failed_deliveries(self, hook_id: str, since: datetime) -> Sequence[FailedDelivery]:
        """None can be had: calls are on its pages and not in its API."""
        return ()

    def redeliver(self, hook_id: str, delivery: FailedDelivery) -> None:
        """It cannot be asked to."""
        raise Conflict("Bitbucket Cloud sends nothing again.", code="forge.not_offered")


def _key(context: str) -> str:
    """The context where it is short enough, else its SHA-1, which is as long as a key may be."""
    is_short = len(context) <= _KEY_MAX
    return context if is_short else hashlib.sha1(context.encode(), usedforsecurity=False).hexdigest()


def _settings(wanted: WantedHook) -> dict[str, Any]:
    return {
        "description": "buildfarm",
        "url": wanted.url,
        "active": True,
        "secret": wanted.secret,
        "events": sorted(_EVENTS),
    }


def _hook(found: dict[str, Any]) -> Hook:
    return Hook(
        id=found["uuid"],
        url=found["url"],
        events=frozenset(found["events"]),
        enabled=found["active"],
        trouble="" if found["active"] else "It is switched off.",
    )
