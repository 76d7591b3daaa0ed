"""A repository whose releases build in a second, or print lines for as long as a test wants.

Its build backend is in the tree and requires nothing, so no index plays a part (PEP 517, `backend-path`).
Each release has two files, a wheel and a source distribution: a half-visible one can be seen.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

BACKEND = """
import base64, hashlib, io, tarfile, time, tomllib, zipfile

with open("pyproject.toml", "rb") as file:
    table = tomllib.load(file)
NAME, VERSION = table["project"]["name"], table["project"]["version"]
SECONDS = table["tool"]["chaos"]["seconds"]
METADATA = f"Metadata-Version: 2.1\\nName: {NAME}\\nVersion: {VERSION}\\n"

def build_wheel(folder, config_settings=None, metadata_directory=None):
    print("the work begins", flush=True)
    for number in range(int(SECONDS * 10)):
        print(f"line {number} of the work", flush=True)
        time.sleep(0.1)
    info = f"{NAME}-{VERSION}.dist-info"
    files = {
        f"{NAME}/__init__.py": f"version = {VERSION!r}\\n",
        f"{info}/METADATA": METADATA,
        f"{info}/WHEEL": "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n",
    }
    record = ""
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        record += f"{path},sha256={digest},{len(text)}\\n"
    files[f"{info}/RECORD"] = record + f"{info}/RECORD,,\\n"
    filename = f"{NAME}-{VERSION}-py3-none-any.whl"
    with zipfile.ZipFile(f"{folder}/{filename}", "w") as wheel:
        for path, text in files.items():
            wheel.writestr(zipfile.ZipInfo(path), text)
    return filename

def build_sdist(folder, config_settings=None):
    root = f"{NAME}-{VERSION}"
    with tarfile.open(f"{folder}/{root}.tar.gz", "w:gz", format=tarfile.PAX_FORMAT) as archive:
        with open("pyproject.toml", "rb") as file:
            texts = {"PKG-INFO": METADATA.encode(), "pyproject.toml": file.read()}
        for name, text in texts.items():
            member = tarfile.TarInfo(f"{root}/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text))
    return f"{root}.tar.gz"
"""

PROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]

[project]
name = "{name}"
version = "{version}"

[tool.chaos]
seconds = {seconds}

[tool.buildfarm]
test = false
targets = {{ interpreters = ["cp313"] }}
limits = {{ memory = "256 MiB", scratch = "64 MiB", time = "5m" }}
"""


class Repository:
    """One project of its own; every release is a tag."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder / name, name
        self._count = 0
        self.folder.mkdir(parents=True)
        self._git("init", "--quiet", "--initial-branch=main")
        (self.folder / "backend.py").write_text(BACKEND)

    @property
    def url(self) -> str:
        return f"file://{self.folder}"

    def release(self, seconds: float = 0.0) -> str:
        """Commit and tag the next version, whose build prints for so long; the version is the tag."""
        self._count += 1
        version = f"1.{self._count}"
        text = PROJECT.format(name=self.name, version=version, seconds=seconds)
        (self.folder / "pyproject.toml").write_text(text)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", f"Release {version}")
        self._git("tag", version)
        return version

    def commit(self, files: Mapping[str, str], *, tag: str = "") -> str:
        """Commit these files, by path, beside what is there, and tag it where a tag is given; the commit."""
        for path, text in files.items():
            (self.folder / path).parent.mkdir(exist_ok=True)
            (self.folder / path).write_text(text)
        self._git("add", "--all")
        self._git("commit", "--quiet", "--message", tag or "More work")
        if tag:
            self._git("tag", tag)
        return self._git("rev-parse", "HEAD")

    def files(self, version: str) -> set[str]:
        """The names of the files of a release."""
        return {f"{self.name}-{version}-py3-none-any.whl", f"{self.name}-{version}.tar.gz"}

    def _git(self, *arguments: str) -> str:
        identity = ("-c", "user.name=Dev", "-c", "user.email=dev@corp.example")
        environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "GIT_CONFIG_GLOBAL": "/dev/null"}
        command = ["git", "-C", str(self.folder), *identity, *arguments]
        done = subprocess.run(command, check=True, env=environment, capture_output=True, text=True)
        return done.stdout.strip()
