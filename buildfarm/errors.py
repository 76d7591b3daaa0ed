"""The one error hierarchy: a person's sentence, a stable code, an HTTP status.

Every error that can reach a person is a `FarmError`. `code` is a slug that scripts may rely on,
`message` is one sentence for a person, `hint` says what to do next. Shells turn it into problem
details (RFC 9457), an exit code or a log line; nothing else reaches a person.
"""

from __future__ import annotations

from typing import ClassVar


class FarmError(Exception):
    """An error with a sentence, a code and facts, safe to show to the person who caused it."""

    status: ClassVar[int] = 500
    default_code: ClassVar[str] = "farm.error"

    def __init__(self, message: str, *, code: str | None = None, hint: str = "", **facts: object) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.hint = hint
        self.facts = facts

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class InvalidInput(FarmError):
    """What was sent cannot be taken: a recipe, a payload, a file, an argument."""

    status = 400
    default_code = "input.invalid"


class Unauthenticated(FarmError):
    """Nobody we know sent this."""

    status = 401
    default_code = "access.unauthenticated"


class Forbidden(FarmError):
    """Somebody we know, who may not do this."""

    status = 403
    default_code = "access.forbidden"


class NotFound(FarmError):
    """There is no such thing, or none that this principal may see."""

    status = 404
    default_code = "not_found"


class Conflict(FarmError):
    """The state of things does not allow this now."""

    status = 409
    default_code = "conflict"


class StaleAttempt(Conflict):
    """The caller's attempt is no longer the current one: stop and discard."""

    default_code = "attempt.stale"


class LimitExceeded(FarmError):
    """A size, rate, count or time limit was reached."""

    status = 413
    default_code = "limit.exceeded"


class ExternalFailure(FarmError):
    """Something outside the farm's code is down; trying again later may help."""

    status = 503
    default_code = "external.down"


class StorageFull(ExternalFailure):
    """The disk takes no more bytes; clients that repeat a 5xx learn it before they send a body."""

    status = 507
    default_code = "storage.full"


class IntegrityFailure(FarmError):
    """A digest, signature or record does not agree; never retried, always an alarm."""

    status = 422
    default_code = "integrity.failed"


class EnvironmentProblem(FarmError):
    """This machine or its settings do not allow the program to start; exit code 2."""

    default_code = "environment.unusable"
