"""Chips per second: many chips in one call, ``ns.chips``, beside a Python loop over chips of the same model.

    python benchmarks/chips.py                          # a few minutes; every setting
    python benchmarks/chips.py --models mlp --chips 25
    python benchmarks/chips.py --profile all --batch 8 --batches 1 --chips 8

One process, interleaved rounds, medians. First every setting is checked to give the same outputs. The loops:

- *loop*: for every chip ``ns.program``, then all batches.
- *loop, kept*: the same within ``ns.keep_weights``, as studies evaluate chips.

*with building* counts ``ns.chips`` as well, *stack* the calls alone: those of every evaluation but the first, while a loop has to program
its chips again. Ratios are to the loops.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from measure import interleaved, machine
from torch import Tensor, nn

import neurosim as ns
from neurosim.atomicfile import write_text
from neurosim.hardware.profile import list_profiles, load_profile
from neurosim.training import seeded

ONCE: dict[str, Any] = {"weight.noise.scope": "device", "bias.noise.scope": "device"}
#: profile and overrides
DEVICES: dict[str, tuple[str, dict[str, Any]]] = {
    "weights written for each batch": ("photonic_avnn", {}),
    "weights written once": ("photonic_avnn", ONCE),
    "weights written once, no noise of signals": ("photonic_avnn", ONCE | {"input.noise": None, "output.noise": None}),
}
PROFILES = [name for name in list_profiles() if load_profile(name).neuron is None]
FLIPS = 0.01  #: share of outputs that may differ behind converters
FAR = 1e-5  #: of the largest output: beyond what the order of sums does


def networks() -> dict[str, tuple[nn.Module, tuple[int, ...]]]:
    """The digital models, and the shape of their inputs."""
    with seeded(0):
        return {
            "mlp": (ns.models.mlp([784, 256, 128, 10]), (1, 28, 28)),
            "cnn": (ns.models.cnn([1, 28, 28], [16, 32], [64], 10), (1, 28, 28)),
        }


def check(model: nn.Module, stack: ns.ChipStack, x: Tensor) -> float:
    """The share of outputs that differ from those of chips one by one; ends the program if it is too large."""
    rows = []
    for seed in stack.seeds:
        chip = copy.deepcopy(model)
        ns.program(chip, seed)
        rows.append(chip(x))
    expected = torch.stack(rows)
    share = float(((stack(x) - expected).abs() > FAR * expected.abs().max()).float().mean())
    if share > FLIPS:
        raise SystemExit(f"{share:.1%} of the outputs differ; times would compare different work")
    return share


def measure(model: nn.Module, batches: list[Tensor], chips: int, seconds: float) -> dict[str, float]:
    """Median seconds of every variant."""
    stack = ns.chips(model, chips)

    def loop() -> None:
        for seed in stack.seeds:
            ns.program(model, seed)
            for x in batches:
                model(x)

    def kept() -> None:
        with ns.keep_weights(model):
            loop()

    def build() -> None:
        fresh = ns.chips(model, chips)
        for x in batches:
            fresh(x)

    variants: dict[str, Callable[[], object]] = {
        "loop": loop,
        "loop, kept": kept,
        "with building": build,
        "stack": lambda: [stack(x) for x in batches],
    }
    return interleaved(variants, seconds=seconds, rounds=30, title="chips")


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["mlp", "cnn"], choices=["mlp", "cnn"])
    parser.add_argument("--profile", nargs="+", choices=[*PROFILES, "all"], help="profiles as they are, in place of the three settings")
    parser.add_argument("--chips", type=int, default=16)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32, 128])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--seconds", type=float, default=6.0, help="for each setting; five rounds at least")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.set_grad_enabled(False)
    chosen = PROFILES if "all" in (args.profile or ()) else args.profile
    devices = {name: (name, {}) for name in chosen} if chosen else DEVICES
    found: dict[str, Any] = {"command": " ".join(sys.argv), "machine": machine(), "rows": []}
    print(f"{found['machine']}; {args.chips} chips, chips per second; command: {found['command']}\n")
    print("| model | device | batches | loop | loop, kept | with building | stack | with building / kept | stack / loop | stack / kept |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for name, (digital, shape) in networks().items():
        for device, (profile, changes) in devices.items() if name in args.models else ():
            model = ns.to_analog(digital, profile, seed=0, overrides={"*": changes}).to(args.device).eval()
            for size in args.batch:
                inputs = [torch.rand(size, *shape, device=args.device) for _ in range(max(args.batches))]
                differ = check(model, ns.chips(model, args.chips), inputs[0])
                for count in args.batches:
                    times = measure(model, inputs[:count], args.chips, args.seconds)
                    speed = {variant: args.chips / seconds for variant, seconds in times.items()}
                    pairs = (("with building", "loop, kept"), ("stack", "loop"), ("stack", "loop, kept"))
                    cells = [*(f"{value:.0f}" for value in speed.values()), *(f"{speed[one] / speed[other]:.2f}" for one, other in pairs)]
                    print(f"| {name} | {device} | {count} × {size} | {' | '.join(cells)} |", flush=True)
                    found["rows"].append({"model": name, "device": device, "batch": size, "batches": count, "differ": differ} | speed)
    if args.out:
        write_text(args.out, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
