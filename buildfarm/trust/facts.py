"""The closed set of facts from which the signer composes a statement.

Nothing outside these fields can end up in a statement, and every one of them comes from the control
zone's own records: what a build says about itself is never among them.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, Self

from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)

_PASSWORD_IN_URI = re.compile(r"://[^/@\s]*:[^/@\s]*@")


def _without_password(uri: str) -> str:
    if _PASSWORD_IN_URI.search(uri):
        msg = "a statement is public: the URI must not hold a password"
        raise ValueError(msg)
    return uri


Text = Annotated[str, StringConstraints(max_length=1024, pattern=r"^[^\x00-\x1f\x7f]*$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=r"^[^\x00-\x1f\x7f]+$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Commit = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{40}|[0-9a-f]{64})$")]
Uri = Annotated[
    str,
    StringConstraints(max_length=2048, pattern=r"^[a-z][a-z0-9+.-]*:[!-~]+$"),
    AfterValidator(_without_password),
]
#: A repository as `git+https://...`, or a project of an index as a package URL.
SourceUri = Annotated[Uri, StringConstraints(pattern=r"^(git\+|pkg:pypi/)")]


class _Facts(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=False)


class Dependency(_Facts):
    """One file that the build took from the farm, as the farm recorded it."""

    ecosystem: Literal["pypi", "cargo", "golang"]
    name: Word
    version: Word
    filename: Word
    sha256: Sha256
    index_uri: Uri


class BuildFacts(_Facts):
    """Everything a build statement says about one file, apart from the file's digest.

    The digest is missing on purpose: the signer reads the bytes and computes it.
    """

    #: `<job id>/<attempt number>`
    attempt_key: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{1,64}/[1-9][0-9]{0,6}$")]
    filename: Annotated[str, StringConstraints(max_length=255, pattern=r"^[A-Za-z0-9][A-Za-z0-9._+!-]*$")]
    project: Word
    version: Word

    #: Never with a password.
    source_uri: SourceUri
    ref: Word
    #: The commit; of a project of an index the SHA-256 of its sdist.
    commit: Commit
    recipe_uri: SourceUri
    #: Path of the recipe in its repository; empty when the farm's defaults were used.
    recipe_path: Text = ""
    #: Digest of the recipe as merged.
    recipe_sha256: Sha256
    target: Word
    #: What a person set for this build alone.
    inputs: dict[Word, Text] = Field(default_factory=dict, max_length=64)

    trigger: Word
    #: The build of this release that was made again.
    rebuilds_url: Uri | None = None
    delivery_id: Text = ""
    channel: Word
    limits: dict[Word, Text] = Field(default_factory=dict, max_length=64)
    network: Word
    #: Seconds since 1970.
    source_date_epoch: Annotated[int, Field(ge=0, lt=2**53)]

    image_uri: Uri
    #: The engine's image id, without its `sha256:`.
    image_sha256: Sha256
    #: What the recipe had installed in that image, and the id of the image that came of it.
    system_packages: tuple[Word, ...] = Field(default=(), max_length=100)
    derived_image_sha256: Sha256 | None = None
    #: Digest of the source tree as the fetcher made it.
    snapshot_sha256: Sha256
    dependencies: tuple[Dependency, ...] = Field(default=(), max_length=20_000)

    builder_name: Word
    builder_tier: Literal["release", "dev", "untrusted"]
    #: By the processor, by an emulator, or built for another machine.
    execution: Literal["native", "emulated", "cross"]
    #: True where the operator has but one host for several tiers; `builder.id` then says so.
    tiers_shared: bool = False
    #: True where the compilers had a cache; `builder.id` then says so.
    compile_cache: bool = False
    builder_versions: dict[Word, Text] = Field(default_factory=dict, max_length=64)

    build_url: Uri
    #: Becomes the statement's `invocationId`.
    attempt_url: Uri
    started_at: AwareDatetime
    finished_at: AwareDatetime
    log_url: Uri
    log_sha256: Sha256

    #: The certificate's subject, `<public_url>/projects/<project>/recipes/<recipe>`.
    identity: Uri
    farm_version: Word

    @model_validator(mode="after")
    def _filename_is_of_the_release(self) -> Self:
        try:
            if self.filename.endswith(".whl"):
                name, version, _build, _tags = parse_wheel_filename(self.filename)
            else:
                name, version = parse_sdist_filename(self.filename)
            same_version = version == Version(self.version)
        except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion) as error:
            raise ValueError(str(error)) from error
        if name != canonicalize_name(self.project) or not same_version:
            msg = f"{self.filename} is not a file of {self.project} {self.version}"
            raise ValueError(msg)
        return self

    @model_validator(mode="after")
    def _finish_follows_start(self) -> Self:
        if self.finished_at < self.started_at:
            msg = "the attempt finished before it started"
            raise ValueError(msg)
        return self


class ReproductionFacts(BuildFacts):
    """The facts of a second build that made a file with the same bytes, and which build it repeats."""

    #: The first attempt's `invocationId` and builder.
    first_attempt_url: Uri
    first_builder: Word
