"""``neurosim recipe list | copy``."""

from __future__ import annotations

import argparse
import ast
from pathlib import Path

import neurosim as ns
from neurosim.cli.common import Parsers, command, group
from neurosim.cli.output import note, result, table


def add(commands: Parsers) -> None:
    """Declare the commands."""
    inner = group(commands, "recipe", "the training programs: list them, copy one to change it")
    command(inner, "list", list_all, "the recipes that come with the package", ["neurosim recipe list"])

    examples = ["neurosim recipe copy classify my_recipe.py", "neurosim train my.yaml --recipe my_recipe.py"]
    parser = command(inner, "copy", copy, "copy a recipe into a file of yours", examples)
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("to", nargs="?", metavar="DEST", help="a file or a folder (default: NAME.py here); must not exist yet")


def list_all(args: argparse.Namespace) -> int:
    """Print name and first line of every recipe."""
    from neurosim.training import recipe_file, recipes

    rows = [
        (name, (ast.get_docstring(ast.parse(recipe_file(name).read_text(encoding="utf-8"))) or "").partition("\n")[0]) for name in recipes()
    ]
    result(table(rows, head=("recipe", "what it does")))
    return 0


def copy(args: argparse.Namespace) -> int:
    """Copy; print the new file."""
    from neurosim.training import recipe_file

    source = recipe_file(args.name)
    target = Path(args.to or source.name)
    target = target / source.name if target.is_dir() else target
    try:
        with target.open("xb") as file:  # never over something of the user's
            file.write(source.read_bytes())
    except FileExistsError:
        raise ns.ConfigError(f"recipe: {target} must not exist yet, does; name another file") from None
    result(str(target))
    note(f"next: neurosim train CONFIG --recipe {target}")
    return 0
