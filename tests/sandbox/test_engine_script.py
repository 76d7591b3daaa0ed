"""`docker/engine.sh`: a private engine comes and goes without a trace."""

import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docker" / "engine.sh"


def engine_script(verb, directory, **environment):
    variables = {key: value for key, value in os.environ.items() if key != "DOCKER_HOST"} | environment
    return subprocess.run(
        [SCRIPT, verb, directory], capture_output=True, text=True, timeout=120, env=variables, check=False
    )


def traces_of(*needles):
    """Processes and mounts that name one of the directories."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        found += [command for needle in needles if needle in command and "pytest" not in command]
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    return found + [line for line in mounts for needle in needles if needle in line]


@pytest.mark.engine
def test_a_private_engine_in_a_deep_directory_starts_stops_and_leaves_nothing_but_data(tmp_path):
    directory = tmp_path / ("deep" * 20) / "engine"
    if engine_script("status", directory).returncode == 0:
        started = engine_script("start", directory)  # this machine has its own engine
        assert "already answers" in started.stderr
        return
    first = engine_script("start", directory)
    assert first.returncode == 0, first.stderr
    host = first.stdout.strip()
    run = Path(host.removeprefix("unix://")).parent
    try:
        assert len(host) < 100
        assert engine_script("start", directory).stdout == first.stdout
        assert engine_script("status", directory).stdout == first.stdout
        version = subprocess.run(["docker", "--host", host, "version"], capture_output=True, check=False)
        assert version.returncode == 0
        # What was killed leaves sockets, mounts and a pid file behind; the next start copes.
        os.kill(int((run / "dockerd.pid").read_text()), signal.SIGKILL)
        assert engine_script("start", directory).stdout == first.stdout
    finally:
        stopped = engine_script("stop", directory)
    assert stopped.returncode == 0, stopped.stderr
    assert traces_of(str(directory), str(run)) == []
    assert not run.exists()
    assert (directory / "data").is_dir()


@pytest.fixture
def open_path():
    """A folder that everybody may enter; pytest's own are closed."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


#: What the host would have, in a mount name space of its own; the engine ends with the script.
WITH_RANGES = """
cd "$1" && touch subuid subgid
for name in passwd group subuid subgid; do cp /etc/$name $name && mount --bind $name /etc/$name; done
getent passwd dockremap >/dev/null || { echo 'dockremap:x:399:399::/:/bin/false' >>/etc/passwd
    echo 'dockremap:x:399:' >>/etc/group; }
echo dockremap:300000:65536 | tee /etc/subuid >/etc/subgid
host=$("$2" start "$1/engine") && docker --host "$host" info --format '{{.SecurityOptions}}'
"$2" stop "$1/engine"
"""


@pytest.mark.engine
@pytest.mark.parametrize(("mode", "has_them"), [(0o755, True), (0o700, False)])
def test_a_private_engine_has_user_name_spaces_where_the_host_has_ranges_for_them(open_path, mode, has_them):
    if engine_script("status", open_path / "engine").returncode == 0:
        return  # this machine has its own engine
    open_path.chmod(mode)
    variables = {key: value for key, value in os.environ.items() if key != "DOCKER_HOST"}
    shown = subprocess.run(
        ["unshare", "--mount", "sh", "-c", WITH_RANGES, "sh", open_path, SCRIPT],
        capture_output=True, text=True, timeout=120, env=variables, check=False,
    )  # fmt: skip

    assert shown.stdout.startswith("["), shown.stderr
    assert ("name=userns" in shown.stdout) == has_them
    assert traces_of(str(open_path)) == []


@pytest.mark.engine
def test_an_engine_that_answers_is_used(engine, tmp_path):
    started = engine_script("start", tmp_path / "other", DOCKER_HOST=engine)

    assert started.stdout.strip() == engine
    assert "already answers" in started.stderr
    assert not (tmp_path / "other").exists()


def test_stopping_what_does_not_run_is_fine(tmp_path):
    assert engine_script("stop", tmp_path / "never").returncode == 0


def test_an_unknown_verb_shows_the_usage(tmp_path):
    shown = engine_script("restart", tmp_path)

    assert shown.returncode == 2
    assert "engine.sh start" in shown.stderr
