"""The page of deliveries over a ledger of a hundred thousand, and searches that find little in it.

Once on SQLite and once on PostgreSQL.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from functools import partial

from flask.testing import FlaskClient
from sqlalchemy import insert
from sqlalchemy.orm import Session

from bench.farm.stand import RUNS, Stand
from bench.row import Row
from buildfarm import bootstrap, clock
from buildfarm.access import tokens
from buildfarm.config import Settings
from buildfarm.db import migrate
from buildfarm.ids import first_id
from buildfarm.scm import connect
from buildfarm.scm.model import Delivery
from tests.postgresql import postgres_programs, running_cluster
from webapp.app import create_app

_DELIVERIES, _SOURCES, _BODY_BYTES = 100_000, 20, 4_096
_GOAL_MS = 200.0
_COMMAND = (
    f"{{}} over {_DELIVERIES} deliveries with bodies of {_BODY_BYTES} bytes, {{}} (bench/farm/ledger.py)"
)


def _commit(number: int) -> str:
    return hashlib.sha256(str(number).encode()).hexdigest()[:40]


#: Each asks for what the order by time helps little with.
_PAGES = {
    "ledger.page": "/deliveries",
    "ledger.page.source": "/deliveries?source=source-7&state=rejected",
    "ledger.page.last": f"/deliveries?before={first_id('dlv', clock.now() - timedelta(days=365))}",
    "ledger.search": "/deliveries?search=needle",
    "ledger.search.nothing": "/deliveries?search=nowhere+nothing",
    "ledger.search.commit": f"/deliveries?search={_commit(777)}",
}


def rows(stand: Stand) -> Iterator[Row]:
    """Milliseconds until a page is rendered."""
    yield from _pages(Settings(data=stand.folder / "ledger"), "SQLite")
    programs = postgres_programs()
    if programs is None:
        raise SystemExit("PostgreSQL is not installed (package postgresql)")
    with running_cluster(programs) as cluster:
        settings = Settings(data=stand.folder / "ledger-postgresql", database=cluster.url("farm"))
        # Its autovacuum does so by itself, some minutes after rows came in.
        settle = partial(cluster.run, "VACUUM (ANALYZE)", name="farm")
        yield from _pages(settings, "PostgreSQL", ".postgresql", settle)


def _pages(
    settings: Settings, database: str, ending: str = "", settle: Callable[[], None] = lambda: None
) -> Iterator[Row]:
    farm = bootstrap.farm(settings)
    migrate.upgrade(farm.database)
    with farm.database.begin() as session:
        _, token = tokens.create(session, "bench", ["view"], actor="bench")
        _fill(session)
    settle()
    client = create_app(farm).test_client()
    client.environ_base["HTTP_AUTHORIZATION"] = f"Bearer {token}"
    for name, path in _PAGES.items():
        _took(client, path)  # compiles the template
        samples = [_took(client, path) for _ in range(RUNS)]
        yield Row(name + ending, "ms", samples, _COMMAND.format(f"GET {path}", database), [], goal=_GOAL_MS)
    farm.database.close()


def _took(client: FlaskClient, path: str) -> float:
    began = time.perf_counter()
    answer = client.get(path)
    took = (time.perf_counter() - began) * 1000
    if answer.status_code != 200:
        raise SystemExit(f"bench: {path} answers {answer.status_code}")
    return took


def _fill(session: Session) -> None:
    dev = {"branches": ["main"], "tier": "dev", "allow_file": False, "actor": "bench"}
    ids = []
    for number in range(_SOURCES):
        url = f"https://git.example/{number}.git"
        source, _ = connect.add_source(session, f"source-{number}", url, scm="generic", **dev)
        ids.append(source.id)
    begin = clock.now() - timedelta(days=365)
    step = timedelta(days=365) / _DELIVERIES
    states = {0: ("rejected", "signature_wrong"), 1: ("ignored", "ref_not_followed")}
    for first in range(0, _DELIVERIES, 1_000):
        batch = []
        for number in range(first, first + 1_000):
            state, reason = states.get(number % 50, ("accepted", None))
            at = begin + number * step
            word = "needle" if number % 30_000 == 5 else "rim"
            batch.append(
                {
                    "id": first_id("dlv", at)[:-5] + f"{number:05}", "source_id": ids[number % _SOURCES],
                    "key": f"guid-{number}", "scm": "generic", "received_at": at, "state": state,
                    "reason": reason, "kind": "push", "ref": "refs/heads/main", "commit": _commit(number),
                    "actor": "mira",
                    "title": f"Round the {word} for the {number}th time",
                    "words": f"guid-{number} {_commit(number)} {word} ".ljust(200, "x"),
                    "headers": {"User-Agent": "GitHub-Hookshot/044aadd", "Content-Type": "application/json"},
                    "body": os.urandom(_BODY_BYTES), "body_sha256": "0" * 64,
                    "steps": [{"name": "signature", "ok": True, "detail": "It matches secret sec_1."}],
                }
            )  # fmt: skip
        session.execute(insert(Delivery), batch)
