"""Structured logs: JSON lines on standard error that carry the ids of the work at hand.

Event names are fixed slugs, values are fields. `bind()` puts delivery, build, job and attempt ids
on every record of the current context, so one push can be followed with one grep.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import cast

import structlog
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

bind = structlog.contextvars.bound_contextvars

#: What must never be written: farm tokens, credentials inside URLs, Authorization values.
_SECRET = re.compile(
    r"bft_[A-Za-z0-9_-]{16,}"
    r"|(?<=://)[^/@\s:]+:[^/@\s]+(?=@)"
    r"|(?i:(?<=basic )[A-Za-z0-9+/=]{8,}|(?<=bearer )[A-Za-z0-9._~+/=-]{8,})"
)


def mask(text: str) -> str:
    """The text with everything that looks like a credential replaced by `[masked]`."""
    return _SECRET.sub("[masked]", text)


def _mask_event(_logger: WrappedLogger, _name: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        event[key] = _masked(value)
    return event


def _masked(value: object) -> object:
    match value:
        case str():
            return mask(value)
        case dict():
            return {key: _masked(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_masked(inner) for inner in value]
        case _:
            return value


def configure(process: str, *, level: int = logging.INFO) -> None:
    """Send every record of this process, ours and the libraries', to standard error as JSON lines."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                _mask_event,
                structlog.processors.EventRenamer("event"),
                structlog.processors.JSONRenderer(sort_keys=True),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in ("docker", "urllib3", "git", "alembic", "rq"):
        logging.getLogger(name).setLevel(logging.WARNING)
    structlog.contextvars.bind_contextvars(process=process)


def get(name: str) -> FilteringBoundLogger:
    """A logger whose records carry the bound context."""
    return cast("FilteringBoundLogger", structlog.get_logger(name))
