"""One running farm for all that leaves it whole, and a table of how long each wound took to heal."""

import contextlib
import json
import os
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))  # for the modules that the tests here share

from chaos_harness import Farm

_HEALED: list[tuple[str, float]] = []


@pytest.fixture(scope="session")
def engine() -> str:
    """The engine that builds run on."""
    if not os.environ.get("DOCKER_HOST"):
        pytest.skip("needs an engine: `make chaos`, or set DOCKER_HOST (docker/engine.sh start)")
    return os.environ["DOCKER_HOST"]


@pytest.fixture(scope="session")
def farm(engine: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Farm]:
    """A farm with two builders; every test must leave it working."""
    farm = Farm(tmp_path_factory.mktemp("farm"), builders=2)
    farm.start()
    try:
        yield farm
    finally:
        farm.end()


@pytest.fixture
def make_farm(engine: str, tmp_path: Path) -> Iterator[Callable[..., Farm]]:
    """Farms of a test's own, not started yet."""
    made: list[Farm] = []

    def make(name: str = "farm", **more: str | int) -> Farm:
        made.append(Farm(tmp_path / name, **more))  # type: ignore[arg-type]
        return made[-1]

    make.made = made  # type: ignore[attr-defined]
    yield make
    for farm in made:
        farm.end()


@pytest.fixture
def healed() -> Callable[[str, float], None]:
    """Note how many seconds something took to heal; shown at the end of the run."""
    return lambda what, seconds: _HEALED.append((what, seconds))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Function, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Show with a failed test what its farms noted: the folders are gone when somebody asks why."""
    report = yield
    if report.failed and call.when == "call":
        farms = getattr(item.funcargs.get("make_farm"), "made", [item.funcargs.get("farm")])
        report.sections += [(f"trouble of {farm.folder.name}", trouble(farm)) for farm in farms if farm]
    return report


def trouble(farm: Farm) -> str:
    """What its processes warned of, in order, and what became of attempts that did not succeed."""
    logs = [path.read_text().splitlines() for path in (farm.data / "logs").glob("*.log")]
    lines = [
        line for log in logs for line in log if '"level": "warning"' in line or '"level": "error"' in line
    ]
    lines.sort(key=lambda line: json.loads(line)["timestamp"])
    attempts: list[tuple[object, ...]] = []
    with contextlib.suppress(sqlite3.Error):
        attempts = farm.sql("SELECT job_id, number, state, outcome FROM attempt WHERE state != 'succeeded'")
    return "\n".join([*lines[-50:], *(" ".join(map(str, attempt)) for attempt in attempts[-10:])])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table."""
    if _HEALED:
        terminalreporter.section("seconds to heal, shortened clocks")
        for what, seconds in _HEALED:
            terminalreporter.write_line(f"{seconds:7.2f}  {what}")
