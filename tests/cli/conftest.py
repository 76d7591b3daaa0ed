"""The command against a live farm: the real views on a loopback port, `main()` as it is installed."""

import importlib.util
import json
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from buildfarm.cli.main import main

_SPEC = importlib.util.spec_from_file_location("house", Path(__file__).parents[1] / "api" / "conftest.py")
assert _SPEC is not None
assert _SPEC.loader is not None
_HOUSE = importlib.util.module_from_spec(_SPEC)
sys.modules["house"] = _HOUSE
_SPEC.loader.exec_module(_HOUSE)
template, full = _HOUSE.template, _HOUSE.full


class _SilentHandler(WSGIRequestHandler):
    """The command's standard error is what is tested; no access log may get into it."""

    def log(self, type: str, message: str, *args: object) -> None:  # noqa: A002 - the base class's name
        pass


class Web:
    """One web process that can be stopped and started again on its port."""

    def __init__(self, app: Flask) -> None:
        self._app = app
        self._server: BaseWSGIServer | None = None
        self._thread: threading.Thread | None = None
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._server = make_server(
            "127.0.0.1", self.port, self._app, threaded=True, request_handler=_SilentHandler
        )
        self.port = self._server.port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def stop(self) -> None:
        if self._server and self._thread:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()
            self._server = None


@dataclass
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self):
        return json.loads(self.out)


@pytest.fixture
def web(full) -> Iterator[Web]:
    server = Web(full.app)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def run(web, full, monkeypatch, capsys, tmp_path) -> Callable[..., Ran]:
    """Run `buildfarm ARGUMENTS` as the administrator."""
    monkeypatch.setenv("BUILDFARM_URL", web.url)
    monkeypatch.setenv("BUILDFARM_TOKEN", full.admin)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")

    def command(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["buildfarm", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        return Ran(ended.value.code, out, err)

    return command
