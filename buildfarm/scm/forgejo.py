"""Forgejo: what Gitea sends, under its own name."""

from __future__ import annotations

from buildfarm.scm.gitea import Gitea


class Forgejo(Gitea):
    """Forgejo's wire format (forgejo.org/docs, "Webhooks"): `X-Forgejo-*` beside the others' headers."""

    kind = "forgejo"
    brand = "Forgejo"
