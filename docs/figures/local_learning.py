"""Draw ``local_learning.png``: how local updates agree with gradients.

Run it from the repository: ``python docs/figures/local_learning.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch.nn.functional import cosine_similarity, cross_entropy

import neurosim as ns
from neurosim import plot

DEPTHS = (1, 2, 3, 4, 5)
SEEDS = range(5)


def agreement(depth: int, seed: int, rule: str) -> float:
    """Cosine of the angle between the update of the first layer's weights and their gradient, before any training."""
    torch.manual_seed(seed)
    network = ns.nn.DisinhibitoryNetwork([64, *[32] * depth, 10], rule=rule)
    images, labels = next(ns.datasets.batches(ns.load_dataset("digits").train, batch_size=64))
    learned = network.local_update(images, labels).gradients
    cross_entropy(network(images), labels).backward()
    name, weight = next((name, value) for name, value in network.named_parameters() if value.dim() == 2)
    assert weight.grad is not None
    return float(cosine_similarity(learned[name].flatten(), weight.grad.flatten(), 0))


def main() -> None:
    """Measure, draw and save."""
    curves = []
    for rule in ("exact", "linear"):
        found = [sorted(agreement(depth, seed, rule) for seed in SEEDS) for depth in DEPTHS]
        print(rule, [[round(value, 2) for value in values] for values in found])
        means = [sum(values) / len(values) for values in found]
        curves.append(plot.Curve(f"rule: {rule}", [float(d) for d in DEPTHS], means, [one[0] for one in found], [one[-1] for one in found]))
    figure, axes = plot.noise_curve(curves, xlabel="hidden layers", ylabel="cosine of the angle")
    axes.set_ylim(0.8, 1.0)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
