"""How far evaluation is from training in a network with MPBN, for each carry and each kind of statistics.

    python benchmarks/mpbn_statistics.py

Networks 64-100-100-10 with hard reset learn the digits for 4 epochs; then the test set is classified three times: with the statistics of
the batch, as in training, with the running ones, and with running ones that were taken again from the training set. A row is the mean over
seeds. The gap is the largest difference, over layers and steps, between the spike rates of training and evaluation.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm

import neurosim as ns

Data = list[tuple[Tensor, Tensor]]


def network(steps: int, **choices: Any) -> ns.nn.SpikingNetwork:
    layers: list[nn.Module] = [nn.Flatten()]
    for inputs in (64, 100):
        layers += [nn.Linear(inputs, 100), ns.nn.MPBN(ns.LIF(tau_mem=2e-3, dt=1e-3, reset="hard"), 100, **choices)]
    return ns.nn.SpikingNetwork(ns.nn.SpikingSequential(*layers, nn.Linear(100, 10)), steps)


def learn(model: nn.Module, split: ns.Split) -> None:
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for epoch in range(4):
        order = ns.random.permutation(ns.random.stream(0, "order", draw=epoch), len(split.labels))
        for images, labels in ns.datasets.batches(split, batch_size=128, order=order):
            optimizer.zero_grad()
            cross_entropy(model(images), labels).backward()
            optimizer.step()


def looked_at(model: ns.nn.SpikingNetwork, images: Tensor, labels: Tensor) -> tuple[float, list[Tensor]]:
    """Accuracy, and the spike rate of every layer at every step."""
    x, rates = ns.encoding.constant(images, model.time_steps).flatten(2), []
    body: Any = model.body
    with torch.no_grad():
        for layer in list(body)[1:]:
            x = layer(x)
            if isinstance(layer, ns.nn.MPBN):
                rates.append(x.mean((1, 2)))
    return (x.mean(0).argmax(-1) == labels).float().mean().item(), rates


def row(steps: int, seed: int, **choices: Any) -> list[float]:
    torch.manual_seed(seed)
    digits = ns.load_dataset("digits")
    model = network(steps, **choices)
    learn(model, digits.train)
    test = next(ns.datasets.batches(digits.test, batch_size=len(digits.test.labels)))
    trained, before = looked_at(copy.deepcopy(model).train(), *test)
    evaluated, after = looked_at(model.eval(), *test)
    again = ns.recalibrate(model, list(ns.datasets.batches(digits.train, batch_size=256)))
    gap = max((a - b).abs().max().item() for a, b in zip(before, after, strict=True))
    return [trained, evaluated, looked_at(again, *test)[0], gap]


def rows(seeds: int) -> Iterator[str]:
    grid = [(steps, carry, kind) for carry in ("raw", "normalized") for kind in ("per_step", "merged") for steps in (2, 4, 8)]
    for steps, carry, kind in tqdm(grid):
        found = torch.tensor([row(steps, seed, carry=carry, statistics=kind) for seed in range(seeds)])
        mean, spread = found.mean(0).tolist(), found.std(0).tolist()
        shares = " | ".join(f"{100 * value:.1f} ± {100 * off:.1f}" for value, off in zip(mean[:3], spread, strict=False))
        yield f"| {carry} | {kind} | {steps} | {shares} | {mean[3]:.3f} |"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    table = list(rows(parser.parse_args().seeds))
    print("| carry | statistics | steps | training (%) | evaluation (%) | recalibrated (%) | gap of rates |\n|---|---|---|---|---|---|---|")
    print("\n".join(table))
