"""``neurosim demo``: the main job, end to end."""

from __future__ import annotations

import argparse
from pathlib import Path

import neurosim as ns
from neurosim.cli import runs
from neurosim.cli.common import Parsers, add_set, command
from neurosim.cli.output import note, result
from neurosim.cli.sensitivity import one_chip_again, plan_of, study

CONFIG = "pkg:analogvnn/digits_mlp.yaml"
_MORE = f"""\
Trains the three-layer photonic network of {CONFIG} on real digits, through its noise; trains the same network
digitally; studies both on the same simulated chips; and writes one report that compares them. Takes about three minutes on two cores."""


def add(commands: Parsers) -> None:
    """Declare the command."""
    parser = command(commands, "demo", run, "the main job, end to end, in about three minutes", ["neurosim demo"], _MORE)
    add_set(parser)


def run(args: argparse.Namespace) -> int:
    """Train both, study both, write the report."""
    config = ns.load_config(CONFIG, args.overrides)
    plan = plan_of(config)
    note(f"1/4 training {config.name} through the noise of {config.hardware.profile if config.hardware else 'no hardware'}")
    photonic = ns.train(config)
    note(f"2/4 training its digital twin\n    {photonic.path}")
    digital = ns.train(config.model_copy(update={"name": f"{config.name}_digital", "hardware": None}))
    note(f"3/4 studying the photonic network over {plan.chips} chips\n    {digital.path}")
    out = photonic.path / "sensitivity"
    first = study(_trained(config, photonic.path), plan, out, command=args.command_line, rerun=_rerun(args, photonic.path))
    note("4/4 studying the digital twin on the same chips")
    beside = digital.path / "sensitivity"
    second = study(_trained(config, digital.path), plan, beside, command=args.command_line, rerun=_rerun(args, digital.path))
    report = ns.Report(first.results, compare={"digitally trained": second.results})
    report.save(out)
    result(str(report))
    result(f"\nreport: {(out / 'report.html').resolve()}")
    return 0


def _trained(config: ns.RunConfig, run: Path) -> runs.Trained:
    return runs.Trained(config, run / "best" / "weights.safetensors", run)


def _rerun(args: argparse.Namespace, run: Path) -> str:
    return one_chip_again(CONFIG, str(run), args.overrides, [])
