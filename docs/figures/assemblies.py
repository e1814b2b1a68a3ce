"""Draw ``assemblies.png``: two trajectories under one input come closer.

Run it from the repository: ``python docs/figures/assemblies.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch

import neurosim as ns
from neurosim import plot
from neurosim.nn import Assembly, AssemblyState

STEPS = 40


def distance(network: Assembly, metric: torch.Tensor) -> list[float]:
    """Between two trajectories from different states, in the metric, as a share of that after the first step."""
    u = ns.random.stream(0, "input").normal((STEPS, 1, 24), like=torch.empty(0))
    starts = [AssemblyState(ns.random.stream(0, name).normal((1, 24), like=torch.empty(0))) for name in ("one", "other")]
    with torch.no_grad():
        one, other = (network.run(u, start)[0] for start in starts)
    apart = (one - other)[:, 0].double()
    found = torch.einsum("ti,ij,tj->t", apart, metric, apart).sqrt()
    return [float(value) for value in found / found[0]]


def main() -> None:
    """Run, draw and save."""
    steps = [float(step) for step in range(1, STEPS + 1)]
    certified = Assembly(areas=3, units=8, condition="symmetric", rate=0.1, source=ns.random.stream(0, "weights"))
    free = Assembly(areas=3, units=8, condition="free", rate=0.1, source=ns.random.stream(0, "weights"))
    with torch.no_grad():  # as training might leave them
        for value in (*certified.parameters(), *free.parameters()):
            value.mul_(3)
    certificate = certified.certificate()
    bound = [certificate.factor**step for step in range(STEPS)]
    curves = []
    for name, values in (
        ("no condition", distance(free, torch.eye(24, dtype=torch.float64))),
        ("symmetric", distance(certified, certificate.metric)),
        ("certificate", bound),
    ):
        print(name, [round(values[at], 4) for at in (0, 10, 20, 39)])
        curves.append(plot.Curve(name, steps, values, values, values))
    figure, axes = plot.noise_curve(curves, xlabel="step", ylabel="distance")
    axes.set_yscale("log")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
