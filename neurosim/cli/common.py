"""What several commands share: how they are declared, and their common options."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    Parsers: TypeAlias = argparse._SubParsersAction[argparse.ArgumentParser]
else:
    Parsers = argparse._SubParsersAction
Parser: TypeAlias = argparse.ArgumentParser
Run: TypeAlias = Callable[[argparse.Namespace], int]


class HelpFormatter(argparse.RawDescriptionHelpFormatter):
    """Keeps the line breaks of examples, and has room for the names of the commands."""

    def __init__(self, prog: str, **settings: Any) -> None:
        super().__init__(prog, **{"max_help_position": 26, **settings})
        self._action_max_length = len("    sensitivity")  # argparse measures the names of commands without their indentation


def command(commands: Parsers, name: str, run: Run, summary: str, examples: Sequence[str] = (), more: str = "") -> Parser:
    """Declare a command that ``run`` answers with an exit code.

    Args:
        commands: The commands it joins.
        name: What the user types.
        run: What is done.
        summary: One line.
        examples: Complete command lines.
        more: A paragraph for the command's own help.
    """
    parser = _add(commands, name, summary, examples, more)
    parser.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    parser.set_defaults(run=run, parser=parser)
    return parser


def group(commands: Parsers, name: str, summary: str) -> Parsers:
    """Declare a command that has commands of its own: ``neurosim hardware list``."""
    parser = _add(commands, name, summary, (), "")
    parser.set_defaults(parser=parser)
    inner: Parsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    return inner


def add_set(parser: Parser) -> None:
    """Option ``--set``."""
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE", help="change one value, e.g. train.epochs=3"
    )


def add_plugin(parser: Parser) -> None:
    """Option ``--plugin``."""
    parser.add_argument(
        "--plugin", action="append", default=[], metavar="FILE.py", help="your Python file that registers models, data sets or stages"
    )


def add_json(parser: Parser) -> None:
    """Option ``--json``."""
    parser.add_argument("--json", action="store_true", help="write the result as JSON")


def load_plugins(files: Sequence[str]) -> None:
    """Import the user's files; each registers what it brings."""
    if files:
        from neurosim.config import load_plugin

        for file in files:
            load_plugin(Path(file))


def plugin_options(files: Sequence[str]) -> list[str]:
    """The options that make another command load the same files.

    >>> plugin_options(["my_model.py"])
    ['--plugin', 'my_model.py']
    """
    return [part for file in files for part in ("--plugin", file)]


def _add(commands: Parsers, name: str, summary: str, examples: Sequence[str], more: str) -> Parser:
    lines = ["examples:", *(f"  {example}" for example in examples)] if examples else []
    return commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}." + (f"\n\n{more}" if more else ""),
        epilog="\n".join(lines),
        formatter_class=HelpFormatter,
        allow_abbrev=False,
    )
