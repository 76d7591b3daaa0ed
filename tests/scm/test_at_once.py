"""What two administrators, or one and a worker, do to a source at the same time."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from sqlalchemy.orm import Session

from buildfarm.errors import FarmError
from buildfarm.scm import connect
from buildfarm.sources import show
from tests.conftest import House

Deed = Callable[[Session], object]


@pytest.fixture
def beside(each_house: House) -> Callable[[Deed, Deed], list[str]]:
    """Do one thing, and another before the first is committed; the codes that the other met."""

    def both(first: Deed, second: Deed) -> list[str]:
        done, met = threading.Event(), []

        def other() -> None:
            try:
                with each_house.database.begin() as session:
                    second(session)
            except FarmError as err:
                met.append(err.code)
            except Exception as err:  # noqa: BLE001 - the test tells
                met.append(repr(err))
            done.set()

        with each_house.database.begin() as session:
            first(session)
            session.flush()
            thread = threading.Thread(target=other)
            thread.start()
            assert not done.wait(0.5), "it waits for this one's end"
        thread.join(timeout=30)
        assert done.is_set()
        return met

    return both


def test_one_name_is_given_to_one_source(each_house: House, beside) -> None:
    def add(session: Session) -> object:
        return connect.add_source(
            session, "widget", "https://git.example/acme/widget", scm="github", branches=[], tier="dev",
            allow_file=False, actor="test",
        )  # fmt: skip

    assert beside(add, add) == ["source.exists"]


def test_two_rotations_leave_two_secrets_that_are_good(each_house: House, beside) -> None:
    each_house.source("widget", projects=(), scm="github")

    def rotate(session: Session) -> object:
        return connect.rotate_secrets(session, show.get(session, "widget"), actor="test")

    assert beside(rotate, rotate) == []
    with each_house.database.read() as session:
        assert len(show.get(session, "widget").secrets) == 2
