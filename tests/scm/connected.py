"""A farm with a connection, and the calls of its hook."""

from __future__ import annotations

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

from sqlalchemy import select

from buildfarm.farm import claims
from buildfarm.farm.model import Build, Task
from buildfarm.scm import connect, connections
from buildfarm.scm.connect import HookSecrets
from buildfarm.scm.offered import offers
from buildfarm.scm.offered.look import Looker
from buildfarm.scm.offered.offers import OfferRow
from buildfarm.sources.contract import FetchRequest, Snapshot
from buildfarm.sources.model import Source
from tests.conftest import House

WIDGET = "https://ghe.example/acme/widget.git"
CIBUILDWHEEL = (
    "[build-system]\nrequires = []\n[project]\nname = 'x'\n[tool.cibuildwheel]\nbuild = 'cp313-*'\n"
)

_SIDE = {"sha": "b" * 40, "ref": "topic", "repo": {"full_name": "acme/widget"}}
PULL_REQUEST = {"action": "opened", "number": 1, "pull_request": {"title": "x", "head": _SIDE, "base": _SIDE}}


class Connected:
    """A farm with a connection to the organisation acme, whose calls a test makes."""

    def __init__(self, house: House) -> None:
        self.house, self.count = house, 0
        self.secrets = self.connect("acme", "https://ghe.example/acme")
        self.fetched: list[FetchRequest] = []

    def connect(self, name: str, url: str, scm: str = "github") -> HookSecrets:
        with self.house.database.begin() as session:
            _, secrets = connections.add_connection(
                session, name, url, scm=scm, branches=["main"], tags=["v*"], tier="dev", actor="test"
            )
        return secrets

    def source(self, name: str, url: str = WIDGET, scm: str = "github") -> str:
        with self.house.database.begin() as session:
            source, _ = connect.add_source(
                session,
                name,
                url,
                scm=scm,
                branches=["main"],
                tier="dev",
                allow_file=False,
                actor="test",
            )
            return source.id

    def push(
        self,
        repository: str = "acme/widget",
        *,
        url: str = "",
        secret: str = "",
        event: str = "push",
        **more: Any,
    ) -> Any:
        """GitHub's call of the organisation's hook."""
        self.count += 1
        body = json.dumps(
            {
                "ref": "refs/heads/main", "after": f"{self.count:040x}", "before": "0" * 40, "deleted": False,
                "head_commit": {"id": f"{self.count:040x}", "message": "Round the rim"},
                "repository": {
                    "full_name": repository, "clone_url": url or f"https://ghe.example/{repository}.git"
                },
                **more,
            }
        ).encode()  # fmt: skip
        made = hmac.new((secret or self.secrets.secret).encode(), body, hashlib.sha256).hexdigest()
        return self.house.app.test_client().post(
            "/hooks/acme",
            data=body,
            headers={
                "Content-Type": "application/json",
                "X-GitHub-Event": event,
                "X-GitHub-Delivery": f"72d3162e-cc78-11e3-81ab-{self.count:012d}",
                "X-Hub-Signature-256": f"sha256={made}",
            },
        )

    def look(self, files: dict[str, str] | Exception) -> list[OfferRow]:
        """Let a worker look at what waits; what there is to see then."""

        def fetch(request: FetchRequest, into: Path) -> Snapshot:
            self.fetched.append(request)
            if isinstance(files, Exception):
                raise files
            return Snapshot.model_construct(files=files)

        with self.house.database.begin() as session:
            task = session.scalars(select(Task).where(Task.kind == "offer", Task.state == "queued")).one()
            assert task.queue == "fetch"
            claims.claim(session, Task, task.id, task.attempt)
        Looker(self.house.database, self.house.farm.settings, (task.id, task.attempt), fetch).look(
            task.subject
        )
        return self.offers("all")

    def offers(self, *states: str) -> list[OfferRow]:
        with self.house.database.read() as session:
            wanted = () if "all" in states else states or offers.OPEN
            return offers.list_offers(session, states=wanted)[0]

    def tasks(self) -> list[str]:
        with self.house.database.read() as session:
            return list(
                session.scalars(select(Task.subject).where(Task.kind == "offer", Task.state == "queued"))
            )

    def builds(self) -> list[str]:
        with self.house.database.read() as session:
            query = select(Source.name).join(Build, Build.source_id == Source.id).order_by(Build.id)
            return list(session.scalars(query))
