"""What a verification is asked for and what it answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from buildfarm.errors import IntegrityFailure
from buildfarm.trust import note, uris


@dataclass(frozen=True, slots=True)
class Policy:
    """What a statement must say, besides being genuine."""

    #: Public URLs of farms whose statements are accepted.
    issuers: frozenset[str]
    #: Accepted builders, as paths under the issuer.
    builder_paths: frozenset[str] = frozenset(
        {uris.BUILDER_PATH, uris.SHARED_BUILDER_PATH, uris.CACHED_BUILDER_PATH}
    )


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one check; `expected`, `got` and `hint` are filled where it failed.

    `checked` is False where it could not be made and `detail` says why: nothing was found, nothing proved.
    """

    name: str
    ok: bool
    detail: str
    expected: str = ""
    got: str = ""
    hint: str = ""
    checked: bool = True

    def as_json(self) -> dict[str, Any]:
        """For `--json` and API answers."""
        failed = {"expected": self.expected, "got": self.got, "hint": self.hint}
        made = {"name": self.name, "ok": self.ok, "checked": self.checked, "detail": self.detail}
        return made | ({} if self.ok else failed)


@dataclass(frozen=True, slots=True)
class Origin:
    """What the statement says about a file; to be believed only where the report is ok."""

    source_uri: str
    ref: str
    commit: str
    builder: str
    target: str
    identity: str
    dependencies: int
    #: When it was signed, RFC 3339.
    signed_at: str
    log_index: int
    #: The name of the builder's host.
    host: str
    #: The run that this one repeated; empty for a build that repeats none.
    reproduces: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All checks of one file."""

    filename: str
    sha256: str
    checks: tuple[Check, ...]
    origin: Origin | None
    #: The log's state that the bundle proves inclusion in, with the log's id.
    checkpoint: note.Checkpoint | None
    log_id: bytes

    @property
    def ok(self) -> bool:
        """Whether every check passed."""
        return all(check.ok for check in self.checks)

    def demand(self) -> None:
        """Refuse a file with a failed check.

        Raises:
            IntegrityFailure: with the first failed check's name, expectation, finding and next step.
        """
        for check in self.checks:
            if not check.ok:
                raise IntegrityFailure(
                    f"{self.filename}: the check {check.name} failed: {check.detail}",
                    code=f"verify.{check.name}",
                    hint=check.hint,
                    expected=check.expected,
                    got=check.got,
                )
