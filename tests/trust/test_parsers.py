"""Garbage at any door raises nothing but the farm's own errors."""

from __future__ import annotations

import base64
import contextlib
import json

import pytest
import rfc8785
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from buildfarm.errors import FarmError, InvalidInput
from buildfarm.trust import bundle, entry, note, root
from buildfarm.trust.verify import verify_bundle

quick = settings(max_examples=200)
#: The fixtures hold one published file, which no example changes.
around_fixtures = settings(quick, suppress_health_check=[HealthCheck.function_scoped_fixture])

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda part: st.lists(part, max_size=4) | st.dictionaries(st.text(max_size=8), part, max_size=4),
    max_leaves=12,
)


@quick
@given(st.text() | st.lists(st.sampled_from(["a", "7", "", "— a AAAAAAA=", "\ud800", "AAAA"])).map("\n".join))
def test_a_garbage_note_raises_nothing_but_farm_errors(text):
    with contextlib.suppress(FarmError):
        note.parse(text)


@quick
@given(st.binary(max_size=200) | json_values.map(lambda value: json.dumps(value).encode()))
def test_a_garbage_bundle_or_root_raises_nothing_but_farm_errors(data):
    with pytest.raises(InvalidInput):
        bundle.parse(data)
    with pytest.raises(InvalidInput):
        root.load(data)


@around_fixtures
@given(data=st.data())
def test_a_bundle_with_any_part_replaced_is_reported_not_raised(kit, published, policy, data):
    value = json.loads(published.bundle)
    place, key = value, "mediaType"
    while isinstance(place, dict | list) and place:
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        parent, key = place, data.draw(st.sampled_from(keys))
        place = parent[key]
        if data.draw(st.booleans()):
            break
    replacement = data.draw(json_values)
    if replacement == parent[key]:
        return
    parent[key] = replacement
    report = verify_bundle(json.dumps(value).encode(), published.data, kit.WHEEL, published.root, policy)
    assert not report.ok


@around_fixtures
@given(position=st.integers(0, 10_000), byte=st.integers(0, 255))
def test_a_root_with_any_byte_replaced_is_refused_or_believed_without_a_crash(
    kit, published, policy, position, byte
):
    raw = bytearray(published.root_path.read_bytes())
    raw[position % len(raw)] = byte
    with contextlib.suppress(InvalidInput):
        verify_bundle(published.bundle, published.data, kit.WHEEL, root.load(bytes(raw)), policy)


def test_a_root_with_a_key_on_an_unknown_curve_is_refused(published):
    p256, unknown = bytes.fromhex("2a8648ce3d030107"), bytes.fromhex("2a8648ce3d03017f")
    value = json.loads(published.root_path.read_text())
    key = value["ctlogs"][0]["publicKey"]
    key["rawBytes"] = base64.b64encode(base64.b64decode(key["rawBytes"]).replace(p256, unknown)).decode()
    with pytest.raises(InvalidInput) as refused:
        root.load(json.dumps(value).encode())
    assert refused.value.code == "root.malformed"


@around_fixtures
@given(position=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_leaf_certificate_with_any_bit_turned_is_refused(kit, published, policy, position, bit):
    value = json.loads(published.bundle)
    holder = value["verificationMaterial"]["certificate"]
    raw = bytearray(base64.b64decode(holder["rawBytes"]))
    raw[position % len(raw)] ^= 1 << bit
    holder["rawBytes"] = base64.b64encode(raw).decode()
    report = verify_bundle(json.dumps(value).encode(), published.data, kit.WHEEL, published.root, policy)
    assert not report.ok


@pytest.mark.parametrize(
    "changes",
    [
        {"filename": "demo-1.0-py3-none-any.whl/.."},
        {"filename": "other-1.0-py3-none-any.whl"},
        {"filename": "demo-2.0-py3-none-any.whl"},
        {"filename": "demo.exe"},
        {"commit": "main"},
        {"commit": "A" * 40},
        {"source_uri": "https://ghe.example/acme/demo"},
        {"source_uri": "git+https://user:secret@ghe.example/acme/demo"},
        {"source_uri": "git+https://ghe.example/acme demo"},
        {"recipe_sha256": "b" * 63},
        {"builder_tier": "trusted"},
        {"attempt_key": "job_1"},
        {"attempt_key": "job_1/0"},
        {"ref": "refs/tags/v1\n.0"},
        {"finished_at": "2026-11-24T01:00:00Z"},
        {"started_at": "2026-11-24T01:00:00"},
        {"source_date_epoch": -1},
        {"predicate": {}},
        {"sha256": "0" * 64},
    ],
)
def test_facts_outside_the_closed_set_are_refused(kit, changes):
    kit.make_facts()
    with pytest.raises(ValidationError):
        kit.make_facts(**changes)


@quick
@given(
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**40),
    st.binary(max_size=50),
    st.binary(min_size=32, max_size=32),
)
def test_the_signed_payload_is_rfc_8785(index, time, body, log_id):
    payload = entry.timestamp_payload(body, log_id, index, time)
    assert payload == rfc8785.dumps(json.loads(payload))
