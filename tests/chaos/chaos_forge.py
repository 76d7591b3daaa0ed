"""A forge on loopback: it serves a repository over HTTP, signs its deliveries, and is told of builds."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from chaos_harness import Build, Farm, Source
from chaos_repository import Repository

from buildfarm.scm.connect import HookSecrets
from tests.farm.senders import Sender
from tests.scm.forge_server import ForgeServer
from tests.sources.githttp import GitServer


class Forge:
    """One repository of the organisation acme; `api` is what the farm tells of builds."""

    def __init__(self, name: str, folder: Path, git: GitServer, api: ForgeServer) -> None:
        self.repository = Repository(folder / "acme", name)
        self.url = f"http://127.0.0.1:{git.server_port}/acme/{name}"
        self.api = api
        # A commit of no request.
        api.judge = lambda call: (200, {}, []) if call.path.endswith("/pulls") else None

    def connect(self, farm: Farm, **more: Any) -> "Connected":
        """A source of the farm for this repository."""
        name = self.repository.name
        body = {"name": name, "url": self.url, "scm": "github", "projects": [name], **more}
        made = farm.api("POST", "sources", json=body)
        sender = Sender(None, name, "github", HookSecrets(made["secret"], made["signing_token"]))
        return Connected(farm, self.repository, sender, made["hook_url"])


class Connected(Source):
    """The source, and its hook."""

    def __init__(self, farm: Farm, repository: Repository, sender: Sender, hook_url: str) -> None:
        super().__init__(farm, repository)
        self._sender, self._hook_url = sender, hook_url

    def tell(self, tag: str, commit: str) -> requests.Response:
        """Deliver the push of a tag; the same tag and commit again are the same delivery again."""
        body = self._sender.push(ref=f"refs/tags/{tag}", commit=commit, before="0" * 40)
        return requests.post(self._hook_url, data=body, headers=self._sender.headers(body), timeout=60)

    def started(self, tag: str, answer: requests.Response) -> Build:
        """The one build that a delivery started."""
        assert answer.status_code == 202, answer.text
        (build,) = answer.json()["builds"]
        return Build(self, tag, build["id"])


@contextmanager
def running_forge(folder: Path, name: str) -> Iterator[Forge]:
    """A forge for as long as the block lasts."""
    api = ForgeServer("github", "/api/v3")
    with GitServer(folder) as git:
        threading.Thread(target=git.serve_forever, args=(0.05,), daemon=True).start()
        yield Forge(name, folder, git, api)
        git.shutdown()
    api.close()
