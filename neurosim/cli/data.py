"""``neurosim data list | fetch``."""

from __future__ import annotations

import argparse
import inspect

import neurosim as ns
from neurosim.cli.common import Parsers, command, group
from neurosim.cli.output import note, result, table


def add(commands: Parsers) -> None:
    """Declare the commands."""
    inner = group(commands, "data", "data sets: what there is, and download")
    command(inner, "list", list_all, "what data.kind may say, and what can be fetched", ["neurosim data list"])

    examples = ["neurosim data fetch mnist", "neurosim data fetch cifar10 --to data/cifar10"]
    parser = command(inner, "fetch", fetch, "download a data set, checked, unless it is there already", examples)
    parser.add_argument("name", metavar="NAME", help="mnist, fashion_mnist or cifar10")
    parser.add_argument("--to", metavar="DIR", help="where to (default: where configs find it)")


def list_all(args: argparse.Namespace) -> int:
    """Print the kinds and the data sets that can be fetched."""
    kinds = [(kind, (inspect.getdoc(ns.DATASETS[kind]) or "").partition("\n")[0]) for kind in ns.DATASETS]
    result(table(kinds, head=("kind", "what it is")))
    fetchable = [(name, one.data, one.credit) for name, one in sorted(ns.datasets.FETCHABLE.items())]
    result("\n" + table(fetchable, head=("fetch", "then data:", "made by")))
    return 0


def fetch(args: argparse.Namespace) -> int:
    """Download; print the folder."""
    folder = ns.datasets.fetch(args.name, args.to)
    note(ns.datasets.FETCHABLE[args.name].credit)
    result(str(folder))
    return 0
