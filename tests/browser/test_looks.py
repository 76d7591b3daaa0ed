"""Every page, light and dark, wide and narrow: no complaint of the browser, no finding of axe-core."""

import subprocess
import tarfile

import pytest

pytestmark = pytest.mark.browser
AXE = "axe-core@4.14.1"
PAGES = [
    "/", "/sources", "/sources/widget", "/sources/sprocket", "/connections/acme", "/deliveries",
    "/deliveries/{accepted}", "/deliveries/{rejected}", "/builds", "/jobs/{failed_job}",
    "/jobs/{good_job}", "/jobs/{running_job}", "/jobs/{queued_job}",
    "/jobs/{retried_job}", "/projects", "/projects/widget", "/projects/widget/1.3.0",
    "/projects/widget/1.3.0/promote?from=staging&to=stable", "/queue", "/account", "/dev/",
    "/waves", "/waves/wave-1", "/waves/preview?trigger=project&subject=setuptools==99&channel=dev",
    "/wave-1/", "/pr-widget-17/",
]  # fmt: skip
_RUN = """async () => (await axe.run({resultTypes: ["violations"]})).violations
    .map(one => `${one.id}: ${one.nodes.map(node => node.html).join(" | ")}`)"""


def paths(seed) -> list[str]:
    words = {name: value for name, value in vars(seed).items() if isinstance(value, str)}
    return [page.format(**words) for page in PAGES] + [f"/builds/{build}" for build in seed.builds.values()]


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("axe")
    packed = subprocess.run(
        ["npm", "pack", "--silent", AXE], cwd=folder, capture_output=True, text=True, check=False, timeout=120
    )
    if packed.returncode:
        pytest.fail(f"{AXE} cannot be had here: {packed.stderr[-300:]}")
    with tarfile.open(next(folder.glob("*.tgz"))) as archive:
        script = archive.extractfile("package/axe.min.js")
        assert script is not None
        return script.read().decode()


@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_no_page_complains_or_is_wider_than_the_window(shown, theme, width):
    shown.troubles.clear()
    page = shown.visit(theme=theme, width=width)
    for path in paths(shown.seed):
        page.goto(path)
        overflow = page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0, path
        assert shown.troubles == [], path


@pytest.mark.exhaustive
@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_axe_finds_nothing(shown, axe, theme, width):
    page = shown.visit(theme=theme, width=width)
    for path in paths(shown.seed):
        page.goto(path)
        page.evaluate(axe)
        assert page.evaluate(_RUN) == [], path


def test_a_policy_breach_would_be_seen(shown):
    shown.troubles.clear()
    page = shown.visit()
    page.evaluate("document.body.setAttribute('style', 'color: red')")
    assert any("Content Security Policy" in said for said in shown.troubles)
    shown.troubles.clear()
