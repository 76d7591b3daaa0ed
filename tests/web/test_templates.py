"""Rules for the sources of the pages: nothing inline, nothing marked safe, short views, vendored files."""

import ast
import hashlib
import re
import tomllib
from pathlib import Path

import pytest

import webapp

ROOT = Path(webapp.__file__).parent
TEMPLATES = sorted((ROOT / "templates").rglob("*.html"))
VIEWS = sorted((ROOT / "pages").glob("*.py"))


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_template_holds_no_inline_code_and_trusts_nothing(template):
    text = template.read_text()
    assert not re.search(
        r"<script(?![^>]* src=)|<style|\sstyle=|\son[a-z]+=|javascript:", text, re.IGNORECASE
    )
    assert not re.search(r"\|\s*safe\b|autoescape|Markup", text)


@pytest.mark.parametrize("template", TEMPLATES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_form_that_changes_something_carries_the_token(template):
    open_to_all = {"/theme", "/login"}
    for action, body in re.findall(
        r'<form method="post" action="([^"]+)"(.*?)</form>', template.read_text(), re.DOTALL
    ):
        assert action in open_to_all or "csrf" in body, action


@pytest.mark.parametrize("file", VIEWS, ids=lambda path: path.name)
def test_a_view_is_at_most_fifteen_lines(file):
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.FunctionDef) and any(
            "blueprint" in ast.dump(one) for one in node.decorator_list
        ):
            lines = (node.end_lineno or 0) - node.body[0].lineno
            assert lines <= 15, f"{node.name} has {lines}"


def test_the_script_is_one_can_read():
    assert len((ROOT / "static/app.js").read_text().splitlines()) <= 250
    assert not re.search(
        r"\beval\b\(|new Function|document\.write|\.style\b", (ROOT / "static/app.js").read_text()
    )


def test_vendored_files_are_what_their_list_says():
    folder = ROOT / "static/vendor"
    listed = tomllib.loads((folder / "vendor.toml").read_text())["vendored"]
    for one in listed:
        assert hashlib.sha256((folder / one["file"]).read_bytes()).hexdigest() == one["sha256"]
    assert {one["file"] for one in listed} | {"vendor.toml"} == {path.name for path in folder.iterdir()}


def test_every_icon_that_a_page_draws_is_in_the_sprite():
    symbols = set(re.findall(r'<symbol id="([^"]+)"', (ROOT / "static/vendor/lucide.svg").read_text()))
    text = "".join(path.read_text() for path in TEMPLATES) + (ROOT / "pages/look.py").read_text()
    drawn = set(re.findall(r'(?:icon|empty)\("([a-z0-9-]+)"', text)) | set(
        re.findall(r'Mark\("([a-z0-9-]+)"', text)
    )
    assert drawn <= symbols
    assert len(drawn) > 20
