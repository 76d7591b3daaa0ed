"""Layers of one recipe, merged key by key, each value knowing the file and line it came from.

A layer is flat: `targets.interpreters` is one key, so an overlay replaces that value and leaves the
rest of `[targets]` alone. Lists are values and are replaced whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import cast

from buildfarm.recipes.document import Document, Problem, refusal
from buildfarm.recipes.lines import KeyPath
from buildfarm.recipes.model import Origin

Key = tuple[str, ...]


@dataclass(frozen=True)
class Leaf:
    """One value that is not a table (or an empty one), and where it stands in its document."""

    value: object
    document: Document
    path: KeyPath

    @property
    def origin(self) -> Origin:
        """File and line of the value's key."""
        return Origin(self.document.file, self.document.line(self.path))


#: Merging takes time in the square of the number of values of one layer.
MAX_VALUES = 1000

Layer = Mapping[Key, Leaf]


def flatten(document: Document, table: object, path: KeyPath) -> Layer:
    """The layer of the table at `path` of a document.

    Raises:
        InvalidInput: `recipe.invalid`, for more values than any recipe has.
    """
    layer = dict(_leaves(document, table, path, ())) if table else {}
    if len(layer) > MAX_VALUES:
        text = f"more than {MAX_VALUES} values"
        raise refusal([Problem(document.file, document.line(path), text)])
    return layer


def _leaves(document: Document, value: object, path: KeyPath, key: Key) -> Iterable[tuple[Key, Leaf]]:
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(document, inner, (*path, name), (*key, name))
    else:
        yield key, Leaf(value, document, path)


def overlay(base: Layer, over: Layer) -> Layer:
    """Both layers, where `over` wins. A table takes the place of a value and the other way round."""
    merged = dict(base)
    for key, leaf in over.items():
        within = [other for other in merged if other[: len(key)] == key and other != key]
        if leaf.value == {} and within:
            continue
        for replaced in (*within, *(key[:length] for length in range(1, len(key)))):
            merged.pop(replaced, None)
        merged[key] = leaf
    return merged


def tree(layer: Layer) -> dict[str, object]:
    """The layer as nested tables, as a model reads it."""
    root: dict[str, object] = {}
    for key, leaf in layer.items():
        table = root
        for name in key[:-1]:
            # overlay() keeps no key inside another, so what is there is a table
            table = cast("dict[str, object]", table.setdefault(name, {}))
        table[key[-1]] = leaf.value
    return root


def locate(layer: Layer, location: KeyPath) -> tuple[KeyPath, Document]:
    """The path, in the document that wrote it, of a location in `tree(layer)`.

    A location inside a value (an item of a list) goes on below that value's own path; that of a table
    is the table's in the document of its first key.
    """
    for length in range(len(location), 0, -1):
        leaf = layer.get(tuple(str(part) for part in location[:length]))
        if leaf is not None:
            return (*leaf.path, *location[length:]), leaf.document
    for key, leaf in layer.items():
        if key[: len(location)] == location:
            depth = len(key) - len(location)
            return leaf.path[: len(leaf.path) - depth], leaf.document
    leaf = next(iter(layer.values()))
    return leaf.path[: len(leaf.path) - 1], leaf.document
