"""What holds for every test run: no setting of this machine leaks in, and a skip can be made a failure."""

from __future__ import annotations

import logging
import os
from collections.abc import Generator

import hypothesis
import pytest
import structlog

# How long an example takes says more of the machine's other work than of the code.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_addoption(parser: pytest.Parser) -> None:
    """`--fail-on-skip`: the exhaustive run wants every test to have run."""
    parser.addoption("--fail-on-skip", action="store_true", help="a skipped test fails, with its reason")


def pytest_configure() -> None:
    """The environment of a farm or of its command line is not the tests' business."""
    for name in [name for name in os.environ if name.startswith("BUILDFARM_")]:
        del os.environ[name]
    # Until a test configures logs, records go where logging's do, not to the output that is being tested.
    structlog.configure(logger_factory=structlog.stdlib.LoggerFactory())


@pytest.fixture(autouse=True)
def _no_log_handler_outlives_its_test() -> Generator[None, None, None]:
    """A test that configures logs writes to the standard error of that test, which is closed afterwards."""
    yield
    root = logging.getLogger()
    for handler in root.handlers[:]:
        if isinstance(handler.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip into a failure that says why it was skipped."""
    report = yield
    if report.skipped and item.config.getoption("--fail-on-skip"):
        report.outcome = "failed"
        report.longrepr = f"skipped, which the exhaustive run does not allow: {report.longrepr}"
    return report
