"""What gunicorn loads: the application over the settings of this process, and its upkeep."""

from __future__ import annotations

from buildfarm import bootstrap, config, log
from webapp.app import create_app
from webapp.upkeep import Upkeep

log.configure("web")
farm = bootstrap.farm(config.load())
app = create_app(farm)
Upkeep(farm, app.extensions["verdicts"]).install(app)
