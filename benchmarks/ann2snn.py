"""Accuracy against time steps of converted networks: every method of ``to_spiking``, beside SpikingJelly's recipes on the same weights.

    python benchmarks/ann2snn.py mnist mnist5k.h5 --epochs 8 --seeds 3
    python benchmarks/ann2snn.py cifar cifar10.h5 --epochs 8 --train 20000 --test 2000 --weights FOLDER

Trains a CNN (MNIST) or a small VGG (CIFAR-10) with ReLU and one with QCFS activations, converts each, and prints one row a method and one
column a number of steps; accuracies are means over the seeds. Rows of SpikingJelly appear where it is installed, and then a second table:
the default of ``to_spiking`` less each of them, image by image.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

import neurosim as ns
from neurosim.convert.spiking_report import output_over_time
from neurosim.convert.spiking_scale import Scaling
from neurosim.convert.spiking_start import Start

STEPS = (1, 2, 4, 8, 16, 32)
DEFAULT = "ours: rate, as by default"
COMPARED = (8, 16, 32)  #: numbers of steps at which the default is compared with the others
Rows = dict[str, dict[int, Tensor]]  #: by method and steps: which images are right, 1 or 0, or in which share of the seeds
Samples = tuple[Tensor, Tensor]


def main() -> None:
    """Train, convert, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["mnist", "cifar"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train", type=int, default=None, help="training samples")
    parser.add_argument("--test", type=int, default=None, help="test samples")
    parser.add_argument("--calibrate", type=int, default=512, help="calibration samples, of the training set")
    parser.add_argument("--seeds", type=int, default=1, help="networks that are trained and averaged")
    parser.add_argument("--weights", type=Path, default=None, help="folder of trained networks: what is there is read, the rest is written")
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    train, test = load(chosen.data, {"train": chosen.train, "test": chosen.test})
    calibration = cut(train, chosen.calibrate)
    tests = list(zip(test[0].split(125), test[1].split(125), strict=True))
    found: list[Rows] = []
    for seed in range(chosen.seeds):
        relu, trained = networks(chosen, seed, train, calibration)
        digital = {"digital, ReLU": right(relu, tests), "digital, QCFS with 8 levels": right(trained, tests)}
        rows: Rows = {name: dict.fromkeys(STEPS, each) for name, each in digital.items()}
        found.append(rows | ours(relu, trained, calibration, tests) | peers(relu, calibration, tests))
    mean = {name: {steps: torch.stack([one[name][steps] for one in found]).mean(0) for steps in STEPS} for name in found[0]}
    show(mean)
    compare(mean)
    if chosen.json:
        chosen.json.write_text(json.dumps({name: {t: float(row[t].mean()) for t in row} for name, row in mean.items()}, indent=1))


def networks(chosen: argparse.Namespace, seed: int, train: Samples, calibration: Samples) -> tuple[nn.Module, nn.Module]:
    """One with ReLU and one with QCFS activations: trained, or read from the file of an earlier run with the same settings."""
    torch.manual_seed(seed)
    relu = network(chosen.task, train[0].shape[1:])
    path = None if chosen.weights is None else chosen.weights / f"{chosen.task}-{seed}.safetensors"
    said = {name: str(getattr(chosen, name)) for name in ("task", "epochs", "train", "calibrate")} | {"seed": str(seed)}
    if path is not None and path.exists():
        with safe_open(path, "pt") as file:
            if file.metadata() != said:
                raise SystemExit(f"{path} was trained with {file.metadata()}, asked is {said}")
            names = file.keys()
            held = {name: file.get_tensor(name) for name in names}
        trained = ns.to_qcfs(relu, 8)
        for prefix, model in (("relu.", relu), ("qcfs.", trained)):
            model.load_state_dict({name.removeprefix(prefix): value for name, value in held.items() if name.startswith(prefix)})
        return relu.eval(), trained.eval()
    relu = fit(relu, train, chosen.epochs, seed)
    trained = fit(ns.to_qcfs(relu, 8, calibration=[calibration]), train, max(1, chosen.epochs // 2), seed + 1, rate=0.02)
    if path is not None:
        held = {f"relu.{name}": value for name, value in relu.state_dict().items()}
        held |= {f"qcfs.{name}": value for name, value in trained.state_dict().items()}
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(held, path, metadata=said)
    return relu, trained


def load(path: Path, limits: dict[str, int | None]) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Training and test images in 0 … 1, and labels, from an HDF5 file of images (docs/config.md, data.kind hdf5_images)."""
    limit = {split: count for split, count in limits.items() if count is not None} or None
    data = ns.load_dataset("hdf5_images", path=str(path), limit=limit)
    return (data.train.images.float() / 255, data.train.labels), (data.test.images.float() / 255, data.test.labels)


def cut(samples: tuple[Tensor, Tensor], count: int | None) -> tuple[Tensor, Tensor]:
    """The first of them."""
    return samples[0][:count], samples[1][:count]


def network(task: str, shape: torch.Size) -> nn.Module:
    """A CNN with batch norm; average pooling, so that every method converts it exactly."""
    channels = (16, 32) if task == "mnist" else (16, 32, 64)
    layers: list[nn.Module] = []
    features, side = shape[0], shape[1]
    for width in channels:
        for _ in range(1 if task == "mnist" else 2):
            layers += [nn.Conv2d(features, width, 3, padding=1, bias=False), nn.BatchNorm2d(width), nn.ReLU()]
            features = width
        layers.append(nn.AvgPool2d(2))
        side //= 2
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(features * side * side, 128), nn.ReLU(), nn.Linear(128, 10))


def fit(model: nn.Module, train: tuple[Tensor, Tensor], epochs: int, seed: int, rate: float = 0.05) -> nn.Module:
    """SGD with momentum under a cosine."""
    x, y = train
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=0.9, weight_decay=5e-4, nesterov=True)
    batches = len(x) // 64
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs * batches)
    model.train()
    with tqdm(total=epochs * batches, desc="training", leave=False) as bar:
        for epoch in range(epochs):
            order = ns.random.permutation(ns.random.stream(seed, "order", draw=epoch), len(x))
            for at in order.split(64)[:batches]:
                optimizer.zero_grad()
                cross_entropy(model(x[at]), y[at]).backward()
                optimizer.step()
                schedule.step()
                bar.update()
    return model.eval()


@torch.no_grad()
def right(model: Callable[[Tensor], Tensor], tests: list[Samples]) -> Tensor:
    """Which of the samples are right, 1 or 0."""
    return torch.cat([(model(x).argmax(1) == y).double() for x, y in tests])


def over_time(model: ns.nn.SpikingNetwork, tests: list[Samples]) -> dict[int, Tensor]:
    """Which samples are right by the number of steps, from one run over the longest."""
    with torch.no_grad():
        found = [output_over_time(model, x, STEPS[-1]).argmax(-1) == y for x, y in tests]
    return {steps: torch.cat([one[steps - 1] for one in found]).double() for steps in STEPS}


def ours(relu: nn.Module, trained: nn.Module, calibration: Samples, tests: list[Samples]) -> Rows:
    """Methods and settings; what is chosen for a number of steps is converted for each."""

    batches = list(zip(calibration[0].split(128), calibration[1].split(128), strict=True))

    def rate(steps: int, scaling: Scaling, v_init: Start, by_channel: bool = True) -> ns.nn.SpikingNetwork:
        return ns.to_spiking(relu, time_steps=steps, calibration=batches, scaling=scaling, v_init=v_init, by_channel=by_channel)

    each: dict[str, tuple[Scaling, Start]] = {
        DEFAULT: ("mse", "calibrated"),
        "ours: rate, v_init=0.5": ("mse", 0.5),
        "ours: rate, 99.9%": (99.9, "calibrated"),
    }
    rows = {name: {steps: right(rate(steps, *setting), tests) for steps in STEPS} for name, setting in each.items()}
    fixed: dict[str, tuple[Scaling, bool]] = {
        "ours: rate, 99.9%, v_init=0.5": (99.9, True),
        "ours: rate, 99.9%, by layer, v_init=0.5": (99.9, False),
        "ours: rate, max, v_init=0.5": ("max", True),
    }
    rows |= {name: over_time(rate(STEPS[-1], scaling, 0.5, channels), tests) for name, (scaling, channels) in fixed.items()}
    rows["ours: qcfs, trained"] = over_time(ns.to_spiking(trained, time_steps=STEPS[-1], method="qcfs"), tests)
    return rows


def peers(relu: nn.Module, calibration: Samples, tests: list[Samples]) -> Rows:
    """SpikingJelly's recipes for convolutional networks; its own converter, its own neurons, logits averaged over time."""
    try:
        from spikingjelly.activation_based import ann2snn, functional
    except ImportError:
        print("SpikingJelly is not installed: its rows are left out", file=sys.stderr)
        return {}
    batches = list(zip(calibration[0].split(32), calibration[1].split(32), strict=True))
    recipes = {
        "max": ann2snn.RateCodingRecipe([calibration], mode="max"),
        "99.9%": ann2snn.RateCodingRecipe([calibration], mode="99.9%"),
        "99.9%, by channel": ann2snn.RateCodingRecipe([calibration], mode="99.9%", channel_wise=True),
        "99.9%, by channel, half": ann2snn.RateCodingRecipe([calibration], mode="99.9%", channel_wise=True, half_threshold=True),
        "max, by channel, half": ann2snn.RateCodingRecipe([calibration], mode="max", channel_wise=True, half_threshold=True),
        "local balancing": ann2snn.LocalThresholdBalancingRecipe(batches * 8),  # its thresholds move once a batch
    }
    rows: Rows = {}
    for name, recipe in recipes.items():
        converted = ann2snn.Converter(recipe).convert(relu).eval()
        found: dict[int, list[Tensor]] = {steps: [] for steps in STEPS}
        for x, y in tqdm(tests, f"SpikingJelly: {name}", leave=False):
            functional.reset_net(converted)
            total = torch.zeros(())
            with torch.no_grad():
                for step in range(1, STEPS[-1] + 1):
                    total = total + converted(x)
                    if step in found:
                        found[step].append(total.argmax(1) == y)
        rows[f"SpikingJelly: {name}"] = {steps: torch.cat(parts).double() for steps, parts in found.items()}
    return rows


def show(rows: Rows) -> None:
    """Accuracies in percent, as a Markdown table."""
    print("| accuracy, % | " + " | ".join(f"T = {steps}" for steps in STEPS) + " |\n|---|" + "---:|" * len(STEPS))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{100 * float(row[steps].mean()):.2f}" for steps in STEPS) + " |")


def compare(rows: Rows) -> None:
    """The default less every row of SpikingJelly, in percentage points with the standard error of the paired difference.

    With one seed this is McNemar's comparison: of n images, b right only with the one and c only with the other, the difference is
    (b - c) / n and its variance (b + c - (b - c)^2 / n) / n^2.
    """
    theirs = [name for name in rows if name.startswith("SpikingJelly")]
    if not theirs:
        return
    print(f"\n| {DEFAULT} less | " + " | ".join(f"T = {steps}" for steps in COMPARED) + " |\n|---|" + "---:|" * len(COMPARED))
    for name in theirs:
        cells = []
        for steps in COMPARED:
            difference = rows[DEFAULT][steps] - rows[name][steps]
            error = float(difference.std(correction=0)) / math.sqrt(len(difference))
            cells.append(f"{100 * float(difference.mean()):+.2f} ± {100 * error:.2f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
