"""Steps on simulated hardware: ours with and without kernels, AnalogVNN's, and the digital ones.

    python benchmarks/analog_step.py

One process, interleaved steps, medians, as ratios to the digital step. AnalogVNN is in the ``test`` extra.

- *Sample network*: a training step (forward, loss, backward and Adam) of the photonic network of AnalogVNN's sample program, with noise on
  inputs, weights, biases and outputs. First the networks without noise are checked to give the same outputs bit for bit.
- *Full chain*: input converter of 8 bits, noise of weights, noise of outputs, output converter of 8 bits; a training step, and an
  evaluation, where weights that are written once are kept (``ns.keep_weights``). AnalogVNN's networks have the same stages, of the CNN
  with torch's convolutions in its graph. What is timed has not the same values: its converters have steps and no ends, and its biases have
  noise and pass the converter, where ours are digital. So the networks are compared first with these two alike and without noise.
"""

from __future__ import annotations

import argparse
import copy
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
from analogvnn_parity import SIZES, first_weights, peer_chain, peer_network, peer_step, set_peer_weights, silent
from torch import Tensor, nn
from tqdm import tqdm

import neurosim as ns
from neurosim.atomicfile import write_text
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile
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
    peer = silent(peer_network(16, 1e-300))
    set_peer_weights(peer, first_weights(0))
    digital = ns.models.mlp(SIZES, last_activation="relu")
    digital.load_state_dict(first_weights(0))
    model = ns.to_analog(digital, "photonic_avnn", seed=0)
    for mode in ("off", "require"):
        with implementation(mode), ns.noise("off", model):
            if not torch.equal(model(x), peer(x)):
                raise SystemExit(f"NEUROSIM_NATIVE={mode}: the networks without noise differ; times would compare different work")


def check_chains_equal(name: str, digital: nn.Module, batch: int) -> None:
    """With converters that have the peer's steps and no ends, biases in the product and no noise, both give the same values."""
    x, _ = images(batch)
    endless = {"rounding": "half_to_zero", "clip": "none"}
    chain = {"input": {"dac": EIGHT_BITS | endless}, "bias": {}, "output": {"adc": WIDE | endless | {"levels": 257}}}
    model = ns.to_analog(digital, Profile("alike", "the peer's converters", "any", ChainSpec.model_validate(chain)), seed=0)
    peer = silent(peer_chain(digital))
    with torch.no_grad():
        for mode in ("off", "require"):
            with implementation(mode):
                if not torch.equal(model(x), peer(x)):
                    raise SystemExit(
                        f"NEUROSIM_NATIVE={mode}: the {name} without noise differs from AnalogVNN's; times would compare different work"
                    )


def steps(batch: int) -> dict[str, Step]:
    """One training step of every variant, on one batch of random images."""
    x, y = images(batch)

    def torch_step(model: nn.Module, mode: str) -> Step:
        run = training_step(model, x, y)

        def step() -> None:
            with implementation(mode):
                run()

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


NOISE: dict[str, Any] = {"kind": "noise", "distribution": "gaussian", "scale": 0.02}
EIGHT_BITS: dict[str, Any] = {"kind": "quantize", "levels": 255, "low": -1.0, "high": 1.0}
WIDE: dict[str, Any] = EIGHT_BITS | {"low": -8.0, "high": 8.0}
CHAIN: dict[str, Any] = {
    "input": {"dac": EIGHT_BITS},
    "weight": {"noise": NOISE | {"scope": "batch"}},
    "output": {"noise": NOISE, "adc": WIDE},
}
#: ratios to the digital step that aihwkit 1.2 showed for the MLP at batch 128, on another day and another machine
AIHWKIT = {"train": {"its C++ tile": 8.6, "its torch tile": 4.0}, "evaluate": {"its C++ tile": 27.0, "its torch tile": 9.0}}


def chain_steps(name: str, batch: int) -> dict[str, dict[str, Step]]:
    """A training step and an evaluation of every variant with the full chain."""
    x, y = images(batch)
    with seeded(0):
        digital = {"MLP": lambda: ns.models.mlp(SIZES), "CNN": lambda: ns.models.cnn([1, 28, 28], [16, 32], [64], 10)}[name]()
    profile = Profile("full chain", "both converters, noise of weights and outputs", "any", ChainSpec.model_validate(CHAIN))
    models = {"digital": digital, "neurosim": ns.to_analog(digital, profile, seed=0)}
    once = ns.to_analog(digital, profile, seed=0, overrides={"*": {"weight.noise.scope": "device"}})
    train, evaluate = {}, {}
    for variant, model in models.items():
        train[variant] = training_step(model, x, y)
        evaluate[variant] = evaluation(copy.deepcopy(model), x)
    evaluate["neurosim, weights written once"] = evaluation(once, x, keep=True)
    check_chains_equal(name, digital, batch)
    peer = peer_chain(digital)
    train["AnalogVNN"] = lambda: peer_step(peer, x, y)
    evaluate["AnalogVNN"] = evaluation(peer_chain(digital), x)
    return {"train": train, "evaluate": evaluate}


def training_step(model: nn.Module, x: Tensor, y: Tensor) -> Step:
    """Forward, loss, backward and Adam."""
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step() -> None:
        optimiser.zero_grad()
        loss: Any = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimiser.step()

    return step


def evaluation(model: nn.Module, x: Tensor, keep: bool = False) -> Step:
    """A forward without gradients; ``keep`` what the arrays hold for all of them."""
    model.eval()
    for module in model.modules():
        if keep and isinstance(module, ns.nn.AnalogChain):
            module.kept = {}  # what ns.keep_weights does for a block

    def step() -> None:
        with torch.no_grad():
            model(x)

    return step


def step_times(variants: dict[str, Step], rounds: int, what: str) -> dict[str, float]:
    """Median seconds of each variant, interleaved."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for at in tqdm(range(rounds + 5), desc=what, unit="round"):
        for name, step in variants.items():
            start = time.perf_counter()
            step()
            if at >= 5:  # the first rounds warm up
                times[name].append(time.perf_counter() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def show(title: str, times: dict[str, float]) -> None:
    """Print ratios to the digital step."""
    print(f"\n{title}: digital {times['digital'] * 1e3:.2f} ms")
    for name, seconds in times.items():
        beside = f"   AnalogVNN takes {times['AnalogVNN'] / seconds:5.2f} × as long" if "AnalogVNN" in times else ""
        print(f"  {name:32s} {seconds / times['digital']:6.2f} × digital{beside}")


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
    found["step_seconds"] = {batch: step_times(steps(batch), args.rounds, f"sample network, batch {batch}") for batch in args.batches}
    for batch, times in found["step_seconds"].items():
        show(f"sample network, training step, batch {batch}", times)
    found["chain_seconds"] = {}
    for name in ("MLP", "CNN"):
        for what, variants in chain_steps(name, 128).items():
            title = f"full chain, {name}, {what}, batch 128"
            times = found["chain_seconds"][title] = step_times(variants, args.rounds, title)
            show(title, times)
            for tile, ratio in AIHWKIT[what].items() if name == "MLP" else ():
                print(f"  {'aihwkit, ' + tile:32s} {ratio:6.2f} × digital, as seen elsewhere: not measured here")
    if args.out:
        write_text(args.out, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
