"""SCMs that send deliveries, each in its own way, and what came of them."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from buildfarm.scm import connect, standard
from buildfarm.scm.secret import Secret

COMMIT = "2" * 40


@dataclass
class Sender:
    """An SCM that knows its source's secrets."""

    house: Any
    name: str
    scm: str
    secret: connect.HookSecrets

    def push(
        self, *, ref: str = "refs/heads/main", commit: str = COMMIT, before: str = "1" * 40, **more: Any
    ) -> bytes:
        payload: dict[str, Any] = {"ref": ref, "before": before, "after": commit}
        match self.scm:
            case "github" | "gitea" | "forgejo":
                payload |= {
                    "repository": {"full_name": f"acme/{self.name}", "clone_url": "https://git.example/x.git"},
                    "pusher": {"name": "mira"}, "head_commit": {"id": commit, "message": "Round the rim"},
                    "deleted": commit.strip("0") == "",
                }  # fmt: skip
            case "gitlab":
                kind = "tag_push" if ref.startswith("refs/tags/") else "push"
                payload |= {
                    "object_kind": kind, "event_name": kind, "checkout_sha": commit, "user_name": "mira",
                    "project": {"path_with_namespace": f"acme/{self.name}"},
                    "commits": [{"id": commit, "message": "Round the rim", "title": "Round the rim"}],
                }  # fmt: skip
            case "bitbucket-data-center":
                payload = {
                    "actor": {"name": "mira"}, "repository": {"slug": self.name, "project": {"key": "ACME"}},
                    "changes": [change(ref, commit, before)],
                }  # fmt: skip
            case "bitbucket-cloud":
                payload = {
                    "actor": {"nickname": "mira"}, "repository": {"full_name": f"acme/{self.name}"},
                    "push": {"changes": [cloud_change(ref, commit, before)]},
                }  # fmt: skip
            case "pagure":
                said = {"branch": ref, "end_commit": commit, "old_commit": before, "agent": "mira"}
                payload = {"topic": "git.receive", "msg": said | {"repo": {"fullname": f"acme/{self.name}"}}}
            case "generic":
                payload |= {
                    "type": "push",
                    "repository": f"acme/{self.name}",
                    "actor": "mira",
                    "title": "Round the rim",
                }
        return json.dumps(payload | more).encode()

    def headers(
        self, body: bytes, number: int = 1, *, event: str = "push", secret: str = ""
    ) -> dict[str, str]:
        common = {"Content-Type": "application/json"}
        value = secret or self.secret.secret
        signature = hmac.new(value.encode(), body, hashlib.sha256).hexdigest()
        delivery = f"72d3162e-cc78-11e3-81ab-{number:012d}"
        match self.scm:
            case "github":
                return common | {
                    "X-GitHub-Event": event, "X-GitHub-Delivery": delivery,
                    "X-Hub-Signature-256": f"sha256={signature}",
                }  # fmt: skip
            case "gitea" | "forgejo":
                brand = self.scm.title()
                return common | {
                    f"X-{brand}-Event": event, f"X-{brand}-Delivery": delivery,
                    f"X-{brand}-Signature": signature,
                }  # fmt: skip
            case "bitbucket-data-center" | "bitbucket-cloud":
                in_cloud = self.scm == "bitbucket-cloud"
                return common | {
                    "X-Event-Key": "repo:push" if in_cloud else "repo:refs_changed",
                    "X-Request-UUID" if in_cloud else "X-Request-Id": delivery,
                    "X-Hub-Signature": f"sha256={signature}",
                }  # fmt: skip
            case "pagure":
                return common | {"X-Pagure-Topic": "git.receive", "X-Pagure-Signature-256": signature}
            case "gitlab":
                hook = {"push": "Push Hook", "tag": "Tag Push Hook"}.get(event, event)
                return common | {
                    "X-Gitlab-Event": hook,
                    "X-Gitlab-Token": value,
                    "X-Gitlab-Event-UUID": f"uuid-{number}",
                }
            case _:
                seconds = int(time.time())
                signing = Secret("s", value, "signing")
                return common | {
                    "webhook-id": f"msg_{number}", "webhook-timestamp": str(seconds),
                    "webhook-signature": standard.sign(signing, f"msg_{number}", seconds, body),
                }  # fmt: skip

    def send(self, body: bytes, number: int = 1, **how: str):
        client, headers = self.house.app.test_client(), self.headers(body, number, **how)
        # Buffered: to the end of the answer, after which the rest is done.
        return client.post(f"/hooks/{self.name}", data=body, headers=headers, buffered=True)


def change(ref: str, commit: str, before: str = "1" * 40) -> dict[str, Any]:
    """One of the refs of a push to Bitbucket Data Center."""
    what = "UPDATE" if commit.strip("0") else "DELETE"
    return {"ref": {"id": ref}, "type": what, "fromHash": before, "toHash": commit}


def cloud_change(ref: str, commit: str, before: str = "1" * 40) -> dict[str, Any]:
    """One of the refs of a push to Bitbucket Cloud."""

    def named(held: str) -> dict[str, Any]:
        kind, name = ("branch" if ref.startswith("refs/heads/") else "tag"), ref.split("/", 2)[2]
        return {"type": kind, "name": name, "target": {"hash": held, "message": "Round the rim"}}

    return {"new": named(commit) if commit.strip("0") else None, "old": named(before)}


def sender_of(house, scm: str, name: str = "widget", url: str = "") -> Sender:
    """A source of that kind, by the URL of its repository, and who sends to it."""
    url = url or f"https://{scm}.example/acme/{name}.git"
    with house.database.begin() as session:
        _, secrets = connect.add_source(
            session, name, url, scm=scm, branches=["main", "release/*"], tier="dev",
            allow_file=url.startswith("file:"), actor="test",
        )  # fmt: skip
    return Sender(house, name, scm, secrets)


def found(house, model: type) -> list[Any]:
    with house.database.read() as session:
        return list(session.scalars(select(model)))
