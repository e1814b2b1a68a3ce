"""``neurosim cite``."""

from __future__ import annotations

import argparse

from neurosim.citations import CITATIONS, cite
from neurosim.cli.common import Parsers, command
from neurosim.cli.output import result, table


def add(commands: Parsers) -> None:
    """Declare the command."""
    examples = ["neurosim cite analogvnn philox >> paper.bib", "neurosim cite --list"]
    parser = command(commands, "cite", run, "BibTeX of the methods this package rests on", examples)
    parser.add_argument("names", nargs="*", metavar="NAME", help="methods, data sets; all when none is named")
    parser.add_argument("--list", action="store_true", help="print what can be cited, and for what")


def run(args: argparse.Namespace) -> int:
    """Print BibTeX, or the list of names."""
    if args.list:
        result(table([(name, CITATIONS[name].why) for name in CITATIONS], head=("name", "for")))
    else:
        result(cite(*args.names))
    return 0
