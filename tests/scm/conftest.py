from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from buildfarm.scm import standard
from buildfarm.scm.secret import Secret
from tests.conftest import House
from tests.scm.connected import Connected

FIXTURES = Path(__file__).parent.parent / "fixtures" / "webhooks"

Headers = dict[str, str]


@pytest.fixture
def at_noon() -> datetime:
    return datetime(2026, 6, 1, 12, tzinfo=UTC)


@pytest.fixture
def payload() -> Callable[[str], bytes]:
    """The bytes of a stored payload, such as `github/push.1`."""
    return lambda name: (FIXTURES / f"{name}.json").read_bytes()


@pytest.fixture
def github_headers() -> Callable[..., Headers]:
    def make(event: str, body: bytes, secret: Secret, **more: str) -> Headers:
        made = hmac.new(secret.value.encode(), body, hashlib.sha256).hexdigest()
        return {
            "X-GitHub-Event": event,
            "X-GitHub-Delivery": "72d3162e-cc78-11e3-81ab-4c9367dc0958",
            "X-Hub-Signature-256": f"sha256={made}",
            "Content-Type": "application/json",
            **more,
        }

    return make


@pytest.fixture
def standard_headers() -> Callable[..., Headers]:
    def make(body: bytes, secret: Secret, when: datetime, delivery_id: str = "msg_1") -> Headers:
        seconds = int(when.timestamp())
        return {
            "webhook-id": delivery_id,
            "webhook-timestamp": str(seconds),
            "webhook-signature": standard.sign(secret, delivery_id, seconds, body),
            "Content-Type": "application/json",
        }

    return make


@pytest.fixture
def generic_push() -> Callable[..., dict[str, Any]]:
    def make(**changes: Any) -> dict[str, Any]:
        whole = {
            "type": "push",
            "ref": "refs/heads/main",
            "before": "1" * 40,
            "after": "2" * 40,
            "repository": "acme/widget",
            "actor": "mira",
            "title": "Round the rim",
        }
        return {**whole, **changes}

    return make


@pytest.fixture
def as_body() -> Callable[[object], bytes]:
    return lambda value: json.dumps(value).encode()


@pytest.fixture
def connected(each_house: House) -> Connected:
    """A farm that is connected to an organisation."""
    return Connected(each_house)
