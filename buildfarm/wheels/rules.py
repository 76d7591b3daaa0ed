"""The rule list as data, and the report that rules are applied through.

One list serves uploads, farm builds and mirrored files; where a file comes from decides what a broken
rule means. Refused `always`: the file cannot be taken. Refused where it is `ours` (uploaded or built
here): a mirrored or imported file is what history made it and is taken with a finding, as is one of
ours when the operator waived the rule. Refused `never`: a finding. Sources: P = a packaging standard,
A = a known attack, F = a promise of this farm.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NoReturn

from buildfarm.errors import EnvironmentProblem, InvalidInput
from buildfarm.wheels.facts import Finding, Origin

_MAX_FINDINGS = 200
Severity = Literal["refuse", "finding"]


@dataclass(frozen=True)
class Rule:
    """One rule: its stable id, when a file that breaks it is refused, its text, where it comes from."""

    id: str
    refused: Literal["always", "ours", "never"]
    text: str
    source: str

    def severity(self, origin: Origin) -> Severity:
        """What a broken rule does to a file of that origin."""
        if self.refused == "ours":
            return "finding" if origin == "mirror" else "refuse"
        return "refuse" if self.refused == "always" else "finding"


def _listed(*rows: tuple[str, Literal["always", "ours", "never"], str, str]) -> dict[str, Rule]:
    return {row[0]: Rule(*row) for row in rows}


#: Raised with every change of the list or of what a rule asks: stored files are looked at again then.
RULES_VERSION = 4
RULES = _listed(
    ("F-03", "always", "every digest given agrees with the bytes", "P"),
    ("F-04", "always", "the file is of the project and version that was announced", "F"),
    ("F-05", "always", "the file is within the size limit", "F"),
    ("N-01", "always", "the file name is plain ASCII and at most 255 long", "A"),
    ("N-02", "always", "the file is a .whl or a .tar.gz", "P: PEP 527, PEP 715"),
    ("N-03", "always", "the project name follows the name grammar", "P: PEP 508"),
    ("N-04", "ours", "the wheel name parses; project and version are normalised", "P: PEP 427"),
    ("N-05", "ours", "the sdist name is {name}-{version}.tar.gz, both normalised", "P: PEP 625"),
    ("N-06", "never", "a local version is told; a dev build has one and is not promoted", "P: PEP 440"),
    ("N-07", "ours", "the platform tag is known and portable", "P: PEP 425, 600, 656"),
    ("Z-01", "always", "the archive is the whole file and carries no comments", "A: polyglots"),
    ("Z-02", "always", "records come as members, directory, end; nothing else", "P: APPNOTE 4.3.6"),
    ("Z-03", "always", "local header and central directory agree", "A: CVE-2025-54368"),
    ("Z-04", "always", "counts, offset and size in the end record are the real ones", "A"),
    ("Z-05", "always", "members are stored or deflated, not streamed, encrypted or patched", "A"),
    ("Z-06", "ours", "no two members share a name, also after case folding", "A"),
    ("Z-07", "ours", "member names are plain relative paths for every system", "A"),
    ("Z-08", "always", "extra fields are well formed, none renames a member", "A"),
    ("Z-09", "ours", "only regular files, and directories that hold some", "A"),
    ("Z-10", "always", "the content is within its budgets of size, ratio and count", "A: bombs"),
    ("Z-11", "always", "members do not overlap", "A: overlap bombs"),
    ("Z-12", "always", "the archive has one disk", "P: APPNOTE 4.4.19"),
    ("Z-13", "always", "every member inflates to its size and CRC", "F"),
    ("W-01", "always", "there is one .dist-info folder, named as the file", "P: binary-distribution-format"),
    ("W-02", "always", "WHEEL, METADATA and RECORD are there and WHEEL can be read", "P: PEP 427"),
    ("W-03", "always", "the tags in WHEEL are the tags of the file name", "P: PEP 427"),
    ("W-04", "ours", "a wheel calls itself pure if and only if it holds no extension module", "P: PEP 427"),
    ("W-06", "always", "RECORD is CSV in UTF-8, with `/` and without duplicates", "P: PEP 376"),
    ("W-07", "always", "RECORD lists every member", "P: PEP 427"),
    ("W-08", "always", "RECORD lists nothing that is absent", "P: PEP 427"),
    ("W-09", "always", "every hash and size in RECORD agrees with the bytes", "P: PEP 427"),
    ("W-10", "ours", "entry points parse; scripts have plain names and name an object", "P: entry-points"),
    ("W-11", "ours", "nothing in the wheel runs at every start of the interpreter", "A"),
    ("W-12", "always", ".data holds only the known folders and replaces no interpreter", "P: PEP 427, A"),
    ("W-13", "ours", "the licence files that METADATA names are there", "P: PEP 639"),
    ("W-14", "never", "a wheel brings no package under the name of another project", "A"),
    ("E-01", "ours", "a wheel for any platform holds no machine code", "F"),
    ("E-02", "ours", "machine code is for the tag's architecture", "F"),
    ("E-03", "ours", "code needs no other C library or newer symbols than the tag", "P: PEP 600, 656"),
    ("E-04", "ours", "modules are named for the tag; abi3 ones keep to the stable ABI", "P: PEP 384, 425"),
    ("E-05", "ours", "no library path outside the wheel, executable stack or text relocation", "F"),
    ("E-06", "ours", "Windows and macOS code is for the tag's machine and system", "F"),
    ("M-01", "ours", "the metadata is UTF-8 and every field valid", "P: core-metadata"),
    ("M-02", "ours", "single-use fields occur once", "P: core-metadata, A"),
    ("M-03", "ours", "the metadata version is known and its fields not newer", "P: core-metadata"),
    ("M-04", "ours", "Name and Version are those of the file name", "P: core-metadata"),
    ("M-05", "ours", "dependencies are valid and come from an index", "P: PEP 508"),
    ("M-06", "ours", "Requires-Python is a valid specifier", "P: PEP 440"),
    ("M-07", "ours", "License-Expression is valid and alone", "P: PEP 639"),
    ("M-08", "ours", "Dynamic names known fields other than Name and Version", "P: PEP 643"),
    ("M-09", "never", "extras are normalised and Import-Name is in the wheel", "P: PEP 685, 794"),
    ("M-10", "never", "the description renders as its content type says", "P: core-metadata"),
    ("M-11", "never", "a wheel says what its source archive says, where that is static", "P: PEP 643"),
    ("S-01", "always", "the gzip stream is one member, whole, with nothing after it", "A"),
    ("S-02", "always", "the tar archive is whole and read the same by every reader", "P: PEP 625, A"),
    ("S-03", "ours", "there is one top folder, named as the file, with PKG-INFO in it", "P: PEP 625"),
    ("S-04", "always", "members are files, folders, or links inside the tree", "P: PEP 721"),
    ("S-05", "ours", "member names are plain relative paths, each once", "P: PEP 721"),
    ("S-06", "always", "extended headers agree with the header they extend", "A: header desync"),
    ("S-07", "ours", "pyproject.toml can be read and metadata is 2.2 or later", "P: PEP 517, 518, 643"),
    ("S-08", "ours", "the licence files that PKG-INFO names are there", "P: PEP 639"),
    ("S-09", "always", "the file is not a zip archive as well", "A"),
    ("V-01", "always", "the file can be checked within the limits of time and memory", "A"),
)  # fmt: skip


def shown(name: str) -> str:
    """A name out of a hostile file, printable and at most 120 characters long."""
    plain = name.encode("unicode_escape").decode("ascii")
    return plain if len(plain) <= 120 else f"{plain[:100]}...{plain[-12:]}"


class Report:
    """What the rules said about one file: findings kept, refusals raised.

    Raises:
        EnvironmentProblem: `settings.invalid`, `waived` holds what is not a rule that can be waived.
    """

    def __init__(self, origin: Origin = "upload", waived: frozenset[str] = frozenset()) -> None:
        for rule in waived:
            if rule not in RULES or RULES[rule].refused != "ours":
                raise EnvironmentProblem(
                    f"The setting validation.waived names {shown(rule)}, which cannot be waived.",
                    code="settings.invalid",
                    hint="docs/validation.md lists the rules; those refused for `ours` can be waived.",
                )
        self._origin = origin
        self._waived = waived
        self.findings: list[Finding] = []

    def refuse(self, rule: str, text: str, entry: str = "") -> NoReturn:
        """End the check: the file cannot be taken, wherever it comes from.

        Raises:
            InvalidInput: code `file.<rule>`, facts `rule` and `entry`.
        """
        raise refusal(rule, text, entry)

    def judge(self, rule: str, text: str, entry: str = "") -> None:
        """A rule was broken: refuse or keep a finding, as the file's origin has it.

        Raises:
            InvalidInput: the rule refuses files of this origin and is not waived.
        """
        if RULES[rule].severity(self._origin) == "refuse" and rule not in self._waived:
            waivable = RULES[rule].refused == "ours"
            hint = "An operator may waive this rule: validation.waived in the settings." if waivable else ""
            raise refusal(rule, text, entry, hint=hint)
        self.note(rule, text, entry)

    def note(self, rule: str, text: str, entry: str = "") -> None:
        """Keep a finding that refuses nothing; the first 200 of a file are enough to act on."""
        if len(self.findings) < _MAX_FINDINGS:
            self.findings.append(Finding(rule=RULES[rule].id, text=text, entry=shown(entry)))


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
