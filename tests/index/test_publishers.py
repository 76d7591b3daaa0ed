"""Real upload clients against a real server: each publishes a wheel and an sdist, and shows a refusal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests

from buildfarm.index import names

pytestmark = pytest.mark.system
PROJECT = """\
[project]
name = "widget"
version = "1.0"
description = "A part"
authors = [{name = "Ada", email = "ada@example.com"}]
requires-python = ">=3.9"
"""


def sdist(code: str = "x = 1\n") -> tuple[str, bytes]:
    """File name and bytes of a right source archive of widget 1.0."""
    info = "Metadata-Version: 2.1\nName: widget\nVersion: 1.0\nSummary: A part\nRequires-Python: >=3.9\n"
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for path, text in (("PKG-INFO", info), ("pyproject.toml", PROJECT), ("widget.py", code)):
            member = tarfile.TarInfo(f"widget-1.0/{path}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    return "widget-1.0.tar.gz", out.getvalue()


def commands(name: str, bin_: Path, url: str, token: str) -> tuple[list[Any], dict[str, str]]:
    """How the client is told to upload `dist/*` of the working folder."""
    files = sorted(["dist/widget-1.0-py3-none-any.whl", "dist/widget-1.0.tar.gz"])
    match name:
        case "twine":
            login = {"TWINE_USERNAME": "__token__", "TWINE_PASSWORD": token}
            plain = ["--non-interactive", "--disable-progress-bar", "--repository-url", url]
            return [bin_ / "twine", "upload", *plain, *files], login
        case "uv":
            return [sys.executable, "-m", "uv", "publish", "--no-config", "--publish-url", url, *files], {
                "UV_PUBLISH_USERNAME": "__token__", "UV_PUBLISH_PASSWORD": token,
            }  # fmt: skip
        case "poetry":
            return [bin_ / "poetry", "publish", "--no-interaction", "--repository", "farm"], {
                "POETRY_REPOSITORIES_FARM_URL": url, "POETRY_HTTP_BASIC_FARM_USERNAME": "__token__",
                "POETRY_HTTP_BASIC_FARM_PASSWORD": token,
                "PYTHON_KEYRING_BACKEND": "keyring.backends.null.Keyring",
            }  # fmt: skip
        case "pdm":
            return [bin_ / "pdm", "publish", "--no-build", "--repository", url], {
                "PDM_PUBLISH_USERNAME": "__token__", "PDM_PUBLISH_PASSWORD": token, "PDM_CHECK_UPDATE": "0",
            }  # fmt: skip
        case "hatch":
            return [bin_ / "hatch", "publish", "--no-prompt", "--repo", url, *files], {
                "HATCH_INDEX_USER": "__token__", "HATCH_INDEX_AUTH": token,
            }  # fmt: skip
        case _:
            return [bin_ / "flit", "publish"], {
                "FLIT_INDEX_URL": url, "FLIT_USERNAME": "__token__", "FLIT_PASSWORD": token,
            }  # fmt: skip


def lay_out(folder: Path, wheel: Callable[..., tuple[str, bytes]], code: str) -> None:
    """A project with its built files, as each client wants to find it."""
    (folder / "dist").mkdir(exist_ok=True)
    build = '[build-system]\nrequires = ["flit_core>=3.12"]\nbuild-backend = "flit_core.buildapi"\n'
    (folder / "pyproject.toml").write_text(build + PROJECT)
    (folder / "widget.py").write_text(f'"""A part"""\n{code}')
    for filename, data in (wheel(code=code), sdist(code)):
        (folder / "dist" / filename).write_bytes(data)


@pytest.mark.parametrize(
    "name",
    [
        "twine",
        "uv",
        *(pytest.param(one, marks=pytest.mark.exhaustive) for one in ("poetry", "pdm", "hatch", "flit")),
    ],
)
def test_a_client_publishes_and_understands_a_refusal(
    house, serve, programs: Path, tmp_path: Path, name: str
) -> None:
    with house.database.begin() as session:
        names.add_local(session, "widget", "widget", actor="test")
    url, token = serve(house), house.token("upload:dev", "read:dev")
    folder = tmp_path / "project"
    folder.mkdir()
    command, login = commands(name, programs, f"{url}/dev/legacy/", token)
    env = {"PATH": os.environ["PATH"], "HOME": str(folder), "COLUMNS": "400", "NO_COLOR": "1"}
    kept = {key: value for key, value in os.environ.items() if key.startswith(("PIP_", "SSL_"))}

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            list(map(str, command)), env=env | kept | login, cwd=folder, capture_output=True, text=True,
            check=False, timeout=180,
        )  # fmt: skip

    lay_out(folder, house.wheel, "x = 1\n")
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    page = requests.get(f"{url}/dev/simple/widget/", auth=("__token__", token), timeout=20).text
    assert "widget-1.0-py3-none-any.whl" in page  # visible when the client says so
    assert "widget-1.0.tar.gz" in page

    lay_out(folder, house.wheel, "x = 2\n")
    done = run()
    assert done.returncode != 0
    # pdm's HTTP library forgets the reason phrase: it says where its log is, and that has the answer.
    logged = "".join(path.read_text() for path in (folder / ".local").rglob("pdm-publish-*.log"))
    said = " ".join((done.stdout + done.stderr + logged).split())
    assert "File already exists" in said, said
