"""Strangers' code that means harm: each ends with the right verdict, its container gone."""

import pytest

import docker
from tests.sandbox.conftest import INSTANCE, PURE_WHEEL, hostile

pytestmark = pytest.mark.engine

MIB = 1024 * 1024


@pytest.fixture(autouse=True)
def no_container_is_left(engine):
    yield
    client = docker.APIClient(base_url=engine)
    try:
        assert client.containers(all=True, filters={"label": f"buildfarm.instance={INSTANCE}"}) == []
    finally:
        client.close()


def limits(**changes):
    return {"seconds": 60, "memory_bytes": 256 * MIB, "pids": 64, "scratch_bytes": 64 * MIB, **changes}


@pytest.mark.parametrize(
    ("body", "changes", "state", "cause", "sentence"),
    [
        pytest.param(
            "while True: os.fork()",
            {"memory_bytes": 1024 * MIB}, "failed", "limit", "64 processes", id="a fork bomb",
        ),
        pytest.param(
            "subprocess.Popen(['sh', '-c', 'f() { f | f & }; f; sleep 5'])\n" + "time.sleep(2)",
            {}, "failed", "limit", "64 processes", id="a fork bomb in the background",
        ),
        pytest.param(
            "hog = b''.join(bytes([1]) * 2**20 for _ in range(600))",
            {}, "failed", "limit", "256 MiB", id="a memory hog",
        ),
        pytest.param(
            "subprocess.run([sys.executable, '-c', 'x = bytearray(b\"1\") * 2**30'])\n" + PURE_WHEEL,
            {}, "failed", "limit", "256 MiB", id="a child killed for memory, silently",
        ),
        pytest.param(
            "open('/tmp/fill', 'wb').write(bytes(100 * 2**20))",
            {"memory_bytes": 512 * MIB}, "failed", "limit", "scratch space", id="a disk filler",
        ),
        pytest.param(
            "while True: pass", {"seconds": 4}, "timed_out", "limit", "4 seconds", id="an endless loop"
        ),
        pytest.param(
            "time.sleep(60)", {"idle_seconds": 1.5}, "timed_out", "limit", "Nothing was printed", id="silence"
        ),
        pytest.param("os._exit(0)", {}, "failed", "user_code", "", id="an exit that looks good"),
        pytest.param("return 'x.whl'", {}, "failed", "user_code", "x.whl", id="a wheel that is not there"),
        pytest.param(
            "open(directory + '/evil.txt', 'w').write('x')\nreturn 'evil.txt'",
            {}, "failed", "limit", "not the name", id="an output with another name",
        ),
        pytest.param(
            "name = 'big-1-py3-none-any.whl'\n"
            "open(os.path.join(directory, name), 'wb').write(bytes(2 * 2**20))\nreturn name",
            {"output_bytes": MIB}, "failed", "limit", "larger than", id="an output that is too large",
        ),
        pytest.param(
            "os.kill(os.getppid(), 9)\ntime.sleep(30)",
            {}, "failed", "user_code", "", id="one that kills our script",
        ),
    ],
)  # fmt: skip
def test_it_ends_with_the_right_verdict(attempt, body, changes, state, cause, sentence):
    outcome, farm = attempt(hostile(body), limits=limits(**changes))

    assert (outcome.state, outcome.cause) == (state, cause), (outcome.first_error, farm.log[-2000:])
    assert sentence in outcome.first_error
    assert farm.artifacts == {}


def test_a_gigabyte_of_log_is_cut_and_the_build_goes_on(attempt):
    flood = "for _ in range(1024): os.write(1, b'spam and eggs..\\n' * 65536)\n"
    outcome, farm = attempt(hostile(flood + PURE_WHEEL), limits=limits(log_bytes=MIB))

    assert outcome.state == "succeeded", outcome.first_error
    assert len(farm.log.encode()) <= MIB
    omitted = int(farm.log.split(" bytes omitted")[0].rsplit(" ", 1)[1])
    assert omitted > 1000 * MIB


PROBES = """
import errno
def probe(name, action):
    try:
        action()
        print("REACHED", name, flush=True)
    except Exception as error:
        print("refused", name, type(error).__name__, flush=True)
def tcp(host, port):
    socket.create_connection((host, port), timeout=3).close()
probe("dns", lambda: socket.getaddrinfo("index.example", 443))
probe("tcp", lambda: tcp("192.0.2.1", 443))
probe("metadata", lambda: tcp("169.254.169.254", 80))
probe("docker socket", lambda: socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock"))
probe("root file system", lambda: open("/usr/evil", "w"))
probe("input", lambda: open("/in/evil", "w"))
probe("scripts", lambda: open("/farm/evil", "w"))
probe("socket directory", lambda: open("/run/farm/evil", "w"))
probe("socket removal", lambda: os.unlink("/run/farm/farm.sock"))
probe("sysctl", lambda: open("/proc/sys/kernel/core_pattern", "w"))
probe("kernel memory", lambda: open("/proc/kcore", "rb"))
probe("kernel keys", lambda: open("/proc/sysrq-trigger", "w"))
probe("device", lambda: os.mknod("/tmp/disk", 0o600 | 0o060000, os.makedev(8, 0)))
probe("uid", lambda: os.setuid(0))
probe("mount", lambda: subprocess.run(["mount", "-t", "tmpfs", "x", "/mnt"], check=True))
probe("user namespace", lambda: subprocess.run(["unshare", "-Ur", "true"], check=True))
status = dict(line.split(":\\t", 1) for line in open("/proc/self/status").read().splitlines())
print([status[key] for key in ("CapEff", "CapBnd", "NoNewPrivs", "Seccomp")])
print("processes seen", [pid for pid in os.listdir("/proc") if pid.isdigit() and int(pid) > 4096], flush=True)
print("environment", sorted(os.environ), flush=True)
"""


def test_nothing_outside_can_be_reached_or_changed(attempt):
    outcome, farm = attempt(hostile(PROBES + PURE_WHEEL))

    assert outcome.state == "succeeded", farm.log
    assert "REACHED" not in farm.log
    assert farm.log.count("refused ") == 16
    assert "['0000000000000000', '0000000000000000', '1', '2']" in farm.log
    assert "processes seen []" in farm.log
    assert "DOCKER_HOST" not in farm.log


def test_the_farm_s_variables_cannot_be_replaced_by_a_recipe(attempt):
    probe = "print('epoch', os.environ['SOURCE_DATE_EPOCH'], os.environ['MY_FLAG'])\n"
    outcome, farm = attempt(
        hostile(probe + PURE_WHEEL), environment={"SOURCE_DATE_EPOCH": "1", "MY_FLAG": "on"}
    )

    assert outcome.state == "succeeded", farm.log
    assert "epoch 1700000000 on" in farm.log
