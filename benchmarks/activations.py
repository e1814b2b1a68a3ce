"""Time per element of every activation, as a ratio to ``torch.nn.functional.relu`` on as many elements.

    python benchmarks/activations.py [--elements 1048576] [--rounds 15] [--backward] [--only NAME ...]

One process, one thread, float32, interleaved rounds, medians of the modules as they are made by default and in evaluation, without
gradients, or with ``--backward`` forward and backward. Curves and what mixes an axis get rows of 256 units; gates and units their inputs,
scores and attentions heads of 64 × 64 scores and 32 features, all of about as many elements. What is above 12 times is marked, with the
reason that the registry gives. ReLU itself is as fast as memory, and memory that a tensor gets for the first time is several times slower
than the other: at the default size curves get it, as those of large models do. ``torch.compile`` makes one pass of the many.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import neurosim as ns
from neurosim.activations import Curve
from neurosim.random import stream

Call = Callable[..., Tensor] | nn.Module
_UNITS = 256
#: settings that have no default
_NEEDED: dict[str, dict[str, int]] = {"smart_mixed": {"units": _UNITS}, "rbf": {"inputs": 16, "units": 16}}


def cases(elements: int) -> dict[str, tuple[Call, tuple[Tensor, ...]]]:
    """What is timed, and what it is called with."""
    x = stream(0, "benchmark").normal((elements // _UNITS, _UNITS), like=torch.empty(0))
    flat, heads = x.flatten(), elements // (64 * 64)
    scores = flat[: heads * 64 * 64].reshape(heads, 64, 64)
    queries = scores[..., :32].contiguous()
    inputs: dict[str, tuple[Tensor, ...]] = {
        "glu": (x.repeat(1, 2),),
        "rbf": (flat[: elements // 16].reshape(-1, 16),),
        "rela": (queries, queries.flip(0), queries.flip(1)),
        "gaussian_attention": (queries, queries.flip(0), queries.flip(1)),
        "sdm": (x, x[:, 0].abs(), x[:, 1].abs().clamp(max=1)),
    }
    found: dict[str, tuple[Call, tuple[Tensor, ...]]] = {"F.relu": (F.relu, (x,))}
    for name in ns.ACTIVATIONS:
        entry = ns.ACTIVATIONS[name]
        default = (flat,) if isinstance(entry, Curve) else (scores,) if entry.kind == "scores" else (x,)
        found[name] = (entry(**_NEEDED.get(name, {})).eval(), inputs.get(name, default))
    for name, settings in {"groupsort": {"group": 4}, "glu": {"gate": "silu"}, "smart_mixed": {"units": _UNITS}}.items():
        unit: Any = ns.ACTIVATIONS[name](**settings).eval()
        shown = ", ".join(str(value) for value in settings.values())
        if name == "smart_mixed":
            unit.get_parameter("logits").data.copy_(x[:_UNITS, :6])
            unit.freeze()
            shown = "frozen"
        found[f"{name} ({shown})"] = (unit, inputs.get(name, (x,)))
    return found


def seconds(call: Call, given: tuple[Tensor, ...], backward: bool) -> float:
    """One call, by the clock of the process."""
    places = [one.detach().requires_grad_(backward) for one in given]
    start = time.process_time()
    with torch.set_grad_enabled(backward):
        y = call(*places)
        if backward and y.requires_grad:
            y.sum().backward()
    return time.process_time() - start


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--elements", type=int, default=1 << 20)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--backward", action="store_true")
    parser.add_argument("--only", nargs="*", default=[], metavar="NAME")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found = {name: case for name, case in cases(args.elements).items() if not args.only or name in {"F.relu", *args.only}}
    times: dict[str, list[float]] = {name: [] for name in found}
    for call, given in found.values():
        seconds(call, given, args.backward)  # the first touches memory that is not there yet
    for _ in range(args.rounds):
        for name, (call, given) in found.items():
            times[name].append(seconds(call, given, args.backward))
    median = {name: statistics.median(every) for name, every in times.items()}
    print(f"torch.nn.functional.relu: {1e9 * median['F.relu'] / args.elements:.3f} ns per element")
    for name in sorted(median, key=lambda one: median[one]):
        ratio, plain = median[name] / median["F.relu"], name.split(" (")[0]
        reason = ns.ACTIVATIONS[plain].speed if plain in ns.ACTIVATIONS else ""
        print(f"{name:22s} {ratio:6.1f}{f'  above 12: {reason or chr(45)}' if ratio > 12 else ''}")


if __name__ == "__main__":
    main()
