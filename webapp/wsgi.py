"""What gunicorn loads: the application over the settings of this process."""

from __future__ import annotations

from buildfarm import bootstrap, config, log
from webapp.app import create_app

log.configure("web")
app = create_app(bootstrap.farm(config.load()))
