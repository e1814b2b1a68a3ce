"""``neurosim doctor``."""

from __future__ import annotations

import argparse

from neurosim.cli.common import Parsers, add_json, command
from neurosim.cli.output import paint, result, result_json, table

_COLOURS = {"ok": "green", "note": "yellow", "fault": "red"}


def add(commands: Parsers) -> None:
    """Declare the command."""
    add_json(command(commands, "doctor", run, "what is installed, which devices there are, and what does not fit", ["neurosim doctor"]))


def run(args: argparse.Namespace) -> int:
    """Print every check; 1 if something is at fault."""
    from neurosim.doctor import examine

    checks = examine()
    if args.json:
        result_json([check._asdict() for check in checks])
    else:
        width = max(len(state) for state in _COLOURS)
        rows = table([(check.state.ljust(width), check.name, check.text) for check in checks]).splitlines()
        result(
            "\n".join(paint(check.state, _COLOURS[check.state]) + row[len(check.state) :] for check, row in zip(checks, rows, strict=True))
        )
    return int(any(check.state == "fault" for check in checks))
