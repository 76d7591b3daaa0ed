"""A seeded farm behind the whole application, and clients of three people."""

import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

sys.path.insert(0, str(Path(__file__).parent))  # for the module that the tests here share

import farm_seed

from buildfarm.access import users
from buildfarm.access.model import User
from buildfarm.bootstrap import Farm
from webapp.app import create_app
from webapp.context import SESSION_COOKIE
from webapp.pages.live import Pace


@dataclass
class House:
    """The farm, its application, and what is in it."""

    farm: Farm
    app: Flask
    seed: farm_seed.Seed

    def client(self, name: str = "") -> FlaskClient:
        """A browser; logged in when a name is given."""
        client = self.app.test_client()
        client.environ_base["HTTP_ACCEPT"] = "text/html,application/xhtml+xml,*/*;q=0.8"
        if name:
            with self.farm.database.begin() as session:
                user = session.scalars(select(User).where(User.name == name)).one()
                client.set_cookie(SESSION_COOKIE, users.open_session(session, users.principal_of_user(user)))
        return client


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, farm_seed.Seed]:
    farm = farm_seed.open_farm(tmp_path_factory.mktemp("template"))
    farm_seed.create(farm)
    seed = farm_seed.fill(farm)
    farm.database.close()
    return farm.settings.data, seed


def _open(template: tuple[Path, farm_seed.Seed], folder: Path) -> Iterator[House]:
    shutil.copytree(template[0], folder)
    farm = farm_seed.open_farm(folder, log_viewers=2)
    app = create_app(farm)
    app.extensions["log_pace"] = Pace(poll_s=0.01, heartbeat_s=0.03, life_s=5.0)
    yield House(farm, app, template[1])
    farm.database.close()


@pytest.fixture
def house(template: tuple[Path, farm_seed.Seed], tmp_path: Path) -> Iterator[House]:
    """A copy of the farm, to do anything to."""
    yield from _open(template, tmp_path / "farm")


@pytest.fixture(scope="module")
def shown(template: tuple[Path, farm_seed.Seed], tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A copy that the tests of a module only look at."""
    yield from _open(template, tmp_path_factory.mktemp("shown") / "farm")


@pytest.fixture
def bare(tmp_path: Path) -> Iterator[House]:
    farm = farm_seed.open_farm(tmp_path / "bare")
    farm_seed.create(farm)
    yield House(farm, create_app(farm), farm_seed.Seed())
    farm.database.close()
