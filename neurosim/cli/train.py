"""``neurosim train``."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

import neurosim as ns
from neurosim.cli import runs
from neurosim.cli.common import Parsers, add_json, add_plugin, add_set, command, load_plugins, plugin_options
from neurosim.cli.output import note, pairs, result, result_json

_NEWEST = "(newest)"
_EXAMPLES = (
    "neurosim train pkg:analogvnn/digits_mlp.yaml",
    "neurosim train my.yaml --set train.epochs=3 --set hardware.seed=5",
    "neurosim train my.yaml --plugin my_model.py        your own model, data set or stage",
    "neurosim train my.yaml --resume                    go on with the newest unfinished run of this config",
    "neurosim train --resume runs/my/20260101-120000    go on with that run",
)


def add(commands: Parsers) -> None:
    """Declare the command."""
    parser = command(commands, "train", run, "train what a config describes", _EXAMPLES)
    parser.add_argument("config", nargs="?", metavar="CONFIG", help="a YAML file, or pkg:NAME for one that comes with the package")
    add_set(parser)
    add_plugin(parser)
    parser.add_argument(
        "--resume", nargs="?", const=_NEWEST, metavar="RUN", help="go on with a run that was stopped; without RUN the newest of CONFIG"
    )
    parser.add_argument("--recipe", metavar="FILE.py", help="your own training program instead of the one the config names")
    add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Train; print where the run is and what it reached."""
    load_plugins(args.plugin)
    config, resume = args.config, args.resume
    if resume is not None and config is None and Path(resume).is_file():
        config, resume = resume, _NEWEST  # `--resume CONFIG`: the parser cannot tell it from `--resume RUN`
    if resume == _NEWEST:
        if config is None:
            raise ns.ConfigError("train: --resume without a run needs the config whose newest run is meant, got none")
        resume = runs.newest(ns.load_config(config, args.overrides), finished=False)
        note(f"going on with {resume}")
    plugins = plugin_options(args.plugin)
    try:
        done = ns.train(config, overrides=args.overrides, resume=resume, recipe=args.recipe)
    except ns.Interrupted as stop:
        raise ns.Interrupted(stop.signum, shlex.join([*shlex.split(stop.resume_command), *plugins])) from None
    if args.json:
        result_json({"run": done.path, "metrics": done.metrics})
    else:
        result(pairs({"run": done.path, **done.metrics}))
        note(f"next: {shlex.join(['neurosim', 'sensitivity', str(done.path), *plugins])}")
    return 0
