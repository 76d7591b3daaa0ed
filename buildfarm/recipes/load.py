"""From files to recipes: find them in a repository, merge the operator's overlay, check, explain."""

from __future__ import annotations

import fnmatch
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, cast

from pydantic import ValidationError

from buildfarm.errors import InvalidInput
from buildfarm.recipes.cibuildwheel import TABLE, Translation, translate
from buildfarm.recipes.document import Document, Problem, read, refusal
from buildfarm.recipes.lines import KeyPath
from buildfarm.recipes.merge import Key, Layer, Leaf, flatten, overlay, tree
from buildfarm.recipes.model import LeftOut, Origin, Recipe
from buildfarm.recipes.problems import nearest_of, problems_of

#: Files of a folder that may hold a recipe; the later wins.
RECIPE_FILES = ("pyproject.toml", "buildfarm.toml")
#: Files that make a folder a project (PEP 517), looked for when no file holds a recipe.
PROJECT_FILES = ("pyproject.toml", "setup.py")

MAX_RECIPES = 50
_MAX_DEPTH = 3
_FULL_REF = re.compile(r"refs/(?P<kind>tags|heads|[^/]+)/(?P<name>.+)|[0-9a-f]{40}|[0-9a-f]{64}")


class Explained(NamedTuple):
    """One value of a recipe: `origin` is None where nobody wrote it and the default holds."""

    key: str
    value: object
    origin: Origin | None


def is_recipe_file(path: str) -> bool:
    """Whether `load_recipes` wants this file of a repository, by its path from the root.

    Hidden folders and those named `tests` are left out, for projects keep examples there; so is what
    lies more than three folders deep.
    """
    *folders, name = path.split("/")
    if len(folders) > _MAX_DEPTH or any(folder.startswith(".") or folder == "tests" for folder in folders):
        return False
    return name in RECIPE_FILES or (not folders and name in PROJECT_FILES)


def load_recipes(
    files: Mapping[str, str], central: str | None = None, *, central_file: str = "recipes/<source>.toml"
) -> list[Recipe]:
    """The recipes of a source, by name.

    A folder's recipe is `[tool.cibuildwheel]` of its `pyproject.toml`, then `[tool.buildfarm]` there, then
    its `buildfarm.toml`, then the operator's overlay; the later wins, key by key. Without any recipe a root
    that is a project gets the default one. `[recipes.NAME]` tables make several recipes of one file.

    Args:
        files: text of each file for which `is_recipe_file` holds, by path from the root.
        central: text of the operator's recipe for this source.
        central_file: what errors and `explain` call it.

    Returns:
        An empty list when the root is no project and nobody wrote a recipe.

    Raises:
        InvalidInput: `recipe.invalid`, with file, line, and the nearest known key.
    """
    drafts = _drafts_of_repository(files)
    if central is not None:
        document = read(central_file, central)
        shared, named = _split(document, document.data, ())
        drafts = _overlaid(drafts, shared, named)
    if not drafts and any(name in files for name in PROJECT_FILES):
        drafts = [_Draft({})]
    return _validated(drafts)


def select(recipes: Iterable[Recipe], ref: str) -> list[Recipe]:
    """Those recipes whose tag or branch filter takes the ref.

    Args:
        recipes: all recipes of the source.
        ref: in full, such as `refs/tags/v1.0`. A commit or another kind of ref (a pull request) takes
            every recipe, since no filter speaks of it.

    Raises:
        InvalidInput: `ref.incomplete`, a short name, which may be a tag as well as a branch.
    """
    match = _FULL_REF.fullmatch(ref)
    if match is None:
        raise InvalidInput(
            f'The ref "{ref}" is not complete.',
            code="ref.incomplete",
            hint="Write refs/heads/..., refs/tags/... or the whole commit id.",
        )
    if match["kind"] == "tags":
        return [recipe for recipe in recipes if fnmatch.fnmatchcase(match["name"], recipe.tags)]
    if match["kind"] == "heads":
        return [
            recipe
            for recipe in recipes
            if any(fnmatch.fnmatchcase(match["name"], branch) for branch in recipe.branches)
        ]
    return list(recipes)


def explain(recipe: Recipe) -> list[Explained]:
    """Every value of the recipe, by key with dots, and where it was written."""
    return [
        Explained(key, value, recipe.origins.get(key))
        for key, value in _flat(recipe.model_dump(mode="json"), "")
    ]


def static_requires_python(files: Mapping[str, str], recipe: Recipe) -> str | None:
    """`requires-python` of the recipe's project as its `pyproject.toml` states it, None when it does not.

    Source: PEP 621 (a project may leave it to the backend).
    """
    text = files.get(posixpath.join(recipe.path, "pyproject.toml"))
    try:
        project = read("pyproject.toml", text or "").data.get("project")
    except InvalidInput:  # the build itself will say so, with the backend's words
        return None
    value = project.get("requires-python") if isinstance(project, dict) else None
    return value if isinstance(value, str) else None


def _flat(value: object, key: str) -> list[tuple[str, object]]:
    if isinstance(value, dict) and value:
        return [
            row for name, inner in value.items() for row in _flat(inner, f"{key}.{name}" if key else name)
        ]
    return [(key, value)]


class _Draft(NamedTuple):
    """A recipe before its values are checked, and what of the project's own configuration is left out."""

    layer: Layer
    left_out: tuple[LeftOut, ...] = ()


def _drafts_of_repository(files: Mapping[str, str]) -> list[_Draft]:
    drafts = []
    for folder in sorted({posixpath.dirname(path) for path in files if is_recipe_file(path)}):
        shared: Layer = {}
        named: dict[str, Layer] = {}
        place: Layer | None = None
        left_out: tuple[LeftOut, ...] = ()
        if (foreign := _foreign_table(posixpath.join(folder, "pyproject.toml"), files)) is not None:
            document, (shared, left_out) = foreign
            place = _place(folder, document)
        for name in RECIPE_FILES:
            path = posixpath.join(folder, name)
            found = _recipe_table(path, files[path]) if path in files else None
            if found is None:
                continue
            document, table, at = found
            place = _place(folder, document)
            own, own_named = _split(document, table, at)
            shared = overlay(shared, own)
            for key, layer in own_named.items():
                named[key] = overlay(named.get(key, {}), layer)
        if place is not None:
            common = overlay(place, shared)
            layers = [overlay(common, layer) for layer in named.values()] or [common]
            drafts += [_Draft(layer, left_out) for layer in layers]
    return drafts


def _foreign_table(path: str, files: Mapping[str, str]) -> tuple[Document, Translation] | None:
    """What a `pyproject.toml` says to cibuildwheel, or None."""
    if TABLE[1] not in files.get(path, ""):
        return None
    document = read(path, files[path])
    translation = translate(document)
    return None if translation is None else (document, translation)


def _recipe_table(path: str, text: str) -> tuple[Document, object, tuple[str, ...]] | None:
    """The recipe's table in a file of the repository, or None when a `pyproject.toml` has none."""
    if posixpath.basename(path) == "pyproject.toml" and "buildfarm" not in text:
        return None  # what is wrong with it is the build backend's to say
    document = read(path, text)
    if posixpath.basename(path) == "buildfarm.toml":
        return document, document.data, ()
    tool = document.data.get("tool")
    if not isinstance(tool, dict) or "buildfarm" not in tool:
        return None
    return document, tool["buildfarm"], ("tool", "buildfarm")


def _place(folder: str, document: Document) -> Layer:
    """What the folder alone says: the recipe's path and a name for it."""
    if not folder:
        return {}
    name = re.sub(r"[^a-z0-9._-]", "-", folder.lower())
    return {("path",): Leaf(folder, document, ()), ("name",): Leaf(name, document, ())}


def _split(document: Document, table: object, at: tuple[str, ...]) -> tuple[Layer, dict[str, Layer]]:
    """The keys that all recipes of a file share, and the keys of each of its `[recipes.NAME]`."""
    if not isinstance(table, dict):
        raise _refused(document, at, "a recipe must be a table")
    several = table.get("recipes", {})
    shared = flatten(document, {key: value for key, value in table.items() if key != "recipes"}, at)
    if "recipes" not in table:
        return shared, {}
    path = (*at, "recipes")
    if not isinstance(several, dict) or not several:
        raise _refused(document, path, '"recipes" must be a table of recipes, such as [recipes.demo]')
    if "name" in table:
        raise _refused(
            document, (*at, "name"), '"name" says nothing where [recipes.NAME] tables have their own'
        )
    if len(several) > MAX_RECIPES:
        raise _refused(document, path, f"more than {MAX_RECIPES} recipes")
    named = {}
    for name, inner in several.items():
        if not isinstance(inner, dict):
            raise _refused(document, (*path, name), f'"{name}" in [recipes] must be a table')
        if "name" in inner:
            raise _refused(
                document, (*path, name, "name"), f'"name" says nothing in [recipes.{name}], it has one'
            )
        title: Layer = {("name",): Leaf(name, document, (*path, name))}
        named[name] = overlay(title, flatten(document, inner, (*path, name)))
    return shared, named


def _overlaid(drafts: Sequence[_Draft], shared: Layer, named: Mapping[str, Layer]) -> list[_Draft]:
    """The drafts under the operator's overlay, which may name new recipes only where there is none."""
    if not drafts:
        return [_Draft(overlay(shared, layer)) for layer in named.values()] or [_Draft(shared)]
    names = [_name(draft.layer) for draft in drafts]
    for name, layer in named.items():
        if name not in names:
            leaf = layer[("name",)]
            nearest = nearest_of(name, names)
            did = f'did you mean "{nearest}"?' if nearest else f"it has {', '.join(names)}"
            raise _refused(leaf.document, leaf.path, f'the repository has no recipe "{name}"; {did}', nearest)
    return [
        draft._replace(layer=overlay(overlay(draft.layer, shared), named.get(name, {})))
        for name, draft in zip(names, drafts, strict=True)
    ]


def _name(draft: Layer) -> str:
    leaf = draft.get(("name",))
    return str(leaf.value) if leaf else "default"


def _validated(drafts: Sequence[_Draft]) -> list[Recipe]:
    problems: list[Problem] = []
    recipes: dict[str, Recipe] = {}
    for draft, left_out in drafts[: MAX_RECIPES + 1]:
        try:
            recipe = Recipe.model_validate(tree(draft))
        except ValidationError as error:
            problems += problems_of(error, draft, Recipe, extra=("recipes",))
            continue
        if recipe.name in recipes or len(recipes) == MAX_RECIPES:
            problems.append(_one_too_many(recipe, draft, is_twice=recipe.name in recipes))
        recipes[recipe.name] = recipe.with_origins(_origins(draft), left_out)
    if problems:
        raise refusal(list(dict.fromkeys(problems)))
    return list(recipes.values())


def _origins(draft: Layer) -> dict[str, Origin]:
    origins = {".".join(key): leaf.origin for key, leaf in draft.items()}
    if several := draft.get(("overrides",)):
        for number, override in enumerate(cast("list[object]", several.value)):
            for key, leaf in flatten(several.document, override, (*several.path, number)).items():
                origins[".".join(("overrides", str(number), *key))] = leaf.origin
    return origins


def _one_too_many(recipe: Recipe, draft: Layer, *, is_twice: bool) -> Problem:
    key: Key = ("name",)
    origin = draft[key].origin if key in draft else next(leaf.origin for leaf in draft.values())
    text = f'a second recipe has the name "{recipe.name}"' if is_twice else f"more than {MAX_RECIPES} recipes"
    return Problem(origin.file, origin.line, text, "name")


def _refused(document: Document, path: KeyPath, text: str, nearest: str = "") -> InvalidInput:
    key = str(path[-1]) if path else ""
    return refusal([Problem(document.file, document.line(path), text, key, nearest)])
