"""All 329 payloads of `@octokit/webhooks-examples` and its Enterprise Server sets, fetched by npm."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile

import pytest

from buildfarm.scm.kinds import scm_for
from buildfarm.scm.port import EventKind
from buildfarm.scm.rules import why_ignored

PACKAGE = "@octokit/webhooks-examples@7.6.1"


@pytest.mark.exhaustive
def test_every_published_github_payload_parses_and_says_what_becomes_of_it(tmp_path):
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed, so the published payloads cannot be fetched")
    packed = subprocess.run(
        ["npm", "pack", "--silent", PACKAGE], cwd=tmp_path, check=True, capture_output=True, timeout=120
    )
    github, seen = scm_for("github"), 0

    for index in _indexes(tmp_path / packed.stdout.decode().strip()):
        for definition in json.loads(index):
            for example in definition["examples"]:
                event = github.parse(
                    {"X-GitHub-Event": definition["name"], "Content-Type": "application/json"},
                    json.dumps(example).encode(),
                )
                seen += 1
                builds = why_ignored(event) is None
                assert event.title
                if builds:
                    assert event.ref.startswith("refs/")
                    assert event.kind is EventKind.RELEASE or event.commit
                named = definition["name"] in ("push", "release")
                assert named or not builds, definition["name"]

    assert seen > 329


def _indexes(package):
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            if member.name.endswith("/index.json"):
                yield archive.extractfile(member).read()
