"""`/api/v1/keys`: the keys behind statements, the signer's state, and a new issuing authority.

Keys are read from the public trusted root. The signer is asked by two of its verbs that take nothing,
`health` and `rotate`; a web node without its socket answers 503 to those.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from flask import Blueprint, Response

from buildfarm.errors import NotFound
from buildfarm.journal.record import record
from buildfarm.trust import inventory, root
from buildfarm.trust.inventory import KeyDetail, KeyRow
from webapp.api.answer import answer, page
from webapp.api.spec import Page, answers, spec
from webapp.context import farm, require

blueprint = Blueprint("keys", __name__)
_TAGS = ["keys"]


@dataclass(frozen=True)
class SignerState:
    """What the signer says of itself; `root_sha256` is what people compare at their first verification."""

    root_sha256: str
    root_url: str
    origin: str
    attested: int
    checkpoint_size: int
    issuing_valid_until: datetime
    uid: int
    network: bool


@blueprint.get("/keys")
@spec.validate(resp=answers(Page[KeyRow]), tags=_TAGS)
def list_all() -> Response:
    """The keys that the trusted root holds."""
    require("admin")
    return page([_row(each) for each in inventory.keys(_trusted())])


@blueprint.get("/keys/signer")
@spec.validate(resp=answers(SignerState), tags=_TAGS)
def signer() -> Response:
    """The signer's state, and the digest of the trusted root."""
    require("admin")
    return answer(_state(farm().signer.health()))


@blueprint.get("/keys/<key_id>")
@spec.validate(resp=answers(KeyDetail), tags=_TAGS)
def show_one(key_id: str) -> Response:
    """One key, by its id or the first 8 digits or more of it."""
    require("admin")
    return answer(inventory.key(_trusted(), key_id))


@blueprint.post("/keys/rotate")
@spec.validate(resp=answers(SignerState, 201), tags=_TAGS)
def rotate() -> Response:
    """Put a new issuing authority in place; the trusted root, which people pinned, changes."""
    who = require("admin")
    state = _state(farm().signer.rotate())
    with farm().database.begin() as session:
        record(session, "key.rotate", root_sha256=state.root_sha256, actor=who.name)
    return answer(state, 201)


def _trusted() -> root.TrustedRoot:
    path = farm().settings.trust_dir / root.TRUSTED_ROOT
    if not path.is_file():
        raise NotFound("This farm has no trusted root so far.", code="key.none", hint="Is the signer up?")
    return root.load(path)


def _row(detail: KeyDetail) -> KeyRow:
    return KeyRow(detail.id, detail.kind, detail.algorithm, detail.since, detail.until, detail.state)


def _state(health: dict[str, Any]) -> SignerState:
    document = health["documents"][root.TRUSTED_ROOT].encode()
    return SignerState(
        root_sha256=hashlib.sha256(document).hexdigest(),
        root_url=f"{farm().settings.public_url}/tuf/targets/{root.TRUSTED_ROOT}",
        origin=str(health["origin"]),
        attested=int(health["attested"]),
        checkpoint_size=int(health["checkpoint_size"]),
        issuing_valid_until=datetime.fromisoformat(health["issuing_valid_until"]),
        uid=int(health["uid"]),
        network=bool(health["network"]),
    )
