"""The one typed settings object: a TOML file, `BUILDFARM_*` variables, `*_FILE` for secrets.

Order, strongest first: environment, file named by a `*_FILE` variable, TOML file. A nested value is
addressed with two underscores (`BUILDFARM_STORAGE__URL`). Unknown keys are refused with the nearest
known name, so that a typing error cannot silently switch something off.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from buildfarm.errors import EnvironmentProblem
from buildfarm.nearest import did_you_mean
from buildfarm.shipped import shipped

#: Variables that begin with `BUILDFARM_` and steer the command line, not the farm.
CLIENT_VARIABLES = frozenset({"BUILDFARM_URL", "BUILDFARM_TOKEN", "BUILDFARM_CONFIG"})


class _Group(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Storage(_Group):
    """Where blobs live."""

    url: str = Field("", description="`file:///path`; empty: the folder `blobs` of the data folder.")


class Mirror(_Group):
    """The upstream indexes that builds, mirror and union channels read through the farm."""

    upstreams: tuple[str, ...] = Field((), description="Simple API roots; empty: the index pip uses here.")
    timeout_s: float = Field(30.0, description="Patience with an upstream, seconds for each read.")
    fresh_s: float = Field(600.0, description="How long a page is shown before upstream is asked again.")
    max_bytes: int = Field(50 * 2**30, description="Room for upstream files; the longest unused go first.")
    stale_wait_s: float = Field(2.0, description="How long upstream may think before the old page is shown.")
    crates_index: str = Field("", description="Sparse index of the crates registry for builds; empty: none.")
    go_proxy: str = Field("", description="Go module proxy for builds; empty: none.")
    isolated: bool = Field(False, description="Ask no upstream: what was imported is all there is.")


class Tls(_Group):
    """The certificate that `up` shows; empty: away from loopback, one of the farm's own authority."""

    cert_file: str = Field("", description="PEM chain of the certificate, the server's first.")
    key_file: str = Field("", description="PEM key of the certificate; give both or neither.")

    @model_validator(mode="after")
    def _both(self) -> Self:
        if bool(self.cert_file) != bool(self.key_file):
            raise ValueError("cert_file and key_file go together")
        return self


class Timing(_Group):
    """Clocks of the queue; seconds. Tests shorten them, operators rarely need to."""

    keeper_interval_s: float = Field(2.0, description="How often the keeper looks for work to hand over.")
    handover_grace_s: float = Field(
        20.0, description="A hand-over that RQ no longer holds is repeated after."
    )
    lease_s: float = Field(60.0, description="A claim whose heartbeat is older is ended.")
    heartbeat_s: float = Field(5.0, description="How often a claim is renewed.")
    builder_seen_s: float = Field(30.0, description="How often an idle builder says that it is there.")
    unsigned_s: float = Field(10.0, description="Journal rows that are older are covered by a signed head.")
    sweep_s: float = Field(
        300.0, description="How often each repository is compared with what was built of it."
    )
    visible_s: float = Field(2.0, description="How long a writer waits for web nodes to show its change.")


class Limits(_Group):
    """Every limit on what comes from outside, in one place."""

    hook_body_bytes: int = Field(25 * 2**20, description="Largest webhook body.")
    upload_bytes: int = Field(1 * 2**30, description="Largest file of a release.")
    log_bytes: int = Field(64 * 2**20, description="Largest log of one attempt, whatever a builder sends.")
    log_viewers: int = Field(40, description="Live log connections of one web process.")
    attempts: int = Field(3, description="Tries of one job when the farm itself is at fault.")


class Ledger(_Group):
    """How long the ledger of deliveries remembers; days."""

    bodies_days: float = Field(30.0, description="Bodies of deliveries are dropped after; the rest stays.")
    rows_days: float = Field(365.0, description="Deliveries that started no build are forgotten after.")


class Validation(_Group):
    """What the validator lets pass."""

    waived: tuple[str, ...] = Field((), description="Rules that leave a finding instead of refusing.")


class AttestationIdentity(_Group):
    """Somebody whose Sigstore statements are believed."""

    issuer: str
    identity: str
    projects: tuple[str, ...] = ("*",)


class Index(_Group):
    """What the index takes from elsewhere."""

    attestation_roots: tuple[Path, ...] = Field(
        (), description="`trusted_root.json` of other farms whose attestations uploads may bring along."
    )
    attestation_identities: tuple[AttestationIdentity, ...] = Field(
        (), description="Whose Sigstore attestations uploads may bring along; see docs/uploads.md."
    )
    sigstore_root: Path | None = Field(
        None, description="`trusted_root.json` of the Sigstore service that attests for them."
    )
    refuse_lookalikes: bool = Field(
        False, description="Refuse the first upload of a name that looks like one of ours or upstream's."
    )
    session_s: float = Field(7 * 86400.0, description="How long an upload session stays open at first.")
    pull_request_stage_days: float = Field(
        14.0,
        description="The stage of a pull request ends so long after its last file, or with it.",
    )
    namespaces: bool = Field(
        False, description="Speak Simple API 1.5: pages tell the reserved namespaces of a project (PEP 752)."
    )


class Settings(BaseSettings):
    """All settings of one farm; see `docs/settings.md`."""

    model_config = SettingsConfigDict(
        env_prefix="BUILDFARM_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    data: Path = Field(Path("buildfarm-data"), description="The folder that holds everything of this farm.")
    public_url: str = Field("http://127.0.0.1:8080", description="What clients type; issuer of attestations.")
    database: str = Field("", description="SQLAlchemy URL; empty: SQLite in the data folder.")
    redis: str = Field("", description="URL of the Redis-compatible server of the control queues.")
    builder_redis: str = Field(
        "", description="URL without a login at which builders of other hosts reach that server; empty: not."
    )
    signer_socket: str = Field("", description="Unix socket of the signer.")
    recipes: Path = Field(
        default_factory=lambda: shipped("recipes"), description="Folder with recipes and target definitions."
    )
    sources_allow_file: bool = Field(False, description="Allow `file://` repositories (try-outs, tests).")
    sources_private_hosts: tuple[str, ...] = Field(
        (),
        description="Names (`*.corp.example`) and networks of repositories at private addresses.",
    )
    node: str = Field("web", description="Name of this web node among the followers of the journal.")
    tiers_shared: bool = Field(True, description="Tiers share one builder host; `builder.id` says so.")
    storage: Storage = Storage()
    mirror: Mirror = Mirror()
    tls: Tls = Tls()
    timing: Timing = Timing()
    limits: Limits = Limits()
    ledger: Ledger = Ledger()
    index: Index = Index()
    validation: Validation = Validation()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before `*_FILE` before the file (TOML; JSON as `up` writes it)."""
        sources: list[PydanticBaseSettingsSource] = [
            init_settings,
            env_settings,
            _FileVariables(settings_cls),
        ]
        if path := os.environ.get("BUILDFARM_CONFIG"):
            if path.endswith(".json"):
                sources.append(JsonConfigSettingsSource(settings_cls, json_file=path))
            else:
                sources.append(TomlConfigSettingsSource(settings_cls, toml_file=path))
        return tuple(sources)

    @property
    def database_url(self) -> str:
        """The database in force."""
        return self.database or f"sqlite:///{self.data.absolute() / 'farm.db'}"

    @property
    def blobs_dir(self) -> Path:
        """The folder of the local blob store."""
        return Path(self.storage.url.removeprefix("file://")) if self.storage.url else self.data / "blobs"

    @property
    def staged_dir(self) -> Path:
        """The folder of files that wait in upload sessions; on one disk with the blobs."""
        return self.blobs_dir / "staged"

    @property
    def pages_dir(self) -> Path:
        """The folder of this node's rendered index pages."""
        return self.data / "pages"

    @property
    def bell(self) -> Path:
        """The socket by which this host's page follower learns of new journal rows."""
        return self.data / "run" / "journal.bell"

    @property
    def mirror_dir(self) -> Path:
        """The folder of what is being fetched from upstream indexes: locks and growing files."""
        return self.data / "mirror"

    @property
    def trust_dir(self) -> Path:
        """The signer's public documents; its keys are elsewhere and not readable from here."""
        return self.data / "signer" / "public"

    @property
    def mirrors_dir(self) -> Path:
        """The folder of bare repositories, one for each source."""
        return self.data / "mirrors"


class _FileVariables(PydanticBaseSettingsSource):
    """`BUILDFARM_REDIS_FILE=/run/secrets/redis` gives the setting `redis` the text of that file."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ANN401
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name in self.settings_cls.model_fields:
            if path := os.environ.get(f"BUILDFARM_{name.upper()}_FILE"):
                try:
                    values[name] = Path(path).read_text().strip()
                except OSError as err:
                    message = (
                        f"BUILDFARM_{name.upper()}_FILE names {path}, which cannot be read: {err.strerror}."
                    )
                    raise EnvironmentProblem(message, code="settings.file_unreadable") from err
        return values


def load(**overrides: Any) -> Settings:  # noqa: ANN401
    """The settings of this process.

    Raises:
        EnvironmentProblem: a value does not fit, or a key is unknown (the sentence names the nearest).
    """
    _refuse_unknown_variables(os.environ)
    if (path := os.environ.get("BUILDFARM_CONFIG")) and not Path(path).is_file():
        # The libraries pass over a missing file in silence: a typing error would switch everything off.
        raise EnvironmentProblem(
            f"BUILDFARM_CONFIG names {path}, which is no file.", code="settings.unreadable"
        )
    try:
        return Settings(**overrides)
    except ValidationError as err:
        problem = err.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            message = f"Unknown setting {where!r}."
            raise EnvironmentProblem(
                message, code="settings.unknown", hint=did_you_mean(where, known())
            ) from err
        message = f"The setting {where!r} does not fit: {problem['msg']}."
        raise EnvironmentProblem(message, code="settings.invalid") from err
    except SettingsError as err:
        raise EnvironmentProblem(
            f"A variable does not fit: {err}.",
            code="settings.invalid",
            hint='Lists are written as JSON there, such as ["*.corp.example", "10.0.0.0/8"].',
        ) from err
    except (OSError, ValueError) as err:
        message = f"The settings file cannot be read: {err}."
        raise EnvironmentProblem(message, code="settings.unreadable") from err


def known() -> dict[str, str]:
    """Every setting by its dotted name, with its description (what `docs/settings.md` must list)."""
    names: dict[str, str] = {}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Group):
            for inner, inner_field in field.annotation.model_fields.items():
                names[f"{name}.{inner}"] = inner_field.description or ""
        else:
            names[name] = field.description or ""
    return names


def _refuse_unknown_variables(environ: Mapping[str, str]) -> None:
    variables = {f"BUILDFARM_{name.upper().replace('.', '__')}" for name in known()}
    variables |= {f"{name}_FILE" for name in variables if "__" not in name} | CLIENT_VARIABLES
    groups = {name.split("__")[0] for name in variables if "__" in name}
    for name in environ:
        if name.startswith("BUILDFARM_") and name not in variables | groups:
            message = f"Unknown variable {name}."
            raise EnvironmentProblem(message, code="settings.unknown", hint=did_you_mean(name, variables))


def pip_index_url() -> str:
    """The index that pip is configured for on this machine: what a mirror follows unless told otherwise."""
    answer = subprocess.run(
        [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    if url := os.environ.get("PIP_INDEX_URL") or answer.stdout.strip():
        return url.rstrip("/")
    default = "from pip._internal.models.index import PyPI; print(PyPI.simple_url)"
    answer = subprocess.run(
        [sys.executable, "-c", default], capture_output=True, text=True, check=False, timeout=60
    )
    if answer.returncode:
        raise EnvironmentProblem(
            "No upstream index is set and pip is not there to ask.",
            code="mirror.no_upstream",
            hint="Set mirror.upstreams.",
        )
    return answer.stdout.strip().rstrip("/")
