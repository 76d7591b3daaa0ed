"""Web, the database and Redis away: whoever is known goes on installing, with a real pip."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from buildfarm.access import tokens
from tests.conftest import wheel
from tests.front.conftest import Site, get
from tests.front.corpus import PAGE
from tests.front.stage import basic
from tests.index.conftest import put_one
from tests.waiting import wait_for


def install(site: Site, token: str, into: Path) -> int:
    index = f"http://__token__:{token}@127.0.0.1:{site.port}/dev/simple/"
    pip = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--isolated",
        "--no-deps",
        "--no-cache-dir",
        "--retries",
        "0",
    ]
    command = [*pip, "--index-url", index, "--target", str(into), "outage-widget"]
    env = {"PATH": os.environ["PATH"], "PIP_CONFIG_FILE": os.devnull}
    return subprocess.run(command, env=env, capture_output=True, check=False, timeout=120).returncode


@pytest.mark.system
def test_known_readers_install_while_everything_behind_the_front_is_away(site: Site, tmp_path: Path) -> None:
    # The farm of these tests has no Redis at all: the address in its settings answers nobody.
    put_one(site.house, *wheel("outage-widget"))
    known, other = site.house.token("read:dev"), site.house.token("read:dev")
    assert install(site, known, tmp_path / "before") == 0
    database = site.folder.parent / "farm.db"
    for part in site.folder.parent.glob("farm.db*"):
        part.rename(part.with_name(f"away-{part.name}"))
    database.mkdir()  # nothing can be opened, or made anew, in its place
    time.sleep(3.2)  # what was known is not fresh any more
    assert install(site, known, tmp_path / "without-database") == 0
    site.stop("web", signal.SIGKILL)
    time.sleep(3.2)
    assert install(site, known, tmp_path / "without-web") == 0
    assert install(site, other, tmp_path / "stranger") != 0
    assert (tmp_path / "without-web" / "outage_widget" / "__init__.py").is_file()


def test_a_revoked_token_is_out_after_five_seconds(site: Site) -> None:
    with site.house.database.begin() as session:
        token, value = tokens.create(session, "short", ["read:dev"], actor="test")
        token_id = token.id
    wire, ask = site.wire(), get(PAGE, basic(value))
    assert wire.send(ask).answer().status == 200
    with site.house.database.begin() as session:
        tokens.revoke(session, token_id, actor="test")
    revoked = time.monotonic()
    wait_for(lambda: wire.send(ask).answer().status == 401, seconds=20)
    assert time.monotonic() - revoked < 15  # 5 s, and a busy machine; what is stale lasts 900


def test_wrong_passwords_are_counted_by_the_true_address(site: Site) -> None:
    form = b"username=ada&password=wrong-password"
    statuses = []
    for number in range(12):
        forged = f"X-Forwarded-For: 10.0.0.{number}\r\n", f"Forwarded: for=10.0.0.{number}\r\n"
        kind = "Content-Type: application/x-www-form-urlencoded\r\n", f"Content-Length: {len(form)}\r\n"
        wire = site.wire().send(get("/login", *forged, *kind, method="POST") + form)
        statuses.append(wire.answer().status)
    assert statuses == [401] * 10 + [429] * 2


def test_verdicts_are_told_to_fronts_alone(site: Site) -> None:
    ask = get("/_verdict/dev", site.facts["READER"])
    answer = site.web_wire().send(ask).answer()
    assert (answer.status, answer.headers["x-verdict"]) == (204, "allow")
    assert site.wire().send(ask).answer().status == 404
    for who, status in ((site.facts["STRANGER"], 401), (site.facts["OTHER"], 403), ("", 401)):
        assert site.web_wire().send(get("/_verdict/dev", who)).answer().status == status
    assert site.web_wire().send(get("/_verdict/open")).answer().headers["x-verdict"] == "public"
