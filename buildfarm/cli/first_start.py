"""What a new farm needs before its processes start: folders, secrets, schema, channels, people, images."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select

from buildfarm import log
from buildfarm.access import tokens, users
from buildfarm.access.model import User
from buildfarm.bootstrap import Farm
from buildfarm.db import migrate
from buildfarm.errors import EnvironmentProblem, ExternalFailure, FarmError
from buildfarm.farm import archives, registry
from buildfarm.farm.fleet import list_images
from buildfarm.index import channels
from buildfarm.sandbox.carrying import save
from buildfarm.sandbox.images import missing_images, newest_images

#: What the log of a farm that cannot build says.
NO_IMAGES = "docker/build-images.sh makes images, `buildfarm image add` puts them to use."
ADMIN = "admin"
ACTOR = "up"
#: Those that share this host.
TIERS = ("release", "dev", "untrusted")
_BUILDER = "local"
_log = log.get(__name__)


@dataclass(frozen=True)
class Secrets:
    """What `up` made at the first start and keeps in one file (mode 0600)."""

    admin_password: str
    admin_token: str
    builder_token: str
    redis_password: str
    builder_redis_password: str


def make_folder(data: Path) -> None:
    """Make the data folder, private to this user.

    Raises:
        EnvironmentProblem: `data.not_writable`.
    """
    try:
        data.mkdir(parents=True, exist_ok=True)
        data.chmod(0o711)
        probe = data / ".writable"
        probe.touch()
        probe.unlink()
        for name in ("run", "logs"):
            (data / name).mkdir(mode=0o700, exist_ok=True)
    except OSError as err:
        message = f"The data folder {data} is not writable: {err.strerror}."
        raise EnvironmentProblem(
            message, code="data.not_writable", hint="Choose another with --data."
        ) from err


def prepare(farm: Farm, docker_host: str | None, machines: Sequence[str]) -> Secrets:
    """Bring the farm's records to where its processes can start; idempotent.

    `machines` are this host's own and those that its builder emulates; none where it has no builder.

    Raises:
        EnvironmentProblem: `database.newer`, `index.attestation_roots`.
    """
    farm.statements.check()
    migrate.upgrade(farm.database)
    path = farm.settings.data / "run" / "secrets.json"
    if path.is_file():
        kept = Secrets(**json.loads(path.read_text()))
    else:
        kept = _first(farm)
        write_private(path, json.dumps(kept.__dict__))
    with farm.database.begin() as session:
        channels.create_ladder(session)
        channels.create_mirror(session)
        builder = registry.named(session, _BUILDER)
        builder.machine, *builder.emulates = machines or (None,)
    _register_images(farm, docker_host)
    return kept


def keep_archives(farm: Farm, docker_host: str | None) -> None:
    """Keep the images in use that this engine has for builders of other hosts, where there may be any."""
    try:
        with farm.database.read() as session:
            rows = list_images(session, farm.settings)
        wanted = [row.image_id for row in rows if row.archive == "wanted"]
        absent = missing_images(docker_host, wanted) if wanted else []
        for image_id in wanted:
            if image_id not in absent:
                _keep_archive(farm, docker_host, image_id)
    except FarmError as err:
        _log.warning("up.image_not_kept", code=err.code, message=err.message)


def _keep_archive(farm: Farm, docker_host: str | None, image_id: str) -> None:
    farm.blobs.demand_room(0)
    with farm.blobs.incoming() as incoming:
        save(docker_host, image_id, incoming.write)
        sha256 = incoming.keep()
    with farm.database.begin() as session:
        archives.keep(session, image_id, sha256, incoming.size, actor=ACTOR)
    _log.info("up.image_kept", image_id=image_id, size=incoming.size)


def write_private(path: Path, text: str) -> None:
    """Write a file that only this user can read, whole or not at all."""
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    with os.fdopen(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600), "w") as out:
        out.write(text)
    temporary.rename(path)


def _first(farm: Farm) -> Secrets:
    password = secrets.token_urlsafe(12)
    with farm.database.begin() as session:
        if session.scalars(select(User).where(User.name == ADMIN)).first():
            raise EnvironmentProblem(
                f"{farm.settings.data / 'run' / 'secrets.json'} is gone, but the farm has its administrator.",
                code="data.secrets_gone",
                hint="Restore the file from a backup.",
            )
        user = users.add_user(session, ADMIN, password, is_admin=True, actor=ACTOR)
        session.flush()
        _, admin_token = tokens.create(session, "admin", ["admin"], actor=ACTOR, days=None, user_id=user.id)
        _, builder_token = registry.add_builder(session, _BUILDER, list(TIERS), actor=ACTOR)
    return Secrets(
        admin_password=password,
        admin_token=admin_token,
        builder_token=builder_token,
        redis_password=secrets.token_urlsafe(24),
        builder_redis_password=secrets.token_urlsafe(24),
    )


def _register_images(farm: Farm, docker_host: str | None) -> None:
    """Pin the newest images of each platform, role and interpreters; without an engine keep what is known."""
    try:
        newest = newest_images(docker_host)
    except (FarmError, ExternalFailure) as err:
        _log.warning("up.no_engine", code=err.code, message=err.message)
        return
    if not newest:
        _log.warning("up.no_images", hint=NO_IMAGES)
        return
    with farm.database.begin() as session:
        registry.register_images(session, [image.model_dump() for image in newest], actor=ACTOR)
