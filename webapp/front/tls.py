"""The front's certificate: supplied, or the farm's own; looked at each hour, for it ends or is replaced."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path

from buildfarm import log
from buildfarm.errors import FarmError
from buildfarm.trust import tls

LOOK_S = 3600.0
_log = log.get(__name__)


class Certificate:
    """A context for the server whose new connections get what is in the files now."""

    def __init__(self, certificate: Path, key: Path, *, own: Path | None, names: Sequence[str]) -> None:
        self._certificate, self._key, self._own, self._names = certificate, key, own, names
        self._shown: tuple[int, int] | None = None
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.context.set_alpn_protocols(["http/1.1"])
        self._load()

    def look(self) -> None:
        """Renew one of ours when it is time; take what is new. What cannot be used leaves the old one."""
        try:
            if self._own:
                tls.ensure(self._own, self._names)
            self._load()
        except (OSError, FarmError) as err:
            _log.error("front.certificate_unusable", message=str(err))

    def _load(self) -> None:
        found = self._certificate.stat()
        state = (found.st_mtime_ns, found.st_ino)
        if state != self._shown:
            self.context.load_cert_chain(self._certificate, self._key)
            self._shown = state
