"""`buildfarm recipe`: check and explain recipes on this machine, without a server."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from buildfarm.errors import InvalidInput
from buildfarm.farm.machines import PATIENCE, machine_of, runners
from buildfarm.recipes.document import MAX_CHARACTERS
from buildfarm.recipes.load import explain, is_recipe_file, load_recipes
from buildfarm.recipes.model import Recipe, recipe_digest

_PATH = click.argument("path", type=click.Path(exists=True, path_type=Path))
_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def recipe() -> None:
    """Check recipes and show where their values come from."""


@recipe.command()
@_PATH
@_JSON
def check(path: Path, as_json: bool) -> None:
    """Check the recipes of PATH: a recipe file, or the folder of a repository.

    Says as well what a [tool.cibuildwheel] asks for that the farm does not do.
    Exit code 1 when a recipe is invalid or there is none.
    """
    recipes = _load(path, as_json=as_json)
    if as_json:
        rows = [
            {
                "name": one.name,
                "path": one.path,
                "digest": recipe_digest(one),
                "not_followed": [str(left_out) for left_out in one.left_out],
            }
            for one in recipes
        ]
        click.echo(json.dumps({"valid": True, "recipes": rows}))
        return
    for one in recipes:
        click.echo(f"{one.name}: good, sha256 {recipe_digest(one)}")
        for left_out in one.left_out:
            click.echo(f"  {left_out}")


@recipe.command(name="explain")
@_PATH
@click.argument("target", required=False)
@_JSON
def explain_command(path: Path, target: str | None, as_json: bool) -> None:
    """Show every value of the recipes of PATH and the line that set it.

    With a TARGET, such as cp313-manylinux_2_28_x86_64, what holds for it: the overrides are in place, and
    which machines run it natively.
    """
    recipes = _load(path, as_json=as_json)
    native_on: tuple[str, ...] = ()
    elsewhere = "emulated"
    if target is not None:
        recipes = [one.for_target(target) for one in recipes]
        platform = target.partition("-")[2]
        native_on = runners(machine_of(platform)) if platform else ()
        if any(one.build.toolchain for one in recipes):
            elsewhere = "compiled by zig and tested by an emulator"
    if as_json:
        click.echo(json.dumps({"recipes": [_explained(one) for one in recipes], "native_on": native_on}))
        return
    if native_on:
        click.echo(
            f"# native on {', '.join(native_on)}; {elsewhere} elsewhere, with {PATIENCE} times the time"
        )
    for one in recipes:
        click.echo(f"# {one.name}")
        for row in explain(one):
            click.echo(f"{row.key} = {json.dumps(row.value)}  # {row.origin or 'default'}")


def _explained(one: Recipe) -> dict[str, object]:
    rows = [
        {
            "key": row.key,
            "value": row.value,
            "file": row.origin.file if row.origin else None,
            "line": row.origin.line if row.origin else None,
        }
        for row in explain(one)
    ]
    return {"name": one.name, "values": rows}


def _load(path: Path, *, as_json: bool) -> list[Recipe]:
    """The recipes; on a problem says so and ends with exit code 1."""
    try:
        recipes = load_recipes(_repository_files(path)) if path.is_dir() else _recipes_of_file(path)
        if not recipes:
            raise InvalidInput(
                f"{path} holds no recipe and no project.",
                code="recipe.invalid",
                hint="A project has a pyproject.toml or a setup.py at its root.",
            )
    except InvalidInput as error:
        if as_json:
            problems = error.facts.get("problems", [error.message])
            click.echo(
                json.dumps({"valid": False, "code": error.code, "error": str(error), "problems": problems})
            )
        else:
            click.echo(str(error), err=True)
        raise SystemExit(1) from error
    return recipes


def _recipes_of_file(path: Path) -> list[Recipe]:
    if path.name == "pyproject.toml":
        return load_recipes({path.name: _text(path)})
    return load_recipes({}, _text(path), central_file=str(path))


def _repository_files(root: Path) -> dict[str, str]:
    files = {}
    for folder, folders, names in os.walk(root):
        place = Path(folder).relative_to(root)
        # A folder is entered only where a file in it could count.
        folders[:] = [
            name for name in folders if is_recipe_file((place / name / "buildfarm.toml").as_posix())
        ]
        for name in names:
            path = (place / name).as_posix()
            if is_recipe_file(path):
                files[path] = _text(root / path)
    return files


def _text(path: Path) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(MAX_CHARACTERS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read as UTF-8 text: {error}", code="recipe.invalid") from error
