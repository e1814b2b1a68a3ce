"""Draw ``hardware_aware.png``: accuracy against errors of weights.

Run it from the repository: ``python docs/figures/hardware_aware.py``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.functional import cross_entropy

import neurosim as ns
from neurosim import plot

ERRORS = (0.0, 0.05, 0.1, 0.15, 0.2, 0.3)  #: standard deviation of a weight, in units of the largest of its layer
TRAINED = 0.15
CHIPS = 8


def network() -> nn.Module:
    """A perceptron with norms."""
    torch.manual_seed(0)
    return nn.Sequential(
        *(nn.Flatten(), nn.Linear(64, 48), nn.BatchNorm1d(48), nn.ReLU()),
        *(nn.Linear(48, 48), nn.BatchNorm1d(48), nn.ReLU(), nn.Linear(48, 10)),
    )


def hardware(error: float, scope: str) -> ns.Profile:
    """Converters of 8 bits, and weights with an error."""
    chain: dict[str, Any] = {
        "input": {"scale": {"kind": "scale"}, "dac": {"kind": "quantize", "levels": 255}},
        "weight": {
            "scale": {"kind": "scale"},
            "noise": {"kind": "noise", "distribution": "gaussian", "scale": error, "scope": scope},
        },
        "output": {"adc": {"kind": "quantize", "levels": 255}},
    }
    return ns.Profile("example", "weights with programming errors", "electronic", ns.ChainSpec.model_validate(chain))


def fit(model: nn.Module, batches: list[Any], clip: bool) -> nn.Module:
    """Train; with weights clipped after every step if asked to."""
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(30):
        for images, labels in batches:
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()
            if clip:
                ns.clip_weights(model, k_sigma=2.0)
    return model.eval()


def main() -> None:
    """Train, map, repair, draw and save."""
    data = ns.load_dataset("digits")
    train, test = (list(ns.datasets.batches(split, batch_size=96)) for split in (data.train, data.test))
    plain = fit(network(), train, clip=False)
    aware_chip = ns.to_analog(network(), hardware(TRAINED, "batch"), seed=0)
    ns.calibrate(aware_chip, train[:4])
    aware = ns.to_digital(fit(aware_chip, train, clip=True))
    found: dict[str, list[list[float]]] = {}
    for error in ERRORS:
        results: dict[str, list[float]] = {}
        for chip in range(CHIPS):
            for name, model in (("trained without noise", plain), (f"trained with an error of {TRAINED}", aware)):
                one = ns.to_analog(model, hardware(error, "device"), seed=chip)
                ns.calibrate(one, train[:4])
                results.setdefault(name, []).append(100 * ns.evaluate(one, test))
                if model is plain:
                    repaired = ns.recalibrate(ns.correct_bias(one, train[:4]), train[:4])
                    results.setdefault("the same, repaired on the chip", []).append(100 * ns.evaluate(repaired, test))
        print(error, {name: round(sum(values) / CHIPS, 1) for name, values in results.items()})
        for name, values in results.items():
            found.setdefault(name, []).append(values)
    curves = [
        plot.Curve(name, list(ERRORS), [sum(one) / CHIPS for one in points], [min(one) for one in points], [max(one) for one in points])
        for name, points in found.items()
    ]
    figure, _ = plot.noise_curve(
        curves,
        xlabel="error of a weight / largest weight of its layer",
        ylabel="test accuracy (%)",
        baseline=100 * ns.evaluate(plain, test),
    )
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    main()
