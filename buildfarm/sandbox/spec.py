"""What an attempt is told and what it answers: the JSON a builder exchanges with the farm."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

Phase = Literal["image", "source", "deps", "build", "repair", "test", "upload"]
State = Literal["succeeded", "failed", "timed_out", "cancelled"]
Cause = Literal["user_code", "checks", "limit", "infrastructure", "policy"]
#: What went wrong; `buildfarm.sandbox.failures` has the cause and the next step of each.
FailureClass = Literal[
    "dependency-resolution", "dependency-build", "missing-module", "missing-header", "missing-library",
    "missing-program", "system-package", "metadata", "backend", "configure", "compile", "link",
    "network-attempted", "build", "import", "test", "repair", "shape", "out-of-memory", "timeout",
    "idle", "disk-full", "processes", "output", "dependency-refused", "probing", "source", "engine",
    "farm", "lost",
]  # fmt: skip

MIB = 1024 * 1024

ImageId = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
#: A package of the image's distribution (Debian Policy 5.6.1; the first letter keeps options out).
SystemPackage = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9+.-]{1,99}$")]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _variables(value: dict[str, str]) -> dict[str, str]:
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name) or "\0" in text:
            raise ValueError(f"{name!r} cannot be an environment variable")
    return value


Variables = Annotated[dict[str, str], AfterValidator(_variables)]


class Limits(_Frozen):
    """What one attempt may use; bytes, seconds, whole processes."""

    memory_bytes: int = Field(default=2048 * MIB, ge=16 * MIB)
    cpus: float = Field(default=2.0, gt=0)
    pids: int = Field(default=512, ge=16)
    seconds: float = Field(default=1800, gt=0)
    idle_seconds: float = Field(default=600, gt=0)
    scratch_bytes: int = Field(default=1024 * MIB, ge=MIB)
    log_bytes: int = Field(default=16 * MIB, ge=8192)
    output_bytes: int = Field(default=256 * MIB, ge=1)
    output_count: int = Field(default=20, ge=1)


class TestPlan(_Frozen):
    """What is run against the finished wheel in the image without compilers.

    Commands are argument lists in which `{project}` stands for the unpacked source, `{package}` for the
    folder of the project in it and `{wheel}` for the file. An empty `command` imports each top-level
    module of the wheel.
    """

    __test__ = False

    system_packages: list[SystemPackage] = []
    requires: list[str] = []
    requirements: list[str] = []
    extras: list[str] = []
    groups: list[str] = []
    sources: list[str] = []
    environment: Variables = {}
    before: list[str] = []
    command: list[str] = []


class ProgramPlan(_Frozen):
    """A program that is no Python project: the wheel's name and version, how it is made, its commands."""

    name: str
    version: str
    build: list[str]
    commands: dict[str, str]
    summary: str = ""


class AttemptSpec(_Frozen):
    """One try of one job: the images by ID, the source by digest, the limits."""

    job_id: Identifier
    attempt: int = Field(ge=1)
    target: str
    interpreter: Annotated[str, Field(pattern=r"^cp3\d{1,2}t?$")]
    build_image: ImageId
    test_image: ImageId | None
    source_sha256: Sha256
    source_date_epoch: int = Field(ge=0)
    subdirectory: str = ""
    config_settings: dict[str, str | list[str]] = {}
    environment: Variables = {}
    system_packages: list[SystemPackage] = []
    compile_cache: Identifier | None = None
    before: list[str] = []
    build_wheel: bool = True
    build_sdist: bool = False
    wheel_build: int | None = Field(default=None, ge=1)
    local_version: Annotated[str, Field(pattern=r"^[a-z0-9]+(\.[a-z0-9]+)*$")] | None = None
    repair: bool | list[str] = True
    expect_native: bool | None = None
    test: TestPlan | None = None
    program: ProgramPlan | None = None
    limits: Limits = Limits()
    heartbeat_seconds: float = Field(default=5, gt=0)

    @property
    def build_packages(self) -> list[str]:
        """What is installed in the image for the build."""
        return [*self.system_packages, *(["ccache"] if self.compile_cache else [])]

    @property
    def needs_images(self) -> bool:
        """Whether something is to be installed in an image before the attempt can begin."""
        return bool(self.build_packages or (self.test and self.test.system_packages))

    @field_validator("subdirectory")
    @classmethod
    def _inside_the_source(cls, value: str) -> str:
        path = PurePosixPath(value)
        if path.is_absolute() or ".." in path.parts or "\0" in value:
            raise ValueError("a subdirectory lies inside the source")
        return value

    @model_validator(mode="after")
    def _a_test_has_its_image(self) -> Self:
        if self.test is not None and self.build_wheel and self.test_image is None:
            raise ValueError("a test needs the image it runs in")
        return self


class PhaseReport(_Frozen):
    """One phase as it went. `memory_bytes` is the most its container has used so far, page cache included.

    Both counters are None where the engine's cgroups cannot be read.
    """

    phase: Phase
    seconds: float
    cpu_seconds: float | None
    memory_bytes: int | None = None
    exit_code: int | None
    image_id: str
    container_id: str


class AttemptOutcome(_Frozen):
    """How an attempt ended; all but `state`, `phases` and `engine` are None when it succeeded.

    `error_line` is the number, from 1, of the line of the log that tells why.
    """

    state: State
    cause: Cause | None = None
    failure_class: FailureClass | None = None
    first_error: str | None = None
    error_line: int | None = Field(default=None, ge=1)
    phase: Phase | None = None
    phases: list[PhaseReport] = []
    engine: dict[str, str] = {}
