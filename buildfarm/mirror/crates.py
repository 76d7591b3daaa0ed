"""Crates as builds read them: a sparse index whose downloads lead to the farm.

Source: the Cargo book, "Registry Index" (index format, `config.json`, the markers of `dl`).
"""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import urlsplit

from buildfarm.config import Settings
from buildfarm.db.engine import Database
from buildfarm.errors import NotFound
from buildfarm.mirror.model import RegistryFile
from buildfarm.mirror.registry import Kind, Registry
from buildfarm.mirror.tally import Tally
from buildfarm.registrypaths import (
    crate_index_path,
    crate_prefix,
    is_crate,
    is_crate_index_path,
    is_version,
)
from buildfarm.storage.blobs import Blobs

CONFIG = "config.json"
_KIND = Kind("cargo", "crates registry", "mirror.crates_index")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_DEFAULT_PATH = "/{crate}/{version}/download"


class Crates:
    """The crates of the registry that `mirror.crates_index` names; may be shared by threads."""

    def __init__(self, database: Database, blobs: Blobs, tally: Tally, settings: Settings) -> None:
        url = settings.mirror.crates_index.removeprefix("sparse+")
        self._registry = Registry(_KIND, url, database, blobs, tally, settings)

    def index(self, path: str, files_url: str) -> str:
        """A file of the index; its `config.json` has downloads lead to `files_url`.

        Raises:
            Forbidden: `mirror.no_registry`.
            NotFound: `mirror.unknown_file`.
            ExternalFailure: upstream is away.
        """
        if path == CONFIG:
            self._registry.demand_named()
            return json.dumps({"dl": files_url})
        if not is_crate_index_path(path):
            raise NotFound("That is no path of a crate.", code="mirror.unknown_file")
        return self._registry.document(path)

    def file(self, name: str, version: str) -> RegistryFile:
        """A crate whose bytes are those that the index announces, in the blob store when this returns.

        Raises:
            Forbidden: `mirror.no_registry`.
            NotFound: `mirror.unknown_file`, the index has no such version.
            IntegrityFailure: `mirror.digest_changed`, or the bytes are not what the index announces.
            ExternalFailure: upstream is away, or does not follow the protocol.
        """
        if not (is_crate(name) and is_version(version)):
            raise NotFound("That is no crate and version.", code="mirror.unknown_file")
        filename = f"{name}-{version}.crate"
        if held := self._registry.held(filename):
            return held
        sha256 = self._checksum(name, version)
        return self._registry.file(filename, self._url(name, version, sha256), name, version, sha256)

    def _checksum(self, name: str, version: str) -> str:
        path = crate_index_path(name)
        for line in self._registry.document(path).splitlines():
            entry = self._object(line, path)
            if (entry.get("name"), entry.get("vers")) == (name, version):
                sha256 = entry.get("cksum")
                if isinstance(sha256, str) and _SHA256.fullmatch(sha256):
                    return sha256
                raise self._registry.unreadable(path)
        raise NotFound(f"The crates registry has no {name} {version}.", code="mirror.unknown_file")

    def _url(self, name: str, version: str, sha256: str) -> str:
        template = self._object(self._registry.document(CONFIG), CONFIG).get("dl")
        if not isinstance(template, str) or urlsplit(template).scheme not in ("http", "https"):
            raise self._registry.unreadable(CONFIG)
        markers = {
            "{crate}": name,
            "{version}": version,
            "{prefix}": crate_prefix(name),
            "{lowerprefix}": crate_prefix(name).lower(),
            "{sha256-checksum}": sha256,
        }
        if not any(marker in template for marker in markers):
            template += _DEFAULT_PATH
        for marker, value in markers.items():
            template = template.replace(marker, value)
        return template

    def _object(self, text: str, path: str) -> dict[str, Any]:
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict):
            raise self._registry.unreadable(path)
        return value
