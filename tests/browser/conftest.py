"""A seeded farm served by gunicorn, and Chromium in front of it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright

sys.path.insert(0, str(Path(__file__).parents[1] / "web"))  # for the seed that the tests of pages use too

import farm_seed

from buildfarm.bootstrap import Farm
from tests.ports import free_port
from tests.waiting import wait_for

ROOT = Path(__file__).parents[2]
CHROMIUM = "/usr/bin/chromium"
#: What a page may take on a busy machine; expectations of Playwright have a limit of their own.
PATIENCE_S = 30
expect.set_options(timeout=PATIENCE_S * 1000)


class Server:
    """The web process of a farm; can be killed and started again on its port."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder, self._log = folder, log
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
        paths = os.pathsep.join(str(ROOT / part) for part in ("", "tests/web", "tests/browser"))
        env |= {"SEEDED_FARM": str(self._folder), "SEEDED_URL": self.url, "PYTHONPATH": paths}
        command = [sys.executable, "-m", "gunicorn", "served_farm:app", "--bind", f"127.0.0.1:{self.port}"]
        command += ["--worker-class", "gthread", "--threads", "16", "--no-control-socket"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                command, env=env, cwd=self._folder, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 60
        while not self._answers():
            assert time.monotonic() < deadline, self._log.read_text()[-2000:]
            assert self._process.poll() is None, self._log.read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """End it at once, connections and all."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with urlopen(f"{self.url}/healthz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False


@dataclass
class Site:
    """A served farm, what is in it, and a way to look at it."""

    farm: Farm
    seed: farm_seed.Seed
    server: Server
    browser: Browser
    troubles: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def visit(self, name: str = farm_seed.ADMIN, *, width: int = 1280, theme: str = "light", **more) -> Page:
        """A page of a logged-in browser whose complaints are collected in `troubles`."""
        context = self.browser.new_context(
            base_url=self.server.url, viewport={"width": width, "height": 800}, color_scheme=theme, **more
        )
        context.set_default_timeout(PATIENCE_S * 1000)
        self.contexts.append(context)
        page = context.new_page()
        page.on("console", lambda said: said.type in {"error", "warning"} and self.troubles.append(said.text))
        page.on("pageerror", lambda error: self.troubles.append(str(error)))
        page.goto("/login")
        page.fill("#username", name)
        page.fill("#password", farm_seed.PASSWORD)
        page.click("form.login button")
        page.wait_for_url("/")
        return page

    def say(self, phase: str, text: str) -> None:
        """Let the running job print."""
        with self.farm.database.begin() as session:
            farm_seed.say(session, self.seed.running_job, phase, text)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


def _site(folder: Path, browser: Browser) -> Iterator[Site]:
    server = Server(folder, folder.with_suffix(".log"))
    farm = farm_seed.open_farm(folder, server.url)
    try:
        farm_seed.create(farm)
        seed = farm_seed.fill(farm)
        server.start()
        site = Site(farm, seed, server, browser)
        yield site
        for context in site.contexts:
            context.close()
    finally:  # a browser that died closes no context
        server.kill()
        farm.database.close()


@pytest.fixture
def site(browser: Browser, tmp_path: Path) -> Iterator[Site]:
    """A farm of its own, to do anything to."""
    yield from _site(tmp_path / "farm", browser)


@pytest.fixture(scope="session")
def shown(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A farm that tests only look at."""
    yield from _site(tmp_path_factory.mktemp("shown") / "farm", browser)


@pytest.fixture
def until() -> Callable[[Callable[[], bool]], None]:
    """Wait for a condition."""
    return partial(wait_for, seconds=PATIENCE_S)
