"""Hostile projects in a whole farm: what they reach, what becomes public, what people are told."""

import re
from pathlib import Path

import pytest
from chaos_harness import Source
from chaos_repository import BACKEND

pytestmark = [pytest.mark.system, pytest.mark.engine]
HOSTILE = Path(__file__).resolve().parent.parent / "fixtures" / "hostile"
#: Looks at what another source has published, and hands out a release of it.
THIEF = (
    """
import json, urllib.error, urllib.request

def get(path):
    request = urllib.request.Request("http://127.0.0.1:8080" + path)
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.read()
    except urllib.error.HTTPError as error:
        return str(error.code).encode()

print("listed", len(json.loads(get("/simple/victim/"))["files"]), flush=True)
print("read", get("/files/victim/victim-1.1-py3-none-any.whl")[:4], flush=True)
print("outside", get("/simple/%2e%2e/%2e%2e/source")[:3], flush=True)
"""
    + BACKEND
)
NAMED = 'table["project"]["name"]'


def become(source: Source, files: dict[str, str]) -> Source:
    """Put other files into the source's repository; its next release has them."""
    for name, text in files.items():
        (source.repository.folder / name).write_text(text)
    return source


@pytest.fixture
def farm(make_farm):
    """A farm without an upstream: what a build asks for goes to nobody."""
    farm = make_farm(BUILDFARM_MIRROR__ISOLATED="true")
    farm.start()
    return farm


def test_what_hostile_projects_do_stays_with_them_and_is_told(farm):
    probing = {
        name: (HOSTILE / folder / name).read_text()
        for folder, name in (("asks-for-names", "backend.py"), ("common", "calm.py"))
    }
    victim, thief = farm.connect("victim"), become(farm.connect("thief"), {"backend.py": THIEF})
    probing["buildfarm.toml"] = "build.sdist = false\n"
    prober = become(farm.connect("prober"), probing).build()
    victim.build().published_once()

    # A new source reads the channel dev.
    build = thief.build()
    build.published_once()
    assert "listed 2\n" in build.log(1)
    assert "read b'PK" in build.log(1)
    farm.api("PUT", "sources/thief/reads", json={"channels": []})
    stolen = become(thief, {"backend.py": THIEF.replace(NAMED, '"victim"')}).build()
    shown = stolen.reaches("failed")
    assert shown["cause"] == "policy"
    assert "may not publish victim" in shown["first_error"]
    log = stolen.log(1)
    assert "listed 0\n" in log
    assert "read b'404'\n" in log
    assert "outside b'404'\n" in log
    assert [row["project"] for row in farm.journal("publish")] == ["victim", "thief"]

    shown = prober.reaches("failed")
    (job,) = shown["jobs"]
    assert (shown["cause"], job["failure_class"]) == ("policy", "probing")
    assert "asked the index for 17 names that are not there: acme-internal-0, " in job["first_error"]
    told = re.search("Asked for, and nowhere: (.*)\\.\n", prober.log(1))
    assert told
    assert told[1].split(", ")[:2] == ["acme-internal-0", "acme-internal-1"]
