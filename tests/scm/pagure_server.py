"""A real Pagure, Debian's own, in a root file system of its own: what it sends when somebody pushes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.conftest import ROOT
from tests.ports import free_port
from tests.sources.conftest import GIT_ENVIRONMENT
from tests.waiting import wait_for

_CACHE = ROOT / ".cache" / "pagure"
_INSTALL = """
set -euo pipefail
say() { :; }
fail() { echo "$*" >&2; exit 1; }
. docker/archive.sh
sources trixie >"$0.list"
exec mmdebstrap --quiet --variant=minbase --include=pagure,git --dpkgopt=force-unsafe-io trixie "$0" "$0.list"
"""
#: One queue for all that it does later, so that one worker does it all.
_CONFIG = """
exec(open("/etc/pagure/pagure.cfg").read())
SECRET_KEY = SALT_EMAIL = "{folder}"
DB_URL = "sqlite:///{folder}/db.sqlite"
GIT_AUTH_BACKEND = "pagure"
GIT_FOLDER = "{folder}/repositories"
REQUESTS_FOLDER = "{folder}/requests"
TICKETS_FOLDER = "{folder}/tickets"
DOCS_FOLDER = "{folder}/docs"
REMOTE_GIT_FOLDER = "{folder}/remotes"
REDIS_HOST = "127.0.0.1"
REDIS_PORT = {port}
BROKER_URL = "redis://127.0.0.1:{port}/0"
WEBHOOK = True
WEBHOOK_CELERY_QUEUE = LOGCOM_CELERY_QUEUE = "celery"
"""
_BEGIN = """
import pagure.config, pagure.lib.model as model, pagure.lib.model_base as base, pagure.lib.query as query
config = pagure.config.reload_config()
model.create_tables(config["DB_URL"], None, acls=config["ACLS"])
session = base.create_session(config["DB_URL"])
query.set_up_user(session, "ada", "Ada", "ada@example.org")
session.commit()
query.new_project(session, "ada", "widget", [], [], None)
session.commit()
print(query._get_project(session, "widget").hook_token)
"""
_HOOK = """
import sys
import pagure.config, pagure.lib.model_base as base, pagure.lib.query as query
session = base.create_session(pagure.config.reload_config()["DB_URL"])
project = query._get_project(session, "widget")
project.settings = {**project.settings, "Web-hooks": sys.argv[1]}
session.commit()
"""


def _root() -> Path:
    """Made once for a checkout; some minutes, mostly of downloading."""
    place = _CACHE / "root"
    if not place.exists():
        part = _CACHE / "root.part"
        shutil.rmtree(part, ignore_errors=True)
        _CACHE.mkdir(parents=True, exist_ok=True)
        done = subprocess.run(
            ["bash", "-c", _INSTALL, str(part)], cwd=ROOT, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-2000:]
        part.rename(place)
    return place


class Pagure:
    """One project, `widget`, of the user ada."""

    def __init__(self, root: Path, folder: str) -> None:
        self._root, self._folder = root, folder
        self.repository = self._outside("repositories/widget.git")
        self.work = self._outside("work")
        self.hook_token = ""

    def _outside(self, path: str) -> Path:
        return self._root / self._folder.lstrip("/") / path

    def command(self, *command: str) -> list[str]:
        """What runs a command in it."""
        settings = {"PAGURE_CONFIG": f"{self._folder}/pagure.cfg", "GL_USER": "ada", "C_FORCE_ROOT": "1"}
        given = [f"{name}={value}" for name, value in settings.items()]
        return ["chroot", str(self._root), "env", "-i", "PATH=/usr/bin:/bin", "HOME=/root", *given, *command]

    def run(self, *command: str) -> str:
        """The output of a command in it."""
        done = subprocess.run(self.command(*command), capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()

    def python(self, script: str, *arguments: str) -> str:
        """The last line that a script of it prints."""
        return self.run("python3", "-W", "ignore", "-c", script, *arguments).split("\n")[-1]

    def begin(self) -> None:
        """Make the user and the project, which its worker finishes, and a clone to push from."""
        self.hook_token = self.python(_BEGIN)
        wait_for(self.repository.joinpath("hooks", "post-receive").is_symlink)
        self.work.mkdir()
        self.git("init", "--quiet", "--initial-branch", "main")

    def call(self, url: str) -> None:
        """Have it call this hook from now on."""
        self.python(_HOOK, url)

    def git(self, *arguments: str) -> str:
        """What git prints, in the clone."""
        done = subprocess.run(
            ["git", *arguments],
            cwd=self.work,
            env=GIT_ENVIRONMENT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def commit(self, title: str) -> str:
        """A new commit of the clone."""
        self.git("commit", "--quiet", "--allow-empty", "--message", title)
        return self.git("rev-parse", "HEAD")

    def push(self, *refs: str) -> None:
        """Push as ada does; Pagure's own hooks run."""
        repository = f"{self._folder}/repositories/widget.git"
        self.run("git", "-C", f"{self._folder}/work", "push", "--quiet", repository, *refs)


@contextmanager
def pagure(log: Path) -> Iterator[Pagure]:
    """A Pagure with its worker; what it made is gone at the end."""
    root = _root()
    folder = f"/srv/{os.getpid()}"
    own = root / folder.lstrip("/")
    port = free_port()
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, own, ignore_errors=True)
        (own / "repositories").mkdir(parents=True)
        (own / "pagure.cfg").write_text(_CONFIG.format(folder=folder, port=port))
        said = stack.enter_context(log.open("wb"))
        made = Pagure(root, folder)
        redis = ["redis-server", "--bind", "127.0.0.1", "--port", str(port), "--save", ""]
        worker = made.command(
            "celery", "-A", "pagure.lib.tasks", "worker", "--pool", "solo", "--hostname", "w@w"
        )
        for command in (redis, worker):
            process = subprocess.Popen(command, cwd=own, stdout=said, stderr=said)
            stack.callback(process.wait, 30)
            stack.callback(process.terminate)
        made.begin()
        yield made
