"""Draw ``to_spiking.png``: accuracy against time steps, by method. Run it from the repository: ``python docs/figures/to_spiking.py``."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import neurosim as ns
from neurosim import plot

STEPS = 32
SHOWN = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
Samples = tuple[Tensor, Tensor]


def digits() -> tuple[Samples, Samples]:
    """Training and test images in 0 … 1, and labels."""
    data = ns.load_dataset("digits")
    train, test = ((split.images.float() / 255, split.labels) for split in (data.train, data.test))
    return train, test


def fit(model: nn.Module, train: Samples, epochs: int) -> nn.Module:
    """Train a digital network."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for epoch in range(epochs):
        for at in ns.random.permutation(ns.random.stream(0, "order", draw=epoch), len(train[0])).split(64):
            optimizer.zero_grad()
            cross_entropy(model(train[0][at]), train[1][at]).backward()
            optimizer.step()
    return model.eval()


def main() -> None:
    """Train, convert, draw and save."""
    torch.manual_seed(0)
    train, test = digits()
    network = nn.Sequential(
        *(nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.AvgPool2d(2)),
        *(nn.Flatten(), nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 10)),
    )
    digital = fit(network, train, epochs=15)
    quantised = fit(ns.to_qcfs(digital, 4, calibration=[train]), train, epochs=5)
    spiking = {
        "QCFS with 4 levels, trained": ns.to_spiking(quantised, time_steps=STEPS, method="qcfs"),
        "rate, least squared error for T = 4": ns.to_spiking(digital, time_steps=4, calibration=[train]),
        "rate, largest activation": ns.to_spiking(digital, time_steps=STEPS, calibration=[train], scaling="max"),
        "the same, membranes from 0": ns.to_spiking(digital, time_steps=STEPS, calibration=[train], scaling="max", v_init=0.0),
    }
    curves = []
    for name, one in spiking.items():
        found = ns.accuracy_over_time(one, [test], STEPS)
        values = [100 * found[steps] for steps in SHOWN]
        print(name, {steps: round(100 * found[steps], 1) for steps in (1, 2, 4, 8, 16, 32)})
        curves.append(plot.Curve(name, list(map(float, SHOWN)), values, values, values))
    with torch.no_grad():
        print("digital", round(100 * float((digital(test[0]).argmax(1) == test[1]).float().mean()), 1))
    figure, axes = plot.noise_curve(curves, xlabel="time steps", ylabel="test accuracy (%)")
    axes.set_xscale("log", base=2)
    axes.set_xticks([1, 2, 4, 8, 16, 32], ["1", "2", "4", "8", "16", "32"])
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
