"""What a process imports at its start: a start costs the processor little but imports."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.conftest import ROOT

#: Each costs 20 to 200 ms, at every start of every process that has no use for it.
NEEDLESS = {
    "webapp.front.__main__": {"sqlalchemy", "alembic", "flask", "pydantic", "redis", "requests", "docker"},
    "webapp.follower": {"alembic", "flask", "redis", "rq", "requests", "docker", "cryptography"},
    "webapp.wsgi": {"alembic", "docker", "github", "gitlab"},
    "workers.keeper": {"alembic", "flask", "docker", "github", "gitlab"},
    "workers.control": {"alembic", "flask", "github", "gitlab"},
    "workers.builder": {"sqlalchemy", "alembic", "flask"},
    "buildfarm.trust.signer": {"sqlalchemy", "alembic", "flask", "redis", "requests", "docker"},
}


@pytest.mark.parametrize("module", NEEDLESS)
def test_a_process_imports_nothing_that_it_has_no_use_for(module, tmp_path) -> None:
    code = f"import sys; import {module}; print(*sys.modules)"
    env = {"PYTHONPATH": str(ROOT), "BUILDFARM_DATA": str(tmp_path)}
    told = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    assert not NEEDLESS[module] & set(told.stdout.split())
