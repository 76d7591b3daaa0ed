"""The sandboxed process that renders descriptions, with PyPI's own renderer.

Markdown and reStructuredText are written by strangers: their parsers run here, and what they make goes
through an allow-list of HTML (nh3) before it leaves. Source: core metadata, Description-Content-Type.
"""

from __future__ import annotations

import html
import io
import json
import pkgutil
import re
from collections.abc import Iterable, Sequence
from email.message import Message
from importlib import import_module
from types import ModuleType

import docutils.languages
import docutils.parsers.rst.directives
import docutils.transforms
import docutils.utils.math
import pygments.lexers
from docutils.writers.html5_polyglot import Writer
from packaging.metadata import parse_email
from readme_renderer import markdown, rst, txt

from buildfarm.wheels import child

_MOST = 1024 * 1024
_IMAGE = re.compile(r'<img(?: [a-z-]+="[^"]*")*>')
_NOTE = re.compile(r"<string>:(\d+): \(\w+/\d\) (.+)")
_FIRST = """\
Title
=====

.. code:: python

   import this

:math:`a` `link <https://example.org>`_
"""


class _Fragment(Writer):
    """Writes no page around the fragment: its template is a file, and the rights to read it are gone."""

    def apply_template(self) -> str:
        """Nothing; only the parts are used."""
        return ""


def render(metadata: bytes) -> tuple[str, str]:
    """A description as HTML, and what is wrong with it; as plain text when it is not what it says it is."""
    raw, _unparsed = parse_email(metadata)
    text, said = raw.get("description", ""), raw.get("description_content_type", "")
    if len(text) > _MOST:
        return "", "it is longer than 1 MiB"
    kind, variant = _kind(said)
    if not text.strip():
        return "", ""
    if kind == "text/plain":
        return _plain(text), ""
    notes = io.StringIO()
    if kind == "text/markdown":
        page = markdown.render(text, variant=variant)
    else:
        page = rst.render(text, stream=notes)
    if page is not None:
        return _IMAGE.sub(_in_words, page), ""
    # Who says nothing of a type may have written plain text (core metadata: try reStructuredText first).
    return _plain(text), _first(notes.getvalue()) if said else ""


def answer(asked: str, _files: Sequence[int]) -> str:
    """`render` of core metadata, as JSON."""
    page, problem = render(asked.encode())
    return json.dumps({"html": page, "problem": problem})


def _kind(said: str) -> tuple[str, str]:
    header = Message()
    header["content-type"] = said or "text/x-rst"
    return header.get_content_type(), str(header.get_param("variant") or "GFM")


def _in_words(image: re.Match[str]) -> str:
    """Its text in place of a picture: readers shall not ask a stranger's host, or this one, for it."""
    alt = re.search(r' alt="([^"]*)"', image[0])
    return html.escape(html.unescape(alt[1])) if alt else ""


def _first(notes: str) -> str:
    """The first thing that docutils has to say."""
    found = _NOTE.search(notes)
    return f"line {found[1]}: {found[2].strip()}" if found else "there is nothing to show"


def _plain(text: str) -> str:
    return txt.render(text) or ""


def _load(packages: Iterable[ModuleType]) -> None:
    """Import whatever the libraries would import at the first need of it."""
    for package in packages:
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            import_module(module.name)


def main() -> None:
    """Render once first: what that loads and compiles is there for every child, read with rights to."""
    rst.Writer = _Fragment  # type: ignore[attr-defined]
    rst.SETTINGS["stylesheet_path"] = ""  # it would be looked for, and thrown away
    _load([docutils.parsers.rst, docutils.parsers.rst.directives, docutils.transforms, docutils.utils])
    _load([docutils.utils.math, pygments.lexers])
    for kind in ("x-rst", "markdown"):
        render(f"Description-Content-Type: text/{kind}\n\n{_FIRST}".encode())
    child.serve(answer)


if __name__ == "__main__":
    main()
