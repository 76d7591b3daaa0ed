"""What gunicorn loads in these tests: the application over the seeded farm that the environment names."""

import os
from pathlib import Path

import farm_seed

from webapp.app import create_app

app = create_app(farm_seed.open_farm(Path(os.environ["SEEDED_FARM"]), os.environ["SEEDED_URL"]))
