"""Uploads: a file that somebody made elsewhere becomes a file of a release in a channel.

What the form says is a hint that must agree; project, version and metadata are read from the archive
by the validator. A file name means one digest for ever: the same bytes again change nothing.
Source: warehouse's upload API as documented for twine, PEP 503, 527, 625.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

from packaging.utils import canonicalize_name
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from buildfarm import clock
from buildfarm.access.rules import Principal
from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import Conflict, InvalidInput
from buildfarm.index import channels, names
from buildfarm.index.files import demand_free, release_of
from buildfarm.index.model import ChannelEntry, File
from buildfarm.journal.record import record
from buildfarm.mirror.upstream import Upstream
from buildfarm.storage.blobs import Blobs, Incoming
from buildfarm.wheels.facts import Expectation, FileFacts
from buildfarm.wheels.validate import check_digests, validate_in_sandbox

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
        if "attestations" in fields:
            raise InvalidInput(
                "This index takes no attestations that were made elsewhere.",
                code="upload.attestations",
                hint="Upload without them, or let the farm build the release: it attests what it builds.",
            )

    @property
    def digests(self) -> dict[str, str]:
        """The digests that came along, by algorithm."""
        given = {name: self.fields.get(f"{name}_digest", "") for name in _DIGESTS}
        return {name: value for name, value in given.items() if value}


@dataclass(frozen=True)
class Uploader:
    """Takes uploads; may be shared by threads."""

    database: Database
    blobs: Blobs
    upstream: Upstream
    settings: Settings

    def take(
        self, channel: str, principal: Principal, form: Form, filename: str, content: Incoming
    ) -> int | None:
        """Put a received file into a channel; the journal serial, or None when nothing was to be done.

        The caller has found out that the principal may upload to the channel.

        Raises:
            InvalidInput: the form or the file breaks a rule; the sentence names it.
            Forbidden: `project.not_granted`, the project is published by a source.
            Conflict: `file.exists`, the name has other bytes; `project.upstream`, the name is not ours.
            ExternalFailure: `mirror.unreachable`, nobody can say whose the name is.
        """
        form.check()
        sha256 = content.flush()
        with self.database.read() as session:
            known = session.get(File, filename)
            demand_free(known, sha256)
            if known and _is_inside(session, channel, filename):
                return None
        facts = self._validated(form, filename, content)
        self._demand_name(principal, facts.project)
        content.keep(sha256)
        metadata = self.blobs.put_bytes(facts.metadata)
        try:
            return self._make_visible(channel, principal, facts, metadata)
        except IntegrityError:
            # The same name came twice at once: the other one decides what it means.
            with self.database.read() as session:
                known = session.get(File, filename)
            demand_free(known, sha256)
            if known is None:
                raise
            return self._make_visible(channel, principal, facts, metadata)

    def _validated(self, form: Form, filename: str, content: Incoming) -> FileFacts:
        expectation = Expectation(
            filename=filename,
            project=canonicalize_name(form.fields["name"]),
            version=form.fields["version"],
            max_bytes=self.settings.limits.upload_bytes,
            origin="upload",
            waived=frozenset(self.settings.validation.waived),
        )
        facts = validate_in_sandbox(content.path, expectation)
        check_digests(facts, form.digests)
        if facts.kind != _KINDS[form.fields["filetype"]]:
            raise InvalidInput(
                f"The form says {form.fields['filetype']}, the file is a {facts.kind}.", code="upload.form"
            )
        announced = form.fields.get("metadata_version", facts.metadata_version)
        if announced != facts.metadata_version:
            raise InvalidInput(
                f"The form says metadata {announced[:20]}, the file has {facts.metadata_version}.",
                code="upload.form",
            )
        return facts

    def _demand_name(self, principal: Principal, name: str) -> None:
        with self.database.read() as session:
            is_settled = names.demand_publishable(session, principal, name)
        if not is_settled and self.upstream.rows(name) is not None:
            raise Conflict(
                f"The project {name} exists on the upstream index and is not ours.",
                code="project.upstream",
                hint="If it should be, an administrator uploads its first file; from then on it is.",
            )

    def _make_visible(
        self, channel: str, principal: Principal, facts: FileFacts, metadata_sha256: str
    ) -> int | None:
        with self.database.begin() as session:
            channels.hold_durable(session, channel)
            known = session.get(File, facts.filename)
            demand_free(known, facts.sha256)
            if _is_inside(session, channel, facts.filename):
                return None
            names.add_local(session, facts.project, facts.display_name, actor=principal.id)
            if known is None:
                session.add(_file(session, facts, metadata_sha256))
                session.flush()
            record(
                session,
                "upload",
                project=facts.project,
                version=facts.version,
                channel=channel,
                files=[{"filename": facts.filename, "sha256": facts.sha256}],
                actor=principal.id,
                on_serial=channels.entering(session, channel, [facts.filename]),
            )
        return int(session.info["serial"])


def _is_inside(session: Session, channel: str, filename: str) -> bool:
    live = select(ChannelEntry.since).where(
        ChannelEntry.channel == channel, ChannelEntry.filename == filename, ChannelEntry.until.is_(None)
    )
    return session.execute(live).first() is not None


def _file(session: Session, facts: FileFacts, metadata_sha256: str) -> File:
    return File(
        filename=facts.filename,
        release_id=release_of(session, facts).id,
        sha256=facts.sha256,
        size=facts.size,
        requires_python=facts.requires_python,
        metadata_sha256=metadata_sha256,
        uploaded_at=clock.now(),
        findings=[asdict(finding) for finding in facts.findings],
    )
