"""The tour behind `make demo`: from a git push to a pip install, on real projects, as their users do it.

    python tests/tour/demo.py            leaves the farm running until Ctrl-C
    DEMO_EXIT=1 python tests/tour/demo.py    ends everything after the tour

Everything it makes lies under `.cache/demo`; it speaks to the farm by the command line, by git, by pip
and by uv alone.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urljoin

import requests
from packaging.utils import parse_sdist_filename

from buildfarm.config import pip_index_url

CHECKOUT = Path(__file__).resolve().parents[2]
FOLDER = CHECKOUT / ".cache" / "demo"
BUILDFARM = CHECKOUT / ".venv" / "bin" / "buildfarm"
CLIENTS = CHECKOUT / ".cache" / "clients" / "bin"
#: (project, how its tags are written, what to import); their recipes are in `recipes/`
PROJECTS = (("MarkupSafe", "{}", "markupsafe._speedups"), ("idna", "v{}", "idna"))
COMPILED = "MarkupSafe"
PORT = int(os.environ.get("DEMO_PORT", "8080"))
BEGAN = time.monotonic()


def say(text: str) -> None:
    """A line of the tour, with the seconds since it began."""
    print(f"demo: {time.monotonic() - BEGAN:6.1f}s  {text}", flush=True)


def run(*command: str | Path, quiet: bool = True, **more: object) -> str:
    """Run a command; its output is shown when it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        text=True,
        stdout=subprocess.PIPE if quiet else None,
        stderr=subprocess.STDOUT if quiet else None,
        **more,
    )
    if done.returncode:
        print(done.stdout or "", file=sys.stderr)
        raise SystemExit(f"demo: this failed with {done.returncode}: {' '.join(map(str, command))}")
    return done.stdout or ""


def clean_environment(**more: str) -> dict[str, str]:
    """No configuration of this machine's pip, uv or git may help the tour along."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("PIP_", "UV_", "GIT_", "BUILDFARM_", "PYTHON"))
    }
    return {
        **kept,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        "UV_NO_CONFIG": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "HOME": str(FOLDER / "home"),
        **more,
    }


def fetch_sdist(project: str) -> Path:
    """The newest sdist of a project from the index that pip uses here, unpacked."""
    page_url = f"{pip_index_url()}/{project.lower()}/"
    accept = {"Accept": "application/vnd.pypi.simple.v1+json"}
    files = requests.get(page_url, headers=accept, timeout=60).json()["files"]
    sdists = [file for file in files if file["filename"].endswith(".tar.gz") and not file.get("yanked")]
    newest = max(sdists, key=lambda file: parse_sdist_filename(file["filename"])[1])
    archive = FOLDER / newest["filename"]
    archive.write_bytes(requests.get(urljoin(page_url, newest["url"]), timeout=60).content)
    with tarfile.open(archive) as tar:
        tar.extractall(FOLDER / "upstream")  # noqa: S202 - a release of a project we chose
    return FOLDER / "upstream" / newest["filename"].removesuffix(".tar.gz")


def make_repositories(project: str) -> tuple[Path, Path, str]:
    """A bare repository as a git server has it, a clone as a developer has it, and the tag to push."""
    name = project.lower()
    upstream = fetch_sdist(project)
    bare, clone = FOLDER / "git" / f"{name}.git", FOLDER / "work" / name
    git(FOLDER, "init", "--quiet", "--bare", "--initial-branch=main", bare)
    git(FOLDER, "clone", "--quiet", bare, clone)
    shutil.copytree(upstream, clone, dirs_exist_ok=True, symlinks=True)
    version = upstream.name.rsplit("-", 1)[1]
    git(clone, "checkout", "--quiet", "-B", "main")
    git(clone, "add", "--all", "--force")
    git(clone, "commit", "--quiet", "--message", f"{project} {version}")
    git(clone, "push", "--quiet", "origin", "main")
    return bare, clone, version


def git(folder: Path, *arguments: str | Path) -> str:
    """A git command as the developer of the tour."""
    identity = ("-c", "user.name=Dev Eloper", "-c", "user.email=dev@corp.example")
    return run("git", "-C", folder, *identity, *arguments, env=clean_environment())


@contextlib.contextmanager
def farm() -> Iterator[dict[str, str]]:
    """A running farm, and what its ready file says."""
    ready, port = FOLDER / "ready.json", free_port()
    environment = dict(os.environ) | {"BUILDFARM_SOURCES_ALLOW_FILE": "1"}
    command = [BUILDFARM, "up", "--data", FOLDER / "farm", "--port", str(port), "--ready-file", ready]
    with (FOLDER / "up.log").open("w") as out:
        process = subprocess.Popen([str(part) for part in command], env=environment, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 120
        while not ready.exists():
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((FOLDER / "up.log").read_text()[-3000:] + "\ndemo: the farm did not start")
            time.sleep(0.1)
        yield json.loads(ready.read_text())
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        say("the farm has ended")


def free_port() -> int:
    """The usual port, or any when it is taken."""
    for port in (PORT, 0):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    raise SystemExit("demo: there is no free port")


class Tour:
    """The steps, with the farm's command line as an administrator uses it."""

    def __init__(self, ready: dict[str, str]) -> None:
        self.ready = ready
        self.environment = clean_environment(
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
        bare, clone, version = make_repositories(project)
        self.command("source", "add", name, f"file://{bare}", "--project", project)
        self.command("source", "hook", name, "--into", bare / "hooks")
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
        environment = clean_environment()
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
            f"{project}=={version}", env=clean_environment())  # fmt: skip
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
    with farm() as ready:
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
