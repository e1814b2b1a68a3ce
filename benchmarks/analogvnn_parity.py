"""The accuracy of AnalogVNN's sample network beside that of ours, over seeds. Times are in ``analog_step.py``.

    python benchmarks/analogvnn_parity.py mnist5k.h5

The file holds 28 × 28 images as ``data.kind: hdf5_images`` reads them. AnalogVNN comes with the ``test`` extra. For each seed both
networks start from the same weights and see the same batches: an unlucky start leaves some of the ten outputs dead behind the last ReLU
and costs ten points each, in both. Accuracies are given with 95 % intervals over seeds (Student t), their difference with Welch's, which
does not use the pairing, and with the paired one, which does.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import itertools
import json
import platform
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from scipy import stats
from torch import Tensor, nn
from tqdm import tqdm

import neurosim as ns
from neurosim.atomicfile import write_text
from neurosim.random import permutation, stream
from neurosim.training import seeded

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns about the style of its own docstrings
    from analogvnn.nn.activation.ReLU import ReLU
    from analogvnn.nn.Linear import Linear
    from analogvnn.nn.module.FullSequential import FullSequential
    from analogvnn.nn.noise.GaussianNoise import GaussianNoise
    from analogvnn.nn.normalize.Clamp import Clamp
    from analogvnn.nn.precision.ReducePrecision import ReducePrecision
    from analogvnn.parameter.PseudoParameter import PseudoParameter

CONFIG = "pkg:analogvnn/mnist5k_mlp.yaml"
SIZES = [784, 256, 128, 10]
SETTINGS = [(16, 0.5), (64, 0.2), (4, 0.5)]  # precision, leakage
EPOCHS, BATCH = 8, 128


def peer_network(precision: int, leakage: float) -> Any:
    """The network of AnalogVNN's sample program: each layer between converters and noise, weights through the same transform."""

    def noise() -> Any:
        return GaussianNoise(leakage=leakage, precision=precision)

    def converter() -> Any:
        return ReducePrecision(precision=precision)

    parts: list[nn.Module] = [nn.Flatten(start_dim=1)]
    for inputs, outputs in itertools.pairwise(SIZES):
        layer = Linear(in_features=inputs, out_features=outputs)
        ReLU.initialise_(layer.weight)
        parts += [Clamp(), converter(), noise(), layer, noise(), Clamp(), converter(), ReLU()]
    return _compiled(parts, nn.Sequential(Clamp(), converter(), noise()))


def peer_chain(digital: nn.Module) -> Any:
    """A digital network, its weights too, with converters of 8 bits around each product, and noise of 0.02 on weights and outputs.

    Linear layers and ReLU become AnalogVNN's. It has no convolution of its own: torch's stands in its graph, with its noise on the weights.
    """

    def noise() -> Any:
        return GaussianNoise(std=0.02, precision=127)

    parts: list[nn.Module] = []
    for layer in digital.children():
        if isinstance(layer, nn.Linear | nn.Conv2d):
            own: Any = copy.deepcopy(layer)
            if isinstance(layer, nn.Linear):
                own = Linear(in_features=layer.in_features, out_features=layer.out_features)
                own.load_state_dict(layer.state_dict())
            parts += [ReducePrecision(precision=127), own, noise(), ReducePrecision(precision=16)]
        else:
            parts.append(ReLU() if isinstance(layer, nn.ReLU) else copy.deepcopy(layer))
    return _compiled(parts, nn.Sequential(noise()))


def silent(model: Any) -> Any:
    """The same network without noise."""
    for part in model.modules():
        if isinstance(part, GaussianNoise):
            part.std.zero_()
    return model


def _compiled(parts: list[nn.Module], transform: nn.Module) -> Any:
    model = FullSequential()
    model.add_sequence(*parts)
    transform.eval()
    for part in parts:
        if isinstance(part, Linear | nn.Conv2d):
            PseudoParameter.parametrize_module(part, transformation=transform)
    model.compile(device=torch.device("cpu"))
    model.loss_function = nn.CrossEntropyLoss()
    model.accuracy_function = lambda output, target: (output.argmax(1) == target).float().mean().item()
    model.optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    return model


def peer_step(model: Any, x: Tensor, y: Tensor) -> None:
    """One training step as its own ``train_on`` makes it."""
    model.zero_grad()
    model.optimizer.zero_grad()
    model.loss(model(x), y)
    model.backward()
    model.optimizer.step()


def set_peer_weights(model: Any, weights: dict[str, Tensor]) -> None:
    """Start the peer from the weights ``fc1.weight``, … of the digital network."""
    layers = [part for part in model.modules() if isinstance(part, Linear)]
    with torch.no_grad():
        for at, layer in enumerate(layers, 1):
            layer.parametrizations.weight.original.copy_(weights[f"fc{at}.weight"])
            layer.parametrizations.bias.original.copy_(weights[f"fc{at}.bias"])


def first_weights(seed: int) -> dict[str, Tensor]:
    """The weights that both start from."""
    with seeded(seed):
        return ns.models.mlp(SIZES, init="kaiming").state_dict()


def peer_accuracy(precision: int, leakage: float, seed: int, data: ns.Dataset) -> float:
    """Train the peer and test it, noise on, on the data order of this package."""
    with seeded(seed):
        model = peer_network(precision, leakage)
        set_peer_weights(model, first_weights(seed))
        model.train()
        for epoch in range(EPOCHS):
            order = permutation(stream(seed, "data", "order", draw=epoch), len(data.train.labels))
            for x, y in ns.datasets.batches(data.train, BATCH, order=order):
                peer_step(model, x, y)
        model.eval()
        with torch.no_grad():
            hits = [(model(x).argmax(1) == y).float() for x, y in ns.datasets.batches(data.test, BATCH)]
    return torch.cat(hits).mean().item()


def our_overrides(precision: int, leakage: float) -> dict[str, Any]:
    """The chain of the profile at another precision and leakage."""
    return {"*.levels": 2 * precision + 1, "*.noise.precision": precision, "*.noise.leakage": leakage}


def our_accuracy(precision: int, leakage: float, seed: int, path: Path, folder: str) -> float:
    """Train ours from its config and test it, noise on."""
    start = Path(folder) / f"first-{seed}.safetensors"
    save_file(first_weights(seed), start)
    chain = json.dumps({"*": our_overrides(precision, leakage)})
    changes = {
        "data.path": path,
        "seed": seed,
        "hardware.seed": seed,
        "hardware.overrides": chain,
        "model.init_from": start,
        "log.dir": folder,
    }
    return float(ns.train(CONFIG, overrides=[f"{key}={value}" for key, value in changes.items()]).metrics["test_accuracy"])


def mean_interval(values: list[float]) -> tuple[float, float, float]:
    """Mean and its 95 % t interval."""
    mean, error = float(np.mean(values)), float(stats.sem(values))
    half = float(stats.t.ppf(0.975, len(values) - 1)) * error
    return mean, mean - half, mean + half


def accuracies(path: Path, seeds: int) -> list[dict[str, Any]]:
    """One row a setting, both networks over all seeds."""
    data = ns.load_dataset("hdf5_images", path=path)
    rows = []
    with tempfile.TemporaryDirectory() as folder, tqdm(total=2 * seeds * len(SETTINGS), desc="accuracy", unit="run") as bar:
        for precision, leakage in SETTINGS:
            ours, theirs = [], []
            for seed in range(seeds):
                with quiet():
                    ours.append(our_accuracy(precision, leakage, seed, path, folder))
                bar.update()
                theirs.append(peer_accuracy(precision, leakage, seed, data))
                bar.update()
            welch = stats.ttest_ind(ours, theirs, equal_var=False).confidence_interval(0.95)
            paired = mean_interval([a - b for a, b in zip(ours, theirs, strict=True)])
            row = {
                "precision": precision,
                "leakage": leakage,
                "ours": ours,
                "peer": theirs,
                "welch": [float(end) for end in welch],
                "paired": paired,
            }
            rows.append(row)
    return rows


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing on the terminal but this program's own bar."""
    with open("/dev/null", "w") as sink, contextlib.redirect_stderr(sink), contextlib.redirect_stdout(sink):
        yield


def main() -> None:
    """Measure, print, and write JSON where asked."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="HDF5 file of 28 × 28 images with train and test split")
    parser.add_argument("--seeds", type=int, default=5, choices=range(2, 101), metavar="N")
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    args = parser.parse_args()
    warnings.filterwarnings("ignore", module="analogvnn")
    warnings.filterwarnings("ignore", message="__array_wrap__|To copy construct")  # what its code does to numpy and torch
    torch.set_num_threads(1)
    found: dict[str, Any] = {"torch": torch.__version__, "machine": platform.processor() or platform.machine()}
    print(f"torch {found['torch']}, {found['machine']}; command: {' '.join(sys.argv)}")
    found["accuracy"] = accuracies(args.data.resolve(), args.seeds)
    print(f"\ntest accuracy after {EPOCHS} epochs, {args.seeds} seeds, mean [95 % interval]")
    print("   p     L   neurosim               AnalogVNN              difference [Welch]        [paired]        agree")
    for row in found["accuracy"]:
        ours, theirs = mean_interval(row["ours"]), mean_interval(row["peer"])
        cells = "   ".join(f"{100 * mean:5.1f} % [{100 * a:5.1f}, {100 * b:5.1f}]" for mean, a, b in (ours, theirs))
        (low, high), (gap, paired_low, paired_high) = row["welch"], row["paired"]
        ends = f"{100 * gap:+5.1f} points [{100 * low:+5.1f}, {100 * high:+5.1f}]  [{100 * paired_low:+5.1f}, {100 * paired_high:+5.1f}]"
        print(f"{row['precision']:4d}  {row['leakage']:4.1f}   {cells}   {ends}   {'yes' if low <= 0 <= high else 'NO'}")
    if args.out:
        write_text(args.out, json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
