"""How ssh is started: with one key, known host keys, and nothing of the asker's own set-up."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from buildfarm.forkserver import ForkServer
from buildfarm.sources import fetcher
from buildfarm.sources.contract import Credential

pytestmark = pytest.mark.system  # each fetch starts a fetcher

# Stands in for ssh: notes how it was called, then does locally what the far side would.
_STAND_IN = """#!/bin/sh
printf '%s\\n' "$@" > {notes}/arguments
env > {notes}/environment
for word in "$@"; do
    case "$word" in
        IdentityFile=*)
            cat "${{word#IdentityFile=}}" > {notes}/key
            stat -c %a "${{word#IdentityFile=}}" > {notes}/mode ;;
        UserKnownHostsFile=*) cat "${{word#UserKnownHostsFile=}}" > {notes}/hosts ;;
    esac
    last="$word"
done
exec sh -c "$last"
"""


@pytest.fixture
def notes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "notes"
    folder.mkdir()
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "ssh").write_text(_STAND_IN.format(notes=folder))
    (programs / "ssh").chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    server = ForkServer("buildfarm.sources.child", environment={"PATH": path})
    monkeypatch.setattr(fetcher, "sandbox", server)
    yield folder
    server.close()


def test_ssh_gets_the_sources_key_and_known_hosts_and_leaves_neither_behind(
    upstream, take, tmp_path, notes, monkeypatch
):
    monkeypatch.setenv("SSH_AUTH_SOCK", "/tmp/agent")
    credential = Credential(ssh_key=SecretStr("PRIVATE KEY\n"), known_hosts="localhost ssh-ed25519 AAAA\n")
    taken = take(url=f"ssh://git@localhost:7999{upstream.path}", credential=credential)
    assert taken.commit == upstream.git("rev-parse", "main")
    assert (notes / "key").read_text() == "PRIVATE KEY\n"
    assert (notes / "mode").read_text() == "600\n"
    assert (notes / "hosts").read_text() == "localhost ssh-ed25519 AAAA\n"
    arguments = (notes / "arguments").read_text().splitlines()
    assert arguments[:2] == ["-F", "/dev/null"]
    assert {"BatchMode=yes", "StrictHostKeyChecking=yes", "IdentityAgent=none", "ProxyCommand=none"} < {
        *arguments
    }
    assert arguments[-4:-1] == ["-p", "7999", "git@localhost"]
    assert "SSH_AUTH_SOCK" not in (notes / "environment").read_text()
    assert [path.name for path in (tmp_path / "mirror").iterdir() if path.name.startswith("fetch")] == []


def test_without_known_hosts_no_host_is_known(upstream, take, notes):
    take(url=f"ssh://localhost{upstream.path}")
    arguments = (notes / "arguments").read_text().splitlines()
    assert {"UserKnownHostsFile=/dev/null", "GlobalKnownHostsFile=/dev/null"} < {*arguments}
