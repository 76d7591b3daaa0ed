from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.version import Version

from buildfarm.errors import ExternalFailure
from buildfarm.mirror.licences import Licences, licences_of

HEAD = "Metadata-Version: 2.4\nName: foo\nVersion: 1\n"


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ("License-Expression: MIT\nLicense: something else", ["MIT"]),
        ("License-Expression: (MIT OR Apache-2.0) AND BSD-3-Clause", ["Apache-2.0", "BSD-3-Clause", "MIT"]),
        (
            "License-Expression: GPL-2.0-only WITH Classpath-exception-2.0",
            ["Classpath-exception-2.0", "GPL-2.0-only"],
        ),
        ("Classifier: License :: OSI Approved :: MIT License\nLicense: x", ["MIT License"]),
        ("Classifier: License :: OSI Approved\nLicense: BSD  3", ["BSD 3"]),
        ("License: UNKNOWN", []),
        ("License: " + "x" * 200, []),
        ("", []),
    ],
)
def test_licences_are_read_in_the_order_of_their_worth(lines, expected):
    assert licences_of((HEAD + lines).encode()) == expected


@given(st.binary(max_size=300))
def test_any_bytes_have_a_list_of_licences(metadata):
    assert isinstance(licences_of(metadata), list)


def test_metadata_is_read_once_and_what_cannot_be_read_is_tried_again(database):
    asked = []

    def metadata(project: str, filename: str) -> bytes:
        asked.append(filename)
        if filename == "b" and asked.count("b") == 1:
            raise ExternalFailure("away")
        return (HEAD + "License-Expression: MIT\n").encode()

    licences = Licences(database, metadata)
    files = [(Version("1"), "a"), (Version("2"), "b")]
    assert licences.known("foo", files) == {Version("1"): ["MIT"]}
    assert licences.known("foo", files) == {Version("1"): ["MIT"], Version("2"): ["MIT"]}
    assert licences.known("foo", files).keys() == {Version("1"), Version("2")}
    assert asked == ["b", "a", "b"]
