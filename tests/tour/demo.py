"""The tour behind `make demo`: from a git push to a pip install, on real projects, as their users do it.

    python -m tests.tour.demo            leaves the farm running until Ctrl-C
    DEMO_EXIT=1 python -m tests.tour.demo    ends everything after the tour

Everything it makes lies under `.cache/demo`; it speaks to the farm by the command line, by git, by pip
and by uv alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

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

FOLDER = CHECKOUT / ".cache" / "demo"
CLIENTS = CHECKOUT / ".cache" / "clients" / "bin"
#: (project, how its tags are written, what to import); their recipes are in `recipes/`
PROJECTS = (("MarkupSafe", "{}", "markupsafe._speedups"), ("idna", "v{}", "idna"))
COMPILED = "MarkupSafe"
BEGAN = time.monotonic()


def say(text: str) -> None:
    """A line of the tour, with the seconds since it began."""
    print(f"demo: {time.monotonic() - BEGAN:6.1f}s  {text}", flush=True)


class Tour:
    """The steps, with the farm's command line as an administrator uses it."""

    def __init__(self, ready: dict[str, str]) -> None:
        self.ready = ready
        self.environment = clean_environment(
            FOLDER / "home",
            BUILDFARM_URL=ready["url"],
            BUILDFARM_TOKEN=ready["admin_token"],
            XDG_CONFIG_HOME=str(FOLDER / "home"),
        )
        self.timings: dict[str, float] = {}

    def command(self, *arguments: str | Path) -> str:
        """`buildfarm ARGUMENTS`, as the administrator."""
        return run(BUILDFARM, *arguments, env=self.environment)

    def json(self, *arguments: str | Path) -> dict[str, object]:
        """The same with `--json`."""
        answer: dict[str, object] = json.loads(self.command(*arguments, "--json"))
        return answer

    def build(self, project: str, tags: str) -> str:
        """Connect, push a tag, follow the build; returns the version that was published."""
        name = project.lower()
        say(f"--- {project}: two git repositories from its newest release, as a company has them")
        upstream, version = fetch_sdist(project, FOLDER / "upstream")
        bare, clone = make_repositories(upstream, version, name, FOLDER)
        self.command("source", "add", name, f"file://{bare}", "--project", project)
        self.command("source", "hook", "script", name, "--into", bare / "hooks")
        say(f"connected as source {name!r}; the farm's post-receive hook is in {bare.name}/hooks")
        tag = tags.format(version)
        git(clone, "tag", tag)
        pushed = time.monotonic()
        said = git(clone, "push", "origin", tag)
        say(f"git push origin {tag}")
        for line in said.splitlines():
            if "buildfarm" in line:
                say("  " + line.removeprefix("remote:").strip())
        builds = self.json("build", "list", "--source", name)["items"]
        build_id = str(builds[0]["id"])  # type: ignore[index]
        run(BUILDFARM, "build", "wait", build_id, env=self.environment, quiet=False)
        self.timings[f"{name}: push to published"] = time.monotonic() - pushed
        shown = self.json("build", "show", build_id)
        if shown["state"] != "published":
            for job in shown["jobs"]:  # type: ignore[attr-defined]
                print(self.command("job", "logs", job["id"]))
            raise SystemExit(f"demo: the build ended as {shown['state']}: {shown['first_error']}")
        for file in shown["files"]:  # type: ignore[attr-defined]
            say(f"  published {file['filename']}")
        return version

    def install(self, project: str, version: str, module: str, channel: str, token: str) -> None:
        """Install with pip and with uv into fresh environments, and import."""
        index = self.ready["url"].replace("://", f"://__token__:{token}@") + f"/{channel}/simple/"
        environment = clean_environment(FOLDER / "home")
        for tool in ("pip", "uv"):
            venv = FOLDER / "venvs" / f"{channel}-{project.lower()}-{tool}"
            if tool == "pip":
                run("/usr/bin/python3", "-m", "venv", venv)
                installer = [venv / "bin" / "pip", "install", "--no-cache-dir"]
            else:
                run(CLIENTS / "uv", "venv", "--quiet", "--python", "/usr/bin/python3", venv, env=environment)
                installer = [
                    CLIENTS / "uv",
                    "pip",
                    "install",
                    "--no-cache",
                    "--python",
                    venv / "bin" / "python",
                ]
            began = time.monotonic()
            run(*installer, "--index-url", index, f"{project}=={version}", env=environment)
            self.timings[f"{project.lower()}: {tool} install from {channel}"] = time.monotonic() - began
            where = run(
                venv / "bin" / "python", "-c", f"import {module} as m; print(m.__file__)", env=environment
            )
            say(f"{tool} install {project}=={version} from {channel}: {Path(where.strip()).name}")

    def verify(self, project: str, version: str, token: str) -> None:
        """Download the wheel as pip would install it, and check what it claims."""
        index = self.ready["url"].replace("://", f"://__token__:{token}@") + "/dev/simple/"
        folder = FOLDER / "download"
        pip = FOLDER / "venvs" / f"dev-{project.lower()}-pip" / "bin" / "pip"
        run(pip, "download", "--quiet", "--no-deps", "--dest", folder, "--index-url", index,
            f"{project}=={version}", env=clean_environment(FOLDER / "home"))  # fmt: skip
        wheel = next(folder.glob(f"{project.lower()}-*.whl"))
        say(f"buildfarm verify {wheel.name}")
        print(self.command("verify", wheel), end="")
        wheel.write_bytes(wheel.read_bytes()[:-1] + b"!")
        refused = subprocess.run(
            [BUILDFARM, "verify", wheel], env=self.environment, capture_output=True, text=True
        )
        if refused.returncode == 0:
            raise SystemExit("demo: a changed wheel was verified")
        say(f"the same with one byte changed: refused (exit {refused.returncode})")

    def finish(self) -> None:
        """What happened, and where to look."""
        url = self.ready["url"]
        (FOLDER / "timings.json").write_text(json.dumps(self.timings, indent=2))
        say("--- what happened")
        for what, seconds in self.timings.items():
            say(f"{seconds:7.1f}s  {what}")
        for what, path in (("dashboard", "/"), ("builds", "/builds"), ("deliveries", "/deliveries"),
                           ("index", "/dev/simple/"), ("API", "/api/openapi.json")):  # fmt: skip
            say(f"{what:>11}: {url}{path}")
        say(f"     log in: {self.ready['admin_user']}, password {self.ready['admin_password']}")


def main() -> None:
    """The tour."""
    for name in ("git", "work", "upstream", "venvs", "download", "home"):
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        (FOLDER / name).mkdir(parents=True)
    shutil.rmtree(FOLDER / "farm", ignore_errors=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say("starting the farm: buildfarm up")
    with farm(FOLDER) as ready:
        say(f"the farm answers at {ready['url']}")
        tour = Tour(ready)
        versions = {project: tour.build(project, tags) for project, tags, _ in PROJECTS}
        token = str(
            tour.json("token", "create", "--name", "tour", "--scope", "read:dev", "--scope", "read:staging")[
                "token"
            ]
        )
        for project, _, module in PROJECTS:
            tour.install(project, versions[project], module, "dev", token)
        tour.verify(COMPILED, versions[COMPILED], token)
        release = f"{COMPILED}=={versions[COMPILED]}"
        tour.command("release", "promote", release, "--from", "dev", "--to", "staging")
        say(f"promoted {COMPILED} {versions[COMPILED]} from dev to staging")
        tour.install(COMPILED, versions[COMPILED], "markupsafe._speedups", "staging", token)
        tour.finish()
        if os.environ.get("DEMO_EXIT") != "1":
            say("the farm goes on running; end it with Ctrl-C")
            with contextlib.suppress(KeyboardInterrupt):
                signal.pause()


if __name__ == "__main__":
    main()
