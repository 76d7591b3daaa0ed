"""A release's description: HTML that is safe to show, and rule M-10.

Source: core metadata, Description and Description-Content-Type.
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from buildfarm.forkserver import ForkServer
from buildfarm.wheels.facts import Finding
from buildfarm.wheels.rules import RULES, shown

RULE = RULES["M-10"].id
sandbox = ForkServer("buildfarm.wheels.rendering", wall_seconds=10.0)


@dataclass(frozen=True)
class Description:
    """HTML of an allow-list of elements, empty where there is no description; `problem` is for its author."""

    html: str
    problem: str


def render(metadata: bytes) -> Description:
    """The description of a METADATA or PKG-INFO, rendered in a child of its own."""
    try:
        fields = json.loads(sandbox.ask(metadata))
        return Description(str(fields["html"]), str(fields["problem"]))
    except (ValueError, KeyError, TypeError, RecursionError):  # no answer, half of one, or nonsense
        return Description("", "it cannot be rendered within the limits of time and memory")


def judged(metadata: bytes) -> list[Finding]:
    """M-10: a description that its author, and whoever looks, will not see as it was meant."""
    headers, _, _ = metadata.replace(b"\r\n", b"\n").partition(b"\n\n")
    if b"text/x-rst" not in headers.lower():
        return []  # whatever is written renders as Markdown or plain text
    problem = render(metadata).problem
    return [Finding(RULE, f"the description does not render: {shown(problem)}.")] if problem else []
