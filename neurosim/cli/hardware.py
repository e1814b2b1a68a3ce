"""``neurosim hardware list | show | compare | check``."""

from __future__ import annotations

import argparse
from pathlib import Path

import neurosim as ns
from neurosim.cli.common import Parsers, add_json, add_plugin, command, group, load_plugins
from neurosim.cli.comparison import Comparison
from neurosim.cli.output import result, result_json, table


def add(commands: Parsers) -> None:
    """Declare the commands."""
    inner = group(commands, "hardware", "the device profiles: list them, read one, check your own")
    add_json(command(inner, "list", list_all, "the profiles that come with the package", ["neurosim hardware list"]))

    parser = command(
        inner, "show", show, "what a profile simulates, and where every number comes from", ["neurosim hardware show photonic_avnn"]
    )
    parser.add_argument("name", metavar="NAME", help="a shipped profile, or a path")
    add_plugin(parser)
    add_json(parser)

    parser = command(
        inner,
        "compare",
        compare,
        "two profiles side by side, their differences marked",
        ["neurosim hardware compare photonic_avnn my_device/profile.yaml"],
    )
    for name in ("A", "B"):
        parser.add_argument(name.lower(), metavar=name, help="a shipped profile, or a path")
    add_plugin(parser)
    add_json(parser)

    parser = command(
        inner,
        "check",
        check,
        "whether a profile holds: keys, units, ranges, sources",
        ["neurosim hardware check my_device/profile.yaml"],
    )
    parser.add_argument("file", metavar="FILE", help="a profile, or the folder of one")
    add_plugin(parser)


def list_all(args: argparse.Namespace) -> int:
    """Print name and summary of every shipped profile."""
    profiles = [ns.load_profile(name) for name in ns.list_profiles()]
    if args.json:
        result_json([{"name": one.name, "technology": one.technology, "summary": one.summary} for one in profiles])
    else:
        result(table([(one.name, one.technology, one.summary) for one in profiles], head=("name", "technology", "summary")))
    return 0


def show(args: argparse.Namespace) -> int:
    """Print the chain and the numbers of a profile."""
    load_plugins(args.plugin)
    from neurosim.hardware.chain import describe

    profile = _load(args.name)
    stages = [line for chain in profile.chains.values() for line in describe(chain)]
    if args.json:
        numbers = {key: quantity._asdict() for key, quantity in profile.provenance.items()}
        facts = {"name": profile.name, "technology": profile.technology, "summary": profile.summary, "sha256": profile.sha256}
        result_json(
            {**facts, "stages": dict(stages), "numbers": numbers, "not_modelled": profile.not_modelled, "citations": profile.citations}
        )
        return 0
    result(f"{profile.name} ({profile.technology})\n{profile.summary}\n\nsimulated, in this order\n" + table(stages))
    rows = [
        (key, quantity.shown, quantity.unit, "verified" if quantity.verified else "", quantity.source)
        for key, quantity in profile.provenance.items()
    ]
    result("\n" + table(rows, head=("number", "value", "unit", "", "source")))
    if profile.not_modelled:
        result("\nnot modelled\n" + "\n".join(f"  {effect}" for effect in profile.not_modelled))
    if profile.citations:
        result(f"\ncite with: neurosim cite {' '.join(profile.citations)}")
    return 0


def compare(args: argparse.Namespace) -> int:
    """Print two profiles side by side."""
    load_plugins(args.plugin)
    found = Comparison(_load(args.a), _load(args.b))
    if args.json:
        result_json(found.to_dict())
    else:
        result(str(found))
    return 0


def check(args: argparse.Namespace) -> int:
    """Say that a profile holds; what does not hold is raised."""
    load_plugins(args.plugin)
    profile = _load(args.file)
    verified = sum(quantity.verified for quantity in profile.provenance.values())
    result(f"{profile.path}: holds; {len(profile.provenance)} numbers with source and unit, {verified} of them verified")
    return 0


def _load(name: str) -> ns.Profile:
    folder = Path(name)
    return ns.load_profile(folder / "profile.yaml" if folder.is_dir() and name not in ns.list_profiles() else name)
