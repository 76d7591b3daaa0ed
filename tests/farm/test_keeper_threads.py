"""The keeper's threads go on whatever stops a round of theirs."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from buildfarm import log
from workers import keeper


@pytest.mark.parametrize("name", ["_cover_journal", "_build_missing_wheels", "_recheck_files", "_heal"])
def test_a_thread_outlives_a_round_that_found_no_descriptor_left(name: str, monkeypatch, capsys) -> None:
    log.configure("keeper")  # what is looked for below is what its operator reads
    leading, over, rounds = threading.Event(), threading.Event(), []

    def stumbles_once(*_args: object) -> None:
        rounds.append(name)
        if len(rounds) == 1:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        over.set()

    def walk() -> Iterator[str]:
        stumbles_once()
        yield from ()

    monkeypatch.setattr(keeper, "cover", stumbles_once)
    monkeypatch.setattr(keeper.wheel_rules, "Rounds", lambda _rules: SimpleNamespace(go=stumbles_once))
    monkeypatch.setattr(keeper, "Healer", lambda *_args: SimpleNamespace(look=stumbles_once))
    monkeypatch.setattr(keeper, "_RECHECK_S", 0.0)
    timing = SimpleNamespace(keeper_interval_s=0.0, unsigned_s=0.0)
    farm = SimpleNamespace(
        settings=SimpleNamespace(timing=timing),
        recheck=SimpleNamespace(walk=walk),
        database=None,
        signer=None,
        wheel_rules=None,
    )
    leading.set()
    getattr(keeper, name)(farm, leading, over)
    assert len(rounds) == 2
    assert "Too many open files" in capsys.readouterr().err
