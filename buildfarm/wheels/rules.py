"""The rule list as data, and the report that rules are applied through.

One list serves uploads, publishing and imports. A `must` rule always refuses. A `should` rule refuses
unless the caller waives it (a channel's policy, an import of an older index), then it leaves a
finding. A `warn` rule only ever leaves a finding. Sources: P = a packaging standard, A = a known
attack, F = a promise of this farm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NoReturn

from buildfarm.errors import InvalidInput
from buildfarm.wheels.facts import Finding

_MAX_FINDINGS = 200
Severity = Literal["must", "should", "warn"]


@dataclass(frozen=True)
class Rule:
    """One rule: its stable id, how strict it is, its text, and where it comes from."""

    id: str
    severity: Severity
    text: str
    source: str


def _listed(*rows: tuple[str, Severity, str, str]) -> dict[str, Rule]:
    return {row[0]: Rule(*row) for row in rows}


RULES = _listed(
    ("F-03", "must", "every digest given agrees with the bytes", "P"),
    ("F-04", "must", "the file is of the project and version that was announced", "F"),
    ("F-05", "must", "the file is within the size limit", "F"),
    ("N-01", "must", "the file name is plain ASCII and at most 255 long", "A"),
    ("N-02", "must", "the file is a .whl or a .tar.gz", "P: PEP 527, PEP 715"),
    ("N-03", "must", "the project name follows the name grammar", "P: PEP 508"),
    ("N-04", "should", "the wheel name parses; project and version are normalised", "P: PEP 427"),
    ("N-05", "should", "the sdist name is {name}-{version}.tar.gz, both normalised", "P: PEP 625"),
    ("N-06", "warn", "a local version is for channels that allow it", "P: PEP 440"),
    ("N-07", "should", "the platform tag is known and portable", "P: PEP 425, 600, 656"),
    ("Z-01", "must", "the archive is the whole file and carries no comments", "A: polyglots"),
    ("Z-02", "must", "records come as members, directory, end; nothing else", "P: APPNOTE 4.3.6"),
    ("Z-03", "must", "local header and central directory agree", "A: CVE-2025-54368"),
    ("Z-04", "must", "counts, offset and size in the end record are the real ones", "A"),
    ("Z-05", "must", "members are stored or deflated, not streamed, encrypted or patched", "A"),
    ("Z-06", "should", "no two members share a name, also after case folding", "A"),
    ("Z-07", "should", "member names are plain relative paths for every system", "A"),
    ("Z-08", "must", "extra fields are well formed, none renames a member", "A"),
    ("Z-09", "should", "only regular files, and directories that hold some", "A"),
    ("Z-10", "must", "the content is within its budgets of size, ratio and count", "A: bombs"),
    ("Z-11", "must", "members do not overlap", "A: overlap bombs"),
    ("Z-12", "must", "the archive has one disk", "P: APPNOTE 4.4.19"),
    ("Z-13", "must", "every member inflates to its size and CRC", "F"),
    ("W-01", "must", "there is one .dist-info folder, named as the file", "P: binary-distribution-format"),
    ("W-02", "must", "WHEEL, METADATA and RECORD are there and WHEEL can be read", "P: PEP 427"),
    ("W-03", "must", "the tags in WHEEL are the tags of the file name", "P: PEP 427"),
    ("W-04", "should", "a wheel calls itself pure if and only if it holds no extension module", "P: PEP 427"),
    ("W-06", "must", "RECORD is CSV in UTF-8, with `/` and without duplicates", "P: PEP 376"),
    ("W-07", "must", "RECORD lists every member", "P: PEP 427"),
    ("W-08", "must", "RECORD lists nothing that is absent", "P: PEP 427"),
    ("W-09", "must", "every hash and size in RECORD agrees with the bytes", "P: PEP 427"),
    ("W-10", "must", "entry points parse; scripts have plain names and name an object", "P: entry-points"),
    ("W-11", "should", "nothing in the wheel runs at every start of the interpreter", "A"),
    ("W-12", "must", ".data holds only the known folders and replaces no interpreter", "P: PEP 427, A"),
    ("W-13", "should", "the licence files that METADATA names are there", "P: PEP 639"),
    ("E-01", "should", "a wheel for any platform holds no machine code", "F"),
    ("E-02", "must", "machine code is for the tag's architecture", "F"),
    ("E-03", "should", "machine code needs the tag's C library, no newer than the tag", "P: PEP 600, 656"),
    ("E-04", "must", "modules are named for the tag's Python, ABI and platform", "P: PEP 425, 3149"),
    ("E-05", "should", "no library path outside the wheel, executable stack or text relocation", "F"),
    ("M-01", "must", "the metadata is UTF-8 and every field valid", "P: core-metadata"),
    ("M-02", "must", "single-use fields occur once", "P: core-metadata, A"),
    ("M-03", "must", "the metadata version is known and its fields not newer", "P: core-metadata"),
    ("M-04", "must", "Name and Version are those of the file name", "P: core-metadata"),
    ("M-05", "should", "dependencies are valid and come from an index", "P: PEP 508"),
    ("M-06", "must", "Requires-Python is a valid specifier", "P: PEP 440"),
    ("M-07", "must", "License-Expression is valid and alone", "P: PEP 639"),
    ("M-08", "must", "Dynamic names known fields other than Name and Version", "P: PEP 643"),
    ("M-09", "warn", "extras are normalised and Import-Name is in the wheel", "P: PEP 685, 794"),
    ("S-01", "must", "the gzip stream is one member, whole, with nothing after it", "A"),
    ("S-02", "must", "the tar archive is whole and read the same by every reader", "P: PEP 625, A"),
    ("S-03", "must", "there is one top folder, named as the file, with PKG-INFO in it", "P: PEP 625"),
    ("S-04", "must", "members are files, folders, or links inside the tree", "P: PEP 721"),
    ("S-05", "must", "member names are plain relative paths, each once", "P: PEP 721"),
    ("S-06", "must", "extended headers agree with the header they extend", "A: header desync"),
    ("S-07", "should", "pyproject.toml can be read and metadata is 2.2 or later", "P: PEP 517, 518, 643"),
    ("S-08", "should", "the licence files that PKG-INFO names are there", "P: PEP 639"),
    ("S-09", "must", "the file is not a zip archive as well", "A"),
    ("V-01", "must", "the file can be checked within the limits of time and memory", "A"),
)  # fmt: skip


def shown(name: str) -> str:
    """A name out of a hostile file, printable and at most 120 characters long."""
    plain = name.encode("unicode_escape").decode("ascii")
    return plain if len(plain) <= 120 else f"{plain[:100]}...{plain[-12:]}"


class Report:
    """What the rules said about one file: findings kept, refusals raised."""

    def __init__(self, waived: frozenset[str] = frozenset()) -> None:
        self._waived = waived
        self.findings: list[Finding] = []

    def refuse(self, rule: str, text: str, entry: str = "") -> NoReturn:
        """End the check: the file cannot be taken, whatever is waived.

        Raises:
            InvalidInput: code `file.<rule>`, facts `rule` and `entry`.
        """
        raise refusal(rule, text, entry)

    def judge(self, rule: str, text: str, entry: str = "") -> None:
        """Apply a `should` or `warn` rule that was broken: refuse, or keep a finding.

        Raises:
            InvalidInput: the rule is a `should` rule and not waived.
        """
        if RULES[rule].severity == "should" and rule not in self._waived:
            raise refusal(rule, text, entry, hint="An administrator may waive this rule for a channel.")
        self.note(rule, text, entry)

    def note(self, rule: str, text: str, entry: str = "") -> None:
        """Keep a finding that refuses nothing; the first 200 of a file are enough to act on."""
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(rule=RULES[rule].id, severity="warn", text=text, entry=shown(entry)))


def refusal(rule: str, text: str, entry: str = "", *, hint: str = "") -> InvalidInput:
    """The error for a broken rule: `W-09: the hash of ...`."""
    known = RULES[rule]
    return InvalidInput(
        f"{known.id}: {text}",
        code=f"file.{known.id.lower()}",
        hint=hint,
        rule=known.id,
        entry=shown(entry),
    )
