"""Go modules as builds read them, from the module proxy that the operator names.

Source: the Go modules reference, "GOPROXY protocol". Its `.info`, `.mod` and `.zip` of a version never
change; a project's go.sum says which bytes the Go command takes.
"""

from __future__ import annotations

from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import NotFound
from buildfarm.mirror.model import RegistryFile
from buildfarm.mirror.registry import Kind, Registry
from buildfarm.mirror.tally import Tally
from buildfarm.registrypaths import GoPath, go_path
from buildfarm.storage.blobs import Blobs

_KIND = Kind("golang", "Go module proxy", "mirror.go_proxy")


class GoModules:
    """The modules of the proxy that `mirror.go_proxy` names; may be shared by threads."""

    def __init__(self, database: Database, blobs: Blobs, tally: Tally, settings: Settings) -> None:
        self._registry = Registry(_KIND, settings.mirror.go_proxy, database, blobs, tally, settings)

    def get(self, path: str) -> RegistryFile | str:
        """What a path of the protocol asks for: a zip, in the blob store when this returns, or a text.

        Raises:
            Forbidden: `mirror.no_registry`.
            NotFound: `mirror.unknown_file`, there is no such module or version.
            IntegrityFailure: `mirror.digest_changed`.
            ExternalFailure: upstream is away.
        """
        asked = go_path(path)
        if asked is None:
            raise NotFound("That is no path of a Go module.", code="mirror.unknown_file")
        if asked.kind == "zip":
            return self._zip(asked)
        return self._registry.document(str(asked), is_fixed=asked.kind in ("info", "mod"))

    def _zip(self, asked: GoPath) -> RegistryFile:
        return self._registry.held(asked.filename) or self._registry.file(
            asked.filename, str(asked), asked.module, asked.version, None
        )
