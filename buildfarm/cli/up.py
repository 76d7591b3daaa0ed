"""`buildfarm up`: the whole farm as one process tree, everything it keeps in one folder."""

from __future__ import annotations

import fcntl
import json
import os
import ssl
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from urllib.error import URLError
from urllib.request import HTTPSHandler, ProxyHandler, build_opener

import click

import buildfarm
from buildfarm import bootstrap, config, log
from buildfarm.cli.address import Address, address_of, authority, front_options, queue_url, server_certificate
from buildfarm.cli.emulation import emulate_option
from buildfarm.cli.first_start import TIERS, Secrets, keep_archives, make_folder, prepare, write_private
from buildfarm.cli.redis_server import Door, redis_child, redis_url, socket_file
from buildfarm.cli.supervise import Child, Supervisor
from buildfarm.config import Settings
from buildfarm.errors import EnvironmentProblem, FarmError
from buildfarm.farm.logins import builder_acl, prefixes_of
from buildfarm.farm.wire import BUILDING_QUEUES, queues_of_slot
from buildfarm.sockets import short_socket_path
from buildfarm.trust.client import SignerClient

#: What a worker runs when the farm is stopped may take so long, in seconds; then it is cut off and done
#: again after the next start.
_STOP_S = 1.5
_START_S = 60.0
_MACHINE = os.uname().machine
#: The signer's user under a farm that root started: it needs no entry in passwd, and nobody else has it.
SIGNER_UID = 65521


@dataclass(frozen=True)
class _Fleet:
    """The builder of this host: attempts at a time, machines that it emulates, its engine."""

    slots: int
    emulates: tuple[str, ...]
    docker_host: str | None

    def prefixes(self) -> tuple[str, ...]:
        return prefixes_of(_MACHINE, self.emulates, TIERS)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=None, help="Folder that holds everything.")
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on, 0.0.0.0 for all; other than loopback it speaks https.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8080, show_default=True)
@click.option(
    "--builders",
    type=click.IntRange(0, 64),
    default=min(os.cpu_count() or 1, 4),
    show_default=True,
    help="Attempts that run at the same time on this host.",
)
@click.option(
    "--queue-port",
    type=click.IntRange(1, 65535),
    default=None,
    help="Let builders of other hosts in: the queue server listens there too, by TLS where the farm does.",
)
@emulate_option
@click.option(
    "--ready-file",
    type=click.Path(path_type=Path),
    default=None,
    help="Written when everything answers: URLs and the administrator's credentials, as JSON (mode 0600).",
)
def up(
    data: Path | None,
    host: str,
    port: int,
    builders: int,
    queue_port: int | None,
    emulates: tuple[str, ...],
    ready_file: Path | None,
) -> None:
    """Run a whole farm on this machine."""
    log.configure("up")
    settings = config.load(**({"data": data} if data else {}))
    address = address_of(settings, host, port)
    changes = {"data": settings.data.absolute(), **_unless_set("public_url", address.url)}
    settings = settings.model_copy(update=changes)
    queue = Address(host, queue_port, address.is_tls) if queue_port else None
    if queue:
        settings = settings.model_copy(update={"builder_redis": queue_url(settings, queue)})
    if ready_file:
        ready_file.unlink(missing_ok=True)
    make_folder(settings.data)
    with (settings.data / "run" / "lock").open("w") as lock:
        lock_folder(lock.fileno(), settings.data)
        address.check_free()
        if queue:
            queue.check_free()
        fleet = _Fleet(builders, emulates, os.environ.get("DOCKER_HOST"))
        raise SystemExit(_run(settings, address, queue, fleet, ready_file))


def _run(
    settings: Settings, address: Address, queue: Address | None, fleet: _Fleet, ready_file: Path | None
) -> int:
    farm = bootstrap.farm(settings)
    kept = prepare(farm, fleet.docker_host, (_MACHINE, *fleet.emulates) if fleet.slots else ())
    children = _children(settings, kept, address, queue, fleet)
    supervisor = Supervisor(children, on_event=report, status_path=settings.data / "run" / "status.json")
    supervisor.start(_START_S)
    facts = {
        "url": settings.public_url,
        "index_url": f"{settings.public_url}/dev/simple/",
        "upload_url": f"{settings.public_url}/dev/legacy/",
        "ca_file": str(ca_file) if (ca_file := authority(settings, address)) else None,
        "admin_user": "admin",
        "admin_password": kept.admin_password,
        "admin_token": kept.admin_token,
        "pid": os.getpid(),
        "version": version("buildfarm"),
    }
    if ready_file:
        write_private(ready_file.absolute(), json.dumps(facts, indent=2) + "\n")
    click.echo(f"buildfarm is up: {settings.public_url} (log in as admin, password {kept.admin_password})")
    if ca_file:
        click.echo(f"Clients must trust {ca_file}: pip --cert, uv and curl by SSL_CERT_FILE.")
    # It takes a minute after images were made, and the farm is of use before.
    threading.Thread(target=keep_archives, args=(farm, fleet.docker_host), daemon=True).start()
    try:
        return supervisor.run()
    finally:
        if ready_file:
            ready_file.unlink(missing_ok=True)


def _children(
    settings: Settings, kept: Secrets, address: Address, queue: Address | None, fleet: _Fleet
) -> list[Child]:
    run, logs = settings.data / "run", settings.data / "logs"
    acl = builder_acl("builder", kept.builder_redis_password, fleet.prefixes())
    redis_dir = settings.data / "redis"
    options = front_options(settings, address)
    door = Door(queue.host, queue.port, *server_certificate(settings, queue)) if queue else None
    redis = redis_child(redis_dir, password=kept.redis_password, acl=[acl], door=door, order=0)
    redis_socket = short_socket_path(socket_file(redis_dir))
    signer_dir = settings.data / "signer"
    signer_dir.mkdir(exist_ok=True)
    signer_dir.chmod(0o711)  # the documents in `public/` are for everybody, whatever the umask
    signer_socket = signer_dir / "signer.sock"
    control = _control_environment(settings, redis_url(redis_socket, kept.redis_password), signer_socket)

    def python(name: str, *arguments: str, order: int, env: dict[str, str], **more: object) -> Child:
        argv = [sys.executable, "-m", *arguments]
        return Child(name, argv, env, settings.data, logs / f"{name}.log", order=order, **more)  # type: ignore[arg-type]

    signer = python(
        "signer", "buildfarm.trust.signer", "--data", str(signer_dir), "--socket", str(signer_socket),
        "--url", settings.public_url, *_signer_user(), order=1, env=environment(),
        ready=lambda: _signs(SignerClient(signer_socket, timeout_s=1.0)),
    )  # fmt: skip
    web_socket = short_socket_path(run / "web.sock")
    web = python(
        "web", "gunicorn", "-c", "python:webapp.serving", "--bind", f"unix:{web_socket}", "webapp.wsgi:app",
        order=1, env=control, stop_grace_s=2.0,
    )  # fmt: skip
    front = python(
        "front", "webapp.front", "--pages", str(settings.pages_dir), "--web", web_socket,
        *options, "--drain-s", str(_STOP_S),
        order=1, env=environment(), ready=_asking(address), stop_grace_s=2.0,
    )  # fmt: skip
    ca_file = authority(settings, address)
    # Under a certificate of somebody else's only the public name is right.
    farm_url = address.local_url if ca_file or not address.is_tls else settings.public_url
    trusted = {"REQUESTS_CA_BUNDLE": str(ca_file)} if ca_file else {}
    slots = [
        _builder(settings, kept, run, slot, fleet, redis_socket, farm_url) for slot in range(fleet.slots)
    ]
    return [
        redis,
        signer,
        python("pages", "webapp.follower", order=1, env=control),
        web,
        front,
        python("worker", "workers.control", *BUILDING_QUEUES, order=2, env=control, stop_grace_s=_STOP_S),
        python("notifier", "workers.control", "notify", order=2, env=control, stop_grace_s=_STOP_S),
        python("keeper", "workers.keeper", order=2, env=control),
        *(
            python(
                f"builder-{slot}",
                "workers.builder",
                order=2,
                env=environment(BUILDER_CONFIG=str(path), **trusted),
                stop_grace_s=_STOP_S,
            )
            for slot, path in enumerate(slots)
        ),
    ]


def _builder(
    settings: Settings,
    kept: Secrets,
    run: Path,
    slot: int,
    fleet: _Fleet,
    redis_socket: str,
    farm_url: str,
) -> Path:
    """The configuration file of one builder process; it holds nothing of the control zone."""
    path = run / f"builder-{slot}.json"
    facts = {
        "farm_url": farm_url,
        "token": kept.builder_token,
        "redis": redis_url(redis_socket, kept.builder_redis_password, username="builder"),
        "redis_user": "builder",
        "docker_host": fleet.docker_host,
        "workdir": str(settings.data / "builder" / str(slot)),
        "instance": f"{own_id(run)}-{slot}",
        "queues": queues_of_slot(fleet.prefixes(), slot, fleet.slots),
        "slots": fleet.slots,
        "emulates": fleet.emulates,
    }
    write_private(path, json.dumps(facts))
    return path


def _control_environment(settings: Settings, redis: str, signer_socket: Path) -> dict[str, str]:
    """The control zone's processes read one file, so that no secret stands in an environment."""
    path = settings.data / "run" / "settings.json"
    effective = settings.model_copy(update={"redis": redis, "signer_socket": str(signer_socket)})
    write_private(path, effective.model_dump_json())
    return environment(BUILDFARM_CONFIG=str(path))


def environment(**more: str) -> dict[str, str]:
    """What children inherit: the machine's ways (PATH, proxies, CA files), and none of our variables."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BUILDFARM_")}
    root = str(Path(buildfarm.__file__).resolve().parent.parent)
    return {**kept, "PYTHONPATH": root, "PYTHONUNBUFFERED": "1", "TZ": "UTC", **more}


def own_id(run: Path) -> str:
    """What this installation's containers are known by in the engine; made at the first start."""
    path = run / "farm-id"
    if not path.exists():
        write_private(path, os.urandom(6).hex())
    return path.read_text()


def lock_folder(descriptor: int, data: Path) -> None:
    """Keep the folder for this process.

    Raises:
        EnvironmentProblem: `data.in_use`.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise EnvironmentProblem(
            f"Another farm runs in {data}.", code="data.in_use", hint="Stop it, or choose another --data."
        ) from None


def _signer_user() -> list[str]:
    """The signer's options for a user of its own; none where this process cannot give it one."""
    if os.geteuid() != 0 or not _is_mapped(SIGNER_UID):
        log.get(__name__).warning(
            "up.signer_shares_user", hint="Start as root for a signer whose keys no other process can read."
        )
        return []
    return ["--uid", str(SIGNER_UID)]


def _is_mapped(uid: int) -> bool:
    """Whether the user exists in this user namespace (user_namespaces(7)); rootless containers have few."""
    with open("/proc/self/uid_map") as lines:
        ranges = [(int(first), int(count)) for first, _, count in map(str.split, lines)]
    return any(first <= uid < first + count for first, count in ranges)


def _signs(signer: SignerClient) -> bool:
    try:
        signer.health()
    except FarmError:
        return False
    return True


def _asking(address: Address) -> Callable[[], bool]:
    """Answers whether the farm is ready, by its front."""
    # Nothing secret is asked, so whoever answers may have any certificate.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    # A proxy of the machine's environment must not be asked about our own address.
    opener = build_opener(ProxyHandler({}), HTTPSHandler(context=context))

    def answers() -> bool:
        try:
            with opener.open(f"{address.local_url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (URLError, OSError):
            return False

    return answers


def _unless_set(name: str, value: str) -> dict[str, str]:
    return (
        {} if f"BUILDFARM_{name.upper()}" in os.environ or "BUILDFARM_CONFIG" in os.environ else {name: value}
    )


def report(event: str, facts: dict[str, object]) -> None:
    """Log what the supervisor tells."""
    log.get(__name__).info(f"child.{event}", **facts)
