"""``neurosim catalogue activations`` and ``norms``."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING, Final

from neurosim.atomicfile import replacing
from neurosim.cli.common import Parsers, add_json, add_plugin, command, group, load_plugins
from neurosim.cli.output import note, result, result_json, table
from neurosim.errors import ConfigError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_FORMATS: Final = ("png", "svg", "pdf")
_SENTENCES: Final = ("hardware", "source")
_WIDEST: Final = 70  #: letters of a sentence in a table


def add(commands: Parsers) -> None:
    """Declare the commands."""
    inner = group(commands, "catalogue", "what a model can be made of, with formulas and sources")
    examples = ["neurosim catalogue activations", "neurosim catalogue activations --plot activations.png"]
    parser = command(inner, "activations", activations, "the activations: formula, bounds, what folds away, operations", examples)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw all curves and slopes, with noise: a .png, .svg or .pdf file")
    add_plugin(parser)
    add_json(parser)
    examples = ["neurosim catalogue norms", "neurosim catalogue norms --plot norms.png"]
    parser = command(inner, "norms", norms, "the norms: formula, statistics, what folds away, operations", examples)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw all responses and slopes, with noise: a .png, .svg or .pdf file")
    add_plugin(parser)
    add_json(parser)


def norms(args: argparse.Namespace) -> int:
    """Print the table; draw the responses."""
    _check(args.plot)
    load_plugins(args.plugin)
    from neurosim.catalogue import panels_of_norms, table_of_norms

    rows = table_of_norms()
    if args.json:
        result_json(rows)
    else:
        shown = ("name", "kind", "formula", "statistics", "fold", "bounds", "operations", "source")
        result(_table(rows, shown))
    if args.plot is not None:
        from neurosim.plot.activations import curve_panels

        _save(curve_panels(panels_of_norms())[0], args.plot)
    return 0


def activations(args: argparse.Namespace) -> int:
    """Print the table; draw the curves."""
    _check(args.plot)
    load_plugins(args.plugin)
    from neurosim.activations.catalogue import panels, table_of_activations

    rows = table_of_activations()
    if args.json:
        result_json(rows)
    else:
        shown = ("name", "formula", "bounds", "smoothness", "monotone", "fold", "operations", "hardware", "citation")
        result(_table(rows, shown))
    if args.plot is not None:
        from neurosim.plot.activations import curve_panels

        _save(curve_panels(panels())[0], args.plot)
    return 0


def _table(rows: Sequence[Mapping[str, str]], shown: Sequence[str]) -> str:
    """Columns of the rows; sentences are cut, ``--json`` has them whole."""

    def cell(row: Mapping[str, str], name: str) -> str:
        return shorten(row[name], _WIDEST, placeholder=" …") if name in _SENTENCES else row[name]

    return table([[cell(row, name) for name in shown] for row in rows], head=shown)


def _check(file: Path | None) -> None:
    """Refuse a file that no figure can be written to, before anything is drawn."""
    if file is not None and _form(file) not in _FORMATS:
        raise ConfigError(f"--plot: must end in .{', .'.join(_FORMATS)}, got {file}")
    if file is not None and not file.parent.is_dir():
        raise ConfigError(f"--plot: the folder {file.parent} must exist, it does not; make it, or draw to another")


def _form(file: Path) -> str:
    return file.suffix.removeprefix(".").lower()


def _save(figure: Figure, file: Path) -> None:
    """Write a figure, whole or not at all."""
    with replacing(file) as temporary:
        figure.savefig(temporary, format=_form(file), dpi=130)
    note(f"drawn: {file}")
