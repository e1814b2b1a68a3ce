"""Accuracy against time steps of converted networks: every method of ``to_spiking``, beside SpikingJelly's recipes on the same weights.

    python benchmarks/ann2snn.py mnist mnist5k.h5 --epochs 12
    python benchmarks/ann2snn.py cifar cifar10.h5 --epochs 10 --train 10000 --test 1000

Trains a CNN (MNIST) or a small VGG (CIFAR-10) with ReLU and one with QCFS activations, converts each, and prints one row a method and one
column a number of steps. Rows of SpikingJelly appear where it is installed.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

import neurosim as ns

STEPS = (1, 2, 4, 8, 16, 32)
Rows = dict[str, dict[int, float]]


def main() -> None:
    """Train, convert, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["mnist", "cifar"])
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--train", type=int, default=None, help="training samples")
    parser.add_argument("--test", type=int, default=None, help="test samples")
    parser.add_argument("--calibrate", type=int, default=512, help="calibration samples, of the training set")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, default=None)
    chosen = parser.parse_args()
    train, test = load(chosen.data, {"train": chosen.train, "test": chosen.test})
    calibration = [cut(train, chosen.calibrate)]
    torch.manual_seed(chosen.seed)
    relu = fit(network(chosen.task, train[0].shape[1:]), train, chosen.epochs, chosen.seed)
    trained = fit(ns.to_qcfs(relu, 8, calibration=calibration), train, max(1, chosen.epochs // 2), chosen.seed + 1, rate=0.02)
    tests = [(x, y) for x, y in zip(test[0].split(250), test[1].split(250), strict=True)]
    digital = {"ReLU": accuracy(relu, tests), "QCFS, L = 8": accuracy(trained, tests)}
    rows = ours(relu, trained, calibration, tests) | peers(relu, calibration, tests)
    show(rows, digital)
    if chosen.json:
        chosen.json.write_text(json.dumps({"digital": digital, "rows": rows}, indent=1))


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
    channels = (16, 32) if task == "mnist" else (32, 64, 128)
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
def accuracy(model: Callable[[Tensor], Tensor], tests: list[tuple[Tensor, Tensor]]) -> float:
    """Share of the samples that are right."""
    return sum(int((model(x).argmax(1) == y).sum()) for x, y in tests) / sum(len(y) for _, y in tests)


def ours(relu: nn.Module, trained: nn.Module, calibration: list[tuple[Tensor, Tensor]], tests: list[tuple[Tensor, Tensor]]) -> Rows:
    """Every method and scaling, asked after each number of steps; ``mse`` is converted for that number."""
    rows: Rows = {}
    settings: list[tuple[str, Literal["max"] | float, bool]] = [
        *(("max", "max", True), ("99.9%", 99.9, True), ("99%", 99.0, True), ("99.9%, by layer", 99.9, False)),
    ]
    for name, scaling, by_channel in settings:
        converted = ns.to_spiking(relu, time_steps=STEPS[-1], calibration=calibration, scaling=scaling, by_channel=by_channel)
        rows[f"ours: rate, {name}"] = over_time(converted, tests)
    rows["ours: rate, mse for each T"] = {}
    rows["ours: rate, 99.9%, membranes from 0"] = over_time(
        ns.to_spiking(relu, time_steps=STEPS[-1], calibration=calibration, scaling=99.9, v_init=0.0), tests
    )
    for steps in STEPS:
        converted = ns.to_spiking(relu, time_steps=steps, calibration=calibration)
        rows["ours: rate, mse for each T"][steps] = accuracy(converted, tests)
    rows["ours: qcfs, trained"] = over_time(ns.to_spiking(trained, time_steps=STEPS[-1], method="qcfs"), tests)
    return rows


def over_time(converted: nn.Module, tests: list[tuple[Tensor, Tensor]]) -> dict[int, float]:
    """Accuracy at the steps of the table."""
    found = ns.accuracy_over_time(converted, tests)
    return {steps: found[steps] for steps in STEPS}


def peers(relu: nn.Module, calibration: list[tuple[Tensor, Tensor]], tests: list[tuple[Tensor, Tensor]]) -> Rows:
    """SpikingJelly's rate coding in its modes; its own converter, its own neurons, logits averaged over time."""
    try:
        from spikingjelly.activation_based import ann2snn, functional
    except ImportError:
        print("SpikingJelly is not installed: its rows are left out", file=sys.stderr)
        return {}
    rows: Rows = {}
    settings: dict[str, dict[str, object]] = {
        "max": {"mode": "max"},
        "99.9%": {"mode": "99.9%"},
        "99.9%, by channel": {"mode": "99.9%", "channel_wise": True},
        "99.9%, by channel, half threshold": {"mode": "99.9%", "channel_wise": True, "half_threshold": True},
    }
    for name, arguments in settings.items():
        recipe = ann2snn.RateCodingRecipe(calibration, **arguments)
        converted = ann2snn.Converter(recipe).convert(relu).eval()
        right = dict.fromkeys(STEPS, 0)
        with torch.no_grad():
            for x, y in tests:
                functional.reset_net(converted)
                total: Tensor | float = 0.0
                for step in range(1, STEPS[-1] + 1):
                    total = total + converted(x)
                    if step in right and isinstance(total, Tensor):
                        right[step] += int((total.argmax(1) == y).sum())
        rows[f"SpikingJelly: rate, {name}"] = {step: count / sum(len(y) for _, y in tests) for step, count in right.items()}
    return rows


def show(rows: Rows, digital: dict[str, float]) -> None:
    """A Markdown table."""
    print("accuracy as digital networks: " + ", ".join(f"{name} {100 * value:.2f}%" for name, value in digital.items()))
    print("| method | " + " | ".join(f"T = {steps}" for steps in STEPS) + " |\n|---|" + "---|" * len(STEPS))
    for name, row in rows.items():
        print(f"| {name} | " + " | ".join(f"{100 * row[steps]:.2f}" for steps in STEPS) + " |")


if __name__ == "__main__":
    main()
