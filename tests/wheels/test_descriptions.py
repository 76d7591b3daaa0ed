"""Descriptions: what renders as what, nothing of a stranger's in the page, and a finding for the author."""

import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from buildfarm.forkserver import ForkServer
from buildfarm.wheels import descriptions, rendering
from buildfarm.wheels.validate import validate_in_sandbox

RST = """\
Demo
====

A *first* `link <https://example.org>`_, :pep:`440` and :math:`a^2`.

.. code:: lua

   local x = string.format("%d", 1)

.. image:: https://example.org/x.png
   :scale: 50%
   :alt: badge

.. contents::

.. note:: Take care.

.. list-table::

   * - a
     - b

.. csv-table::

   "a", "b"

+---+---+
| a | b |
+---+---+

Footnote [1]_ and |sub| "quoted" -- dashed.

.. [1] Here.
.. |sub| replace:: text
.. math:: \\frac{1}{2}
"""
MARKDOWN = """\
# Demo

```php
<?php echo strlen('a'); ?>
```

| a | b |
|---|---|
| :smile: | [x](#demo) |
"""
HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "[x](javascript:alert(1))",
    '<a href="javascript:alert(1)">x</a>',
    "<style>body{}</style>",
    "<iframe src='https://example.org'></iframe>",
    '<p style="position:fixed" onclick="x()">x</p>',
    "`x <javascript:alert(1)>`_",
    ".. raw:: html\n\n   <script>alert(1)</script>\n",
    ".. include:: /etc/passwd\n",
    ".. image:: javascript:alert(1)\n",
    ".. csv-table::\n   :file: /etc/passwd\n",
    "<base href='https://example.org'><form action=/x><button>x</button></form>",
]
ACTIVE = {"script", "style", "iframe", "form", "button", "base", "object", "embed", "link", "meta", "img"}
#: The renderer's process with the farm's own modules, and a body of the test's.
PROGRAM = """
import sys
for name in [name for name in sys.modules if name.startswith("buildfarm")]:
    del sys.modules[name]
sys.path[0] = {packages!r}
from buildfarm.wheels import child
{body}
"""
TYPES = ["text/markdown", "text/markdown; variant=CommonMark", "text/x-rst", "text/plain", ""]


class Scan(HTMLParser):
    """Collects what of a page would act."""

    def __init__(self, html):
        super().__init__()
        self.active = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.active += [tag] if tag in ACTIVE else []
        for name, value in attrs:
            is_link = name in {"href", "src"} and re.match(r"\s*(?!https?:|mailto:|#|/)\w+:", value or "")
            if is_link or name.startswith("on") or name in {"style", "srcset", "formaction"}:
                self.active.append((tag, name, value))


def metadata(text, kind="text/x-rst"):
    said = f"Description-Content-Type: {kind}\n" if kind else ""
    return f"Metadata-Version: 2.1\nName: demo\nVersion: 1.0\n{said}\n{text}".encode()


@pytest.mark.parametrize(
    ("text", "kind", "html"),
    [
        ("*a*", "text/x-rst", "<p><em>a</em></p>\n"),
        ("*a*", "", "<p><em>a</em></p>\n"),
        ("*a*", "text/markdown; charset=UTF-8; variant=GFM", "<p><em>a</em></p>\n"),
        ("~~a~~", "text/markdown", "<p><del>a</del></p>\n"),
        ("~~a~~", "text/markdown; variant=CommonMark", "<p>~~a~~</p>\n"),
        ("*a*", "text/plain", "*a*"),
        ('![<b> & "c"](https://example.org/x)', "text/markdown", "<p>&lt;b&gt; &amp; &quot;c&quot;</p>\n"),
        (".. image:: /x.png\n   :alt: a > b\n", "text/x-rst", "a &gt; b\n"),
        ("<img src=x>", "text/markdown", "\n"),
        ("", "text/markdown", ""),
        ("\n \n", "text/x-rst", ""),
    ],
)
def test_a_description_renders_as_its_type_says(text, kind, html):
    assert descriptions.render(metadata(text, kind)) == descriptions.Description(html, "")


def test_a_description_that_is_no_rst_is_shown_as_it_is_written():
    found = descriptions.render(metadata("Title\n==\n\n* a\nb <i>"))
    assert found.html == "Title<br>==<br><br>* a<br>b &lt;i&gt;"
    assert found.problem == "line 5: Bullet list ends without a blank line; unexpected unindent."
    assert descriptions.render(metadata("Title\n==\n\n* a\nb", "")).problem == ""


def test_a_description_that_is_too_long_is_not_rendered():
    assert descriptions.render(metadata("a" * (1 << 20) + "b", "text/markdown")) == (
        descriptions.Description("", "it is longer than 1 MiB")
    )


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_active_comes_out(text, kind):
    html = descriptions.render(metadata(text, kind)).html
    assert Scan(html).active == []
    assert "root:x:" not in html


@settings(max_examples=150)
@given(st.lists(st.sampled_from([*HOSTILE, RST, MARKDOWN, "\n\n", "`", "<", ">", "|", "   "]) | st.text()))
def test_no_mixture_gets_anything_active_out(pieces):
    for kind in TYPES:
        html, _problem = rendering.render(metadata("".join(pieces), kind))
        assert Scan(html).active == []


@pytest.mark.parametrize("body", ["raise SystemExit(1)", "child.serve(lambda _asked, _files: '{')"])
def test_a_renderer_that_dies_is_a_description_that_is_not_shown(monkeypatch, tmp_path, body):
    fake = tmp_path / "buildfarm" / "wheels" / "rendering.py"
    fake.parent.mkdir(parents=True)
    fake.write_text(PROGRAM.format(packages=str(Path(rendering.__file__).parents[2]), body=body))
    sandbox = ForkServer("buildfarm.wheels.rendering", tmp_path)
    monkeypatch.setattr(descriptions, "sandbox", sandbox)
    found = descriptions.render(metadata("a"))
    sandbox.close()
    assert found.problem == "it cannot be rendered within the limits of time and memory"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's child becomes another user")
def test_it_renders_the_same_where_its_user_cannot_read_the_program(closed_program, monkeypatch):
    asked = [(RST, "text/x-rst"), (MARKDOWN, "text/markdown"), (RST.replace("lua", "nonsense"), "text/x-rst")]
    here = [rendering.render(metadata(*one)) for one in asked]
    sandbox = ForkServer("buildfarm.wheels.rendering", closed_program)
    monkeypatch.setattr(descriptions, "sandbox", sandbox)
    try:
        found = [descriptions.render(metadata(*one)) for one in asked]
    finally:
        sandbox.close()
    assert [(one.html, one.problem) for one in found] == here
    assert all(one.html for one in found)


@pytest.mark.parametrize(("origin", "rules"), [("upload", ["M-10"]), ("build", ["M-10"]), ("mirror", [])])
def test_files_of_ours_get_a_finding(make, origin, rules):
    make.run = validate_in_sandbox
    broken = make.wheel(metadata=metadata("* a\nb").decode())
    found = make.check(broken, origin=origin).findings
    assert [one.rule for one in found] == rules
    assert not found or found[0].text.startswith("the description does not render: line 2: ")
    assert make.check(make.wheel(metadata=metadata("* a\n").decode()), origin=origin).findings == []
