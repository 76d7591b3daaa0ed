"""What builds read: local projects of their channel."""

from __future__ import annotations

import pytest

from buildfarm.errors import NotFound


def test_local_files_are_served_under_their_own_project_alone(house, put) -> None:
    put(house, "widget-1.0-py3-none-any.whl", b"ours", metadata=b"meta")
    put(house, "other-1.0-py3-none-any.whl", b"theirs")
    served = house.farm.build_view.file("widget", "widget-1.0-py3-none-any.whl", "dev")
    assert (served.size, served.origin) == (4, "http://farm.example/dev/simple")
    assert house.farm.build_view.metadata("widget", "widget-1.0-py3-none-any.whl", "dev") == b"meta"
    with pytest.raises(NotFound):
        house.farm.build_view.file("widget", "other-1.0-py3-none-any.whl", "dev")
    with pytest.raises(NotFound):
        house.farm.build_view.file("widget", "widget-1.0-py3-none-any.whl", "stable")
