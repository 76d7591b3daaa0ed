"""Whether a wheel brings a package under another project's name (W-14): the child knows no projects."""

from __future__ import annotations

from dataclasses import asdict

from sqlalchemy import select
from sqlalchemy.orm import Session

from buildfarm.index.model import File, Project
from buildfarm.mirror.model import UpstreamPage
from buildfarm.wheels.facts import FileFacts, Finding
from buildfarm.wheels.names import normalise
from buildfarm.wheels.rules import RULES

_RULE = RULES["W-14"].id
#: A wheel with more packages at its top is looked at for so many, in alphabetical order.
_MOST = 500


def note(session: Session, file: File, facts: FileFacts) -> None:
    """Add a finding for each package with the name of a project of ours, or of one that upstream has.

    Of upstream the farm knows what it was asked for. May be done again; what it found earlier is replaced.
    """
    packages = {normalise(package): package for package in facts.packages[:_MOST]}
    packages.pop(facts.project, None)
    columns = (Project.name, UpstreamPage.project) if packages else ()
    others = {
        name for column in columns for name in session.scalars(select(column).where(column.in_(packages)))
    }
    found = [
        Finding(_RULE, f"the package {packages[name]} has the name of another project, {name}.")
        for name in sorted(others)
    ]
    kept = [one for one in file.findings if one["rule"] != _RULE]
    if found or len(kept) < len(file.findings):
        file.findings = [*kept, *map(asdict, found)]
