"""The legacy upload API: one form, one file, visible when it is answered.

What the form says is a hint that must agree with the file. The same bytes again change nothing.
Source: warehouse's upload API as documented for twine, PEP 503, 527, 625, 740.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from packaging.utils import canonicalize_name

from buildfarm.access.rules import Principal
from buildfarm.errors import InvalidInput
from buildfarm.index.files import demand_free
from buildfarm.index.model import File
from buildfarm.index.reception import Arrival, Reception, is_inside
from buildfarm.storage.blobs import Incoming
from buildfarm.wheels.facts import FileFacts

_KINDS = {"bdist_wheel": "wheel", "sdist": "sdist"}
_DIGESTS = ("sha256", "blake2_256", "md5")


@dataclass(frozen=True)
class Form:
    """The text fields of an upload that the index looks at, the first of each name."""

    fields: Mapping[str, str]

    def check(self) -> None:
        """Refuse what is no upload of one file.

        Raises:
            InvalidInput: `upload.form`.
        """
        fields = self.fields
        if fields.get(":action", "file_upload") != "file_upload":
            raise InvalidInput("This URL takes `:action` file_upload alone.", code="upload.form")
        if fields.get("protocol_version", "1") != "1":
            raise InvalidInput("This URL speaks protocol_version 1.", code="upload.form")
        for name in ("name", "version", "filetype"):
            if not fields.get(name):
                raise InvalidInput(f"The form has no field {name}.", code="upload.form")
        if fields["filetype"] not in _KINDS:
            raise InvalidInput("The filetype is neither bdist_wheel nor sdist.", code="upload.form")

    def check_against(self, facts: FileFacts) -> None:
        """Refuse a form that says something else than the file.

        Not its metadata_version: flit announces one and writes another into the file.

        Raises:
            InvalidInput: `upload.form`.
        """
        filetype = self.fields["filetype"]
        if facts.kind != _KINDS[filetype]:
            raise InvalidInput(f"The form says {filetype}, the file is a {facts.kind}.", code="upload.form")

    @property
    def digests(self) -> dict[str, str]:
        """The digests that came along, by algorithm."""
        given = {name: self.fields.get(f"{name}_digest", "") for name in _DIGESTS}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class Taken:
    """What became of an upload: the journal serial, None when nothing was to be done; names it looks like."""

    serial: int | None
    looks_like: tuple[str, ...] = ()


@dataclass(frozen=True)
class Uploader:
    """Takes uploads; may be shared by threads."""

    reception: Reception

    def take(self, channel: str, principal: Principal, form: Form, filename: str, content: Incoming) -> Taken:
        """Put a received file into a channel.

        The caller has found out that the principal may upload to the channel.

        Raises:
            InvalidInput: the form, the file or an attestation breaks a rule; the sentence names it.
            Forbidden, Conflict, ExternalFailure: as `Reception.demand_name` and `Reception.admit`.
        """
        form.check()
        sha256 = content.flush()
        desk = self.reception
        with desk.database.read() as session:
            known = session.get(File, filename)
            demand_free(known, sha256)
            if known and is_inside(session, channel, filename):
                return Taken(None)
        fields = form.fields
        facts = desk.check(
            content.path, filename, project=canonicalize_name(fields["name"]), version=fields["version"],
            digests=form.digests,
        )  # fmt: skip
        form.check_against(facts)
        looks_like = desk.demand_name(principal, facts.project)
        attestations = fields.get("attestations")
        proof = desk.statements.prove(attestations, filename, sha256) if attestations else None
        content.keep(sha256)
        return Taken(desk.admit(channel, principal, [Arrival(facts, proof)]), tuple(looks_like))
