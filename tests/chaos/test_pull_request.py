"""A fork's commit on a whole farm: approved, built in a real container, installed by pip, and gone."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chaos_harness import Farm
from chaos_repository import PROJECT, Repository

from tests.waiting import wait_for

pytestmark = [pytest.mark.system, pytest.mark.engine, pytest.mark.exhaustive, pytest.mark.timeout(300)]


def tell(farm: Farm, source: dict[str, Any], number: int, action: str, commit: str) -> dict[str, Any]:
    """What GitHub sends of a request of `mallory/gadget`."""
    asked = {"title": "x", "head": {"sha": commit, "repo": {"full_name": "mallory/gadget"}}}
    body = json.dumps(
        {
            "action": action, "number": number, "pull_request": asked | {"base": {"ref": "main"}},
            "repository": {"full_name": "git/gadget"},
        }
    ).encode()  # fmt: skip
    made = hmac.new(source["secret"].encode(), body, hashlib.sha256).hexdigest()
    headers = {
        "X-GitHub-Event": "pull_request", "X-GitHub-Delivery": f"72d3162e-cc78-11e3-81ab-{len(action):012d}",
        "X-Hub-Signature-256": f"sha256={made}", "Content-Type": "application/json",
    }  # fmt: skip
    answer = farm.session.post(source["hook_url"], data=body, headers=headers, timeout=60)
    answer.raise_for_status()
    return answer.json()


def pip(farm: Farm, token: str, into: Path) -> subprocess.CompletedProcess[str]:
    """Install from the request's stage, by its one URL."""
    url = f"{farm.url.replace('://', f'://__token__:{token}@')}/pr-gadget-5/simple/"
    argv = [sys.executable, "-m", "pip", "install", "--no-cache-dir", "--target", str(into), "gadget"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    return subprocess.run(
        [*argv, "--index-url", url], env=kept, capture_output=True, text=True, check=False, timeout=120
    )


def token(farm: Farm, *scopes: str) -> str:
    return farm.api("POST", "tokens", json={"name": " ".join(scopes), "scopes": list(scopes)})["token"]


def test_an_approved_commit_of_a_fork_is_installed_from_quarantine_and_goes_with_its_request(
    farm: Farm, tmp_path: Path
) -> None:
    repository = Repository(farm.folder / "git", "gadget")
    repository.release()
    git = repository._git
    git("checkout", "--quiet", "-b", "theirs")
    text = PROJECT.format(name="gadget", version="6.6", seconds=0)
    repository.commit({"pyproject.toml": text}, tag="theirs-1")
    git("tag", "--delete", "theirs-1")
    git("update-ref", "refs/pull/5/head", "theirs")
    commit = (repository.folder / ".git" / "refs" / "pull" / "5" / "head").read_text().strip()
    git("checkout", "--quiet", "main")
    git("branch", "--quiet", "--delete", "--force", "theirs")
    body = {
        "name": "gadget", "url": repository.url, "projects": ["gadget"], "scm": "github",
        "pull_requests": "approved",
    }  # fmt: skip
    source = farm.api("POST", "sources", json=body)

    assert tell(farm, source, 5, "opened", commit)["reason"] == "pull_request_needs_approval"
    path = "sources/gadget/pull-requests/5/approvals"
    build_id = farm.api("POST", path, json={"commit": commit})["id"]

    def over() -> dict[str, Any] | None:
        shown = farm.get(f"builds/{build_id}")
        return shown if shown["finished_at"] else None

    build = wait_for(over, "the build", 120)
    assert (build["state"], build["channel"]) == ("published", "pr-gadget-5"), build
    assert {job["queue"].split(".")[2] for job in build["jobs"]} == {"untrusted"}
    assert pip(farm, token(farm, "read:*"), tmp_path / "no").returncode != 0
    done = pip(farm, token(farm, "read:dev", "build"), tmp_path / "yes")
    assert done.returncode == 0, done.stderr
    assert "6.6" in (tmp_path / "yes" / "gadget" / "__init__.py").read_text()
    assert farm.session.get(f"{farm.url}/dev/simple/gadget/").status_code == 404

    assert tell(farm, source, 5, "closed", commit)["reason"] == "pull_request_closed"
    page = f"{farm.url}/pr-gadget-5/simple/gadget/"
    wait_for(lambda: farm.session.get(page).status_code == 404, "the stage to be gone")
