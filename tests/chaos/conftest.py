"""One running farm for all that leaves it whole, and a table of how long each wound took to heal."""

import os
import sys
from collections.abc import Callable, Iterator
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

    yield make
    for farm in made:
        farm.end()


@pytest.fixture
def healed() -> Callable[[str, float], None]:
    """Note how many seconds something took to heal; shown at the end of the run."""
    return lambda what, seconds: _HEALED.append((what, seconds))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """The table."""
    if _HEALED:
        terminalreporter.section("seconds to heal, shortened clocks")
        for what, seconds in _HEALED:
            terminalreporter.write_line(f"{seconds:7.2f}  {what}")
