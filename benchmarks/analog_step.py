"""A training step of the photonic network of AnalogVNN's sample program: ours with and without kernels, AnalogVNN's, and the digital one.

    python benchmarks/analog_step.py

One process, interleaved steps, medians, as ratios to the digital step: forward, loss, backward and Adam, with noise on inputs, weights,
biases and outputs. First the networks without noise are checked to give the same outputs bit for bit. AnalogVNN is in the ``test`` extra.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from analogvnn_parity import SIZES, first_weights, peer_network, peer_step, set_peer_weights
from torch import Tensor, nn
from tqdm import tqdm

import neurosim as ns
from neurosim.atomicfile import write_text
from neurosim.ops import native
from neurosim.training import seeded

Step = Callable[[], None]


@contextmanager
def implementation(mode: str) -> Iterator[None]:
    """Within it, ops run as ``NEUROSIM_NATIVE=mode`` says."""
    before = os.environ.get(native.VARIABLE)
    os.environ[native.VARIABLE] = mode
    try:
        yield
    finally:
        if before is None:
            del os.environ[native.VARIABLE]
        else:
            os.environ[native.VARIABLE] = before


def images(batch: int) -> tuple[Tensor, Tensor]:
    """Random images and their labels."""
    return torch.rand(batch, 1, 28, 28, generator=torch.Generator().manual_seed(0)), torch.arange(batch) % 10


def check_equal(batch: int) -> None:
    """Without noise, ours and the peer's network give the same bits from the same weights, with and without kernels."""
    x, _ = images(batch)
    peer = peer_network(16, 1e-300)
    for part in peer.modules():
        if type(part).__name__ == "GaussianNoise":
            part.std.zero_()
    set_peer_weights(peer, first_weights(0))
    digital = ns.models.mlp(SIZES, last_activation="relu")
    digital.load_state_dict(first_weights(0))
    model = ns.to_analog(digital, "photonic_avnn", seed=0)
    for mode in ("off", "require"):
        with implementation(mode), ns.noise("off", model):
            if not torch.equal(model(x), peer(x)):
                raise SystemExit(f"NEUROSIM_NATIVE={mode}: the networks without noise differ; times would compare different work")


def steps(batch: int) -> dict[str, Step]:
    """One training step of every variant, on one batch of random images."""
    x, y = images(batch)

    def torch_step(model: nn.Module, mode: str) -> Step:
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

        def step() -> None:
            with implementation(mode):
                optimiser.zero_grad()
                nn.functional.cross_entropy(model(x), y).backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
                optimiser.step()

        return step

    with seeded(0):
        digital = ns.models.mlp(SIZES, last_activation="relu", init="kaiming")
        peer = peer_network(16, 0.5)
    return {
        "digital": torch_step(digital, "auto"),
        "neurosim": torch_step(ns.to_analog(digital, "photonic_avnn", seed=0), "require"),
        "neurosim, reference": torch_step(ns.to_analog(digital, "photonic_avnn", seed=0), "off"),
        "AnalogVNN": lambda: peer_step(peer, x, y),
    }


def step_times(batch: int, rounds: int) -> dict[str, float]:
    """Median seconds of each variant, interleaved."""
    variants = steps(batch)
    times: dict[str, list[float]] = {name: [] for name in variants}
    for at in tqdm(range(rounds + 5), desc=f"step time, batch {batch}", unit="round"):
        for name, step in variants.items():
            start = time.perf_counter()
            step()
            if at >= 5:  # the first rounds warm up
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=100, help="timed steps of each variant")
    parser.add_argument("--batches", type=int, nargs="+", default=[128, 1024])
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="analogvnn")
    warnings.filterwarnings("ignore", message="__array_wrap__|To copy construct")  # what its code does to numpy and torch
    torch.set_num_threads(args.threads)
    found: dict[str, Any] = {
        "command": " ".join(sys.argv),
        "torch": torch.__version__,
        "threads": args.threads,
        "machine": platform.processor() or platform.machine(),
        "kernels": native.library().instruction_set,
    }
    print(
        f"torch {found['torch']}, {found['threads']} threads, {found['machine']}, kernels {found['kernels']}; command: {found['command']}"
    )
    check_equal(128)
    found["step_seconds"] = {batch: step_times(batch, args.rounds) for batch in args.batches}
    for batch, times in found["step_seconds"].items():
        print(f"\ntraining step, batch {batch}: digital {times['digital'] * 1e3:.2f} ms")
        for name, seconds in times.items():
            print(
                f"  {name:22s} {seconds / times['digital']:6.2f} × digital   AnalogVNN takes {times['AnalogVNN'] / seconds:5.2f} × as long"
            )
    if args.out:
        write_text(args.out, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
