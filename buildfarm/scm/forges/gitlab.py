"""GitLab's API v4, by python-gitlab.

Sources: GitLab REST API, "Commits", "Merge requests", "Notes", "Project webhooks", "Group webhooks".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

import gitlab
from gitlab.v4.objects import Group, Project

from buildfarm.errors import Conflict
from buildfarm.scm.forges.port import FailedDelivery, Hook, Outcome, Status, WantedHook
from buildfarm.scm.forges.rest import TIMEOUT_S, USER_AGENT, reaching, session

_STATES: Final = {
    Outcome.PENDING: "pending",
    Outcome.RUNNING: "running",
    Outcome.SUCCESS: "success",
    Outcome.FAILED: "failed",
    Outcome.CANCELLED: "canceled",
}
#: "Transition": a status that is as wanted already, or past it; GitLab goes one way only.
_NO_STEP: Final = "Cannot transition status"
_EVENTS: Final = frozenset(
    {"push_events", "tag_push_events", "releases_events", "merge_requests_events", "note_events"}
)
#: How many of a hook's newest calls are looked at.
_CALLS: Final = 200


class GitLabForge:
    """One project of a GitLab, or one group, of which nothing but its hooks can be asked."""

    events = _EVENTS
    pings = True
    redelivers = True

    def __init__(
        self, api: str, project: str, token: str, *, ca_file: str | None, is_group: bool = False
    ) -> None:
        self._api = gitlab.Gitlab(
            api,
            private_token=token,
            timeout=TIMEOUT_S,
            ssl_verify=ca_file or True,
            user_agent=USER_AGENT,
            # Behind a proxy it may name itself otherwise in its links to next pages.
            keep_base_url=True,
            session=session(ca_file),
        )
        self._project = self._api.projects.get(project, lazy=True)
        self._hooked: Project | Group = (
            self._api.groups.get(project, lazy=True) if is_group else self._project
        )

    def set_status(self, status: Status, known: str | None) -> str | None:
        """A commit status; GitLab finds the one to change by name."""
        commit = self._project.commits.get(status.commit, lazy=True)
        with reaching():
            try:
                commit.statuses.create(
                    {
                        "state": _STATES[status.outcome],
                        "ref": status.ref.removeprefix("refs/heads/").removeprefix("refs/tags/"),
                        "name": status.context,
                        "target_url": status.url,
                        "description": status.description,
                    }
                )
            except Conflict as err:
                if err.code != "forge.refused" or _NO_STEP not in err.message:
                    raise
        return None

    def requests_of(self, commit: str) -> Sequence[str]:
        """The open merge requests with this commit."""
        with reaching():
            found = self._project.commits.get(commit, lazy=True).merge_requests()
            return [str(one["iid"]) for one in found if one["state"] == "opened"]

    def comment(self, request: str, text: str, known: str | None) -> str:
        """A note on a merge request."""
        notes = self._project.mergerequests.get(int(request), lazy=True).notes
        with reaching():
            if known:
                try:
                    notes.update(int(known), {"body": text})
                except Conflict as err:
                    if err.code != "forge.not_found":  # somebody removed it
                        raise
                else:
                    return known
            for note in notes.list(iterator=True):
                if note.body == text:
                    return str(note.id)
            return str(notes.create({"body": text}).id)

    def may_write(self, user: str) -> bool:
        """From the role Developer on, inherited ones too; somebody who is blocked may nothing."""
        with reaching():
            try:
                found = self._project.members_all.get(int(user))
            except Conflict as err:
                if err.code != "forge.not_found":
                    raise
                return False
            return found.state == "active" and int(found.access_level) >= gitlab.const.AccessLevel.DEVELOPER

    def hooks(self) -> Sequence[Hook]:
        """The project's own, without those of its groups; or the group's."""
        with reaching():
            return [_hook(one.attributes) for one in self._hooked.hooks.list(get_all=True)]

    def create_hook(self, wanted: WantedHook) -> Hook:
        """A hook with the classic token and, where GitLab knows it, the signing token."""
        with reaching():
            return _hook(self._hooked.hooks.create(_settings(wanted)).attributes)

    def edit_hook(self, hook_id: str, wanted: WantedHook) -> Hook:
        """Its settings anew; GitLab enables a disabled hook again when its test succeeds."""
        with reaching():
            self._hooked.hooks.update(int(hook_id), _settings(wanted))
            return _hook(self._hooked.hooks.get(int(hook_id)).attributes)

    def delete_hook(self, hook_id: str) -> None:
        """Remove it."""
        with reaching():
            self._hooked.hooks.delete(int(hook_id))

    def ping_hook(self, hook_id: str) -> None:
        """GitLab's test: the last push, sent again; refused where the project has none."""
        with reaching():
            self._hooked.hooks.get(int(hook_id), lazy=True).test("push_events")

    def failed_deliveries(self, hook_id: str, since: datetime) -> Sequence[FailedDelivery]:
        """From the log of the hook's calls, which GitLab keeps for a week; none before GitLab 17.3."""
        failed: dict[str, FailedDelivery] = {}
        taken: set[str] = set()
        with reaching():
            for _, call in zip(range(_CALLS), self._calls(hook_id), strict=False):
                at = datetime.fromisoformat(call["created_at"]) if "created_at" in call else since
                if at < since:
                    break
                sent = {name.lower(): text for name, text in call.get("request_headers", {}).items()}
                carried = sent.get("idempotency-key") or str(call["id"])
                answer = str(call["response_status"])
                if answer.startswith("2"):
                    taken.add(carried)
                else:
                    one = FailedDelivery(str(call["id"]), carried, call["trigger"], at, answer)
                    failed.setdefault(carried, one)
        return [one for carried, one in failed.items() if carried not in taken]

    def redeliver(self, hook_id: str, delivery: FailedDelivery) -> None:
        """GitLab's resend."""
        with reaching():
            self._api.http_post(f"{self._hook_path(hook_id)}/events/{int(delivery.id)}/resend")

    def _calls(self, hook_id: str) -> Iterator[dict[str, Any]]:
        try:
            calls: Any = self._api.http_list(f"{self._hook_path(hook_id)}/events", iterator=True)
            yield from calls
        except Conflict as err:
            if err.code != "forge.not_found":
                raise

    def _hook_path(self, hook_id: str) -> str:
        return f"{self._hooked.manager.path}/{self._hooked.encoded_id}/hooks/{int(hook_id)}"


def _settings(wanted: WantedHook) -> dict[str, Any]:
    settings = {"url": wanted.url, "token": wanted.secret, "enable_ssl_verification": True}
    settings |= {"signing_token": wanted.signing_token} if wanted.signing_token else {}
    return settings | dict.fromkeys(_EVENTS, True)


def _hook(found: dict[str, Any]) -> Hook:
    state = found.get("alert_status", "executable")
    until = found.get("disabled_until")
    trouble = (
        "" if state == "executable" else f"GitLab has switched it off{f' until {until}' if until else ''}."
    )
    return Hook(
        id=str(found["id"]),
        url=found["url"],
        events=frozenset(name for name, on in found.items() if name.endswith("_events") and on is True),
        enabled=state == "executable",
        trouble=trouble,
        suspended=state != "executable",
    )
