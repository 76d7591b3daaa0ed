"""Columns of every table of stored files: what the validator said of a file, by which rules and tools."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from buildfarm.errors import InvalidInput
from buildfarm.wheels.facts import Check, FileFacts
from buildfarm.wheels.rules import RULES_VERSION
from buildfarm.wheels.tools import tools


class Judged:
    """Mixed into a table.

    `findings` are the rules that were reported without refusing. `refused` is the sentence of the rule
    (`refused_by`) that the bytes break. `rules_version` 0: judged before that was noted. `check_ms` is
    empty where nothing was measured.
    """

    findings: Mapped[list[Any]] = mapped_column(default=list)
    refused: Mapped[str | None] = mapped_column(Text)
    refused_by: Mapped[str | None]
    rules_version: Mapped[int] = mapped_column(default=0, index=True)
    check_ms: Mapped[int | None]
    check_tools: Mapped[dict[str, Any]] = mapped_column(default=dict)

    def note_accepted(self, facts: FileFacts) -> None:
        """The validator takes the file."""
        self.findings = [asdict(finding) for finding in facts.findings]
        self.refused = self.refused_by = None
        self._note(facts.check)

    def note_refused(self, error: InvalidInput) -> None:
        """The validator refuses the file; what it found earlier stays, its check ended before the rest."""
        self.refused, self.refused_by = error.message, str(error.facts.get("rule", ""))
        self._note(Check(RULES_VERSION, None, tools()))

    @property
    def check(self) -> Check | None:
        """What judged the file, None when that is not known."""
        return Check(self.rules_version, self.check_ms, self.check_tools) if self.rules_version else None

    def _note(self, check: Check) -> None:
        self.rules_version, self.check_ms, self.check_tools = check.rules, check.milliseconds, check.tools
