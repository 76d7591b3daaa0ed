"""`make world`: build real projects from their real sources on a farm of this machine, and say how it went.

    python -m tests.tour.world [NAME...]     all of `world.toml` by default

A release's sdist becomes a git repository with a tag, the repository a source of a farm; the recipe is the
one in `recipes/`. Results are kept in `.cache/world/results.json` from run to run, and docs/projects.md is
written from them. Exit 1 when a project was not published.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from tests.tour.stage import (
    BUILDFARM,
    CHECKOUT,
    clean_environment,
    farm,
    fetch_sdist,
    git,
    make_repositories,
    run,
)

FOLDER = CHECKOUT / ".cache" / "world"
RESULTS = FOLDER / "results.json"
PAGE = CHECKOUT / "docs" / "projects.md"
LISTED: dict[str, dict[str, str]] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
TABLE = "<!-- what `make world` found -->\n"


def say(text: str) -> None:
    print(f"world: {text}", flush=True)


class World:
    """The farm as an administrator uses it."""

    def __init__(self, ready: dict[str, str]) -> None:
        self.environment = clean_environment(
            FOLDER / "home",
            BUILDFARM_URL=ready["url"],
            BUILDFARM_TOKEN=ready["admin_token"],
            XDG_CONFIG_HOME=str(FOLDER / "home"),
        )

    def json(self, *arguments: str | Path) -> dict[str, Any]:
        """`buildfarm ARGUMENTS --json`."""
        answer: dict[str, Any] = json.loads(run(BUILDFARM, *arguments, "--json", env=self.environment))
        return answer

    def build(self, name: str, listed: dict[str, str]) -> dict[str, Any]:
        """Connect a repository made of a release, build its tag, answer how it went."""
        upstream, version = fetch_sdist(name, FOLDER / "upstream", listed.get("version"))
        source = name.replace(".", "-")
        bare, clone = make_repositories(upstream, version, source, FOLDER)
        tag = listed.get("tag", "{}").format(version)
        git(clone, "tag", tag)
        git(clone, "push", "--quiet", "origin", tag)
        run(BUILDFARM, "source", "add", source, f"file://{bare}", "--project", name, env=self.environment)
        began = time.monotonic()
        build = self.json("build", "start", source, "--ref", f"refs/tags/{tag}")
        while build["state"] not in {"published", "failed", "cancelled"}:
            time.sleep(0.5)
            build = self.json("build", "show", build["id"])
        for job in build["jobs"]:
            if job["state"] not in {"succeeded", "skipped"}:
                log = run(BUILDFARM, "job", "logs", job["id"], env=self.environment)
                (FOLDER / "logs" / f"{source}-{job['target']}.txt").write_text(log)
        return {
            "version": version,
            "kind": listed["kind"],
            "state": build["state"],
            "seconds": round(time.monotonic() - began, 1),
            "targets": {job["target"]: job["state"] for job in build["jobs"]},
            "files": sorted(file["filename"] for file in build["files"]),
            "error": build["first_error"],
        }


def page(results: dict[str, dict[str, Any]]) -> str:
    """The table for docs/projects.md."""
    lines = [
        "| project | version | built with | targets | seconds | tags of the wheels |",
        "|---|---|---|---|---|---|",
    ]
    for name in sorted(results):
        one = results[name]
        tags = [file.removesuffix(".whl").split("-", 2)[2] for file in one["files"] if file.endswith(".whl")]
        targets = ", ".join(
            target.split("-")[0] + ("" if state == "succeeded" else f" ({state})")
            for target, state in one["targets"].items()
        )
        said = "<br>".join(f"`{tag}`" for tag in tags) or f"**{one['state']}**: {one['error']}"
        cells = (name, one["version"], one["kind"], targets, str(one["seconds"]), said.replace("|", "\\|"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Build what is named, one after the other."""
    names = sys.argv[1:] or list(LISTED)
    for folder in ("git", "work", "upstream", "home", "farm"):
        shutil.rmtree(FOLDER / folder, ignore_errors=True)
    for folder in ("git", "work", "upstream", "home", "logs"):
        (FOLDER / folder).mkdir(parents=True, exist_ok=True)
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    os.environ.setdefault("DEMO_PORT", "0")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the farm of this run ends with it
    with farm(FOLDER) as ready:
        world = World(ready)
        for name in names:
            results[name] = one = world.build(name, LISTED[name])
            say(f"{name} {one['version']}: {one['state']} in {one['seconds']} s {one['error'] or ''}")
            RESULTS.write_text(json.dumps(results, indent=1))
    before, _, _ = PAGE.read_text().partition(TABLE)
    PAGE.write_text(before + TABLE + "\n" + page(results))
    return 0 if all(results[name]["state"] == "published" for name in names) else 1


if __name__ == "__main__":
    sys.exit(main())
