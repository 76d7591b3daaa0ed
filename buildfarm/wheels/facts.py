"""What the caller expects of a file, and what the validator found it to be."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Literal

#: Where a file comes from: sent by somebody, made by the farm, or taken over from another index.
Origin = Literal["upload", "build", "mirror"]


@dataclass(frozen=True)
class Expectation:
    """What a file has to be. `project` is normalised; `max_bytes` counts the file as sent.

    `waived` holds ids of rules that leave a finding where they would refuse (`rules.py` says which may).
    `digests` came along with the file and have to agree: `sha256`, `blake2_256` in hexadecimal, `md5` in
    that or in URL-safe base 64, as upload clients do both.
    """

    filename: str
    project: str | None
    version: str | None
    max_bytes: int
    origin: Origin = "upload"
    waived: frozenset[str] = frozenset()
    digests: Mapping[str, str] = field(default_factory=dict)

    def to_json(self) -> str:
        """One JSON line for the sandboxed child."""
        return json.dumps({**asdict(self), "waived": sorted(self.waived)})

    @classmethod
    def from_json(cls, text: str) -> Expectation:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        return cls(**{**fields, "waived": frozenset(fields["waived"])})


@dataclass(frozen=True)
class Finding:
    """A rule that was broken without refusing the file."""

    rule: str
    text: str
    entry: str = ""


@dataclass(frozen=True)
class Check:
    """What judged a file: the number of the rule list, the time it took, version of each tool by name."""

    rules: int
    milliseconds: int | None
    tools: dict[str, str]


@dataclass(frozen=True)
class FileFacts:
    """Everything the index stores about a file that was accepted.

    `project` is normalised, `display_name` as the author spells it, `version` in canonical form.
    `metadata` is the exact METADATA or PKG-INFO, as served beside the file (PEP 658).
    `requires_python` is as the author wrote it. `is_native`: the wheel is for some platform only.
    `packages`: what a wheel brings at the top that can be imported, without namespaces.
    """

    filename: str
    kind: Literal["wheel", "sdist"]
    project: str
    display_name: str
    version: str
    size: int
    sha256: str
    requires_python: str | None
    metadata: bytes
    metadata_sha256: str
    metadata_version: str
    tags: list[str]
    summary: str
    requires_dist: list[str]
    is_native: bool
    packages: list[str]
    findings: list[Finding]
    #: About the check and not about the file: two results for the same bytes are the same facts.
    check: Check = field(compare=False)

    def to_json(self) -> str:
        """One JSON line; the metadata bytes in base 64."""
        return json.dumps({**asdict(self), "metadata": base64.b64encode(self.metadata).decode()})

    @classmethod
    def from_json(cls, text: str) -> FileFacts:
        """The inverse of `to_json`."""
        fields = json.loads(text)
        fields["metadata"] = base64.b64decode(fields["metadata"])
        fields["findings"] = [Finding(**finding) for finding in fields["findings"]]
        fields["check"] = Check(**fields["check"])
        return cls(**fields)
