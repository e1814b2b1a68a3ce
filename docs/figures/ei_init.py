"""Draw ``ei_init.png``: currents through twelve excitatory-inhibitory layers before training, with E-I Init and without.

Run it from anywhere: ``python docs/figures/ei_init.py``.
"""

from __future__ import annotations

import math
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from torch import Tensor, nn

import neurosim as ns
from neurosim.plot import COLOURS

DEPTH, UNITS, STEPS = 12, 128, 4
TITLES = {"ei": "with E-I Init", "kaiming_abs": "without (Kaiming, absolute values)"}
Bands = dict[str, list[tuple[float, float, float]]]  #: 5 %, 50 % and 95 % quantiles by depth


def network() -> ns.nn.SpikingNetwork:
    """Layers of 128 units with neurons between them; an image is shown for four steps."""
    parts: list[nn.Module] = [nn.Flatten()]
    for inputs in (64, *[UNITS] * (DEPTH - 1)):
        parts += [ns.nn.EILinear(inputs, UNITS), ns.LIF(tau_mem=1e-3 / math.log(2), dt=1e-3)]
    return ns.nn.SpikingNetwork(ns.nn.SpikingSequential(*parts), time_steps=STEPS)


def quantiles(values: Tensor) -> tuple[float, float, float]:
    """5 %, 50 % and 95 %."""
    low, middle, high = torch.quantile(values.flatten(), torch.tensor([0.05, 0.5, 0.95])).tolist()
    return low, middle, high


@torch.no_grad()
def measure(method: str, images: Tensor) -> Bands:
    """What the layers compute on the images that gave them their first weights."""
    model = ns.ei.initialize(network(), images, seed=0, method=method)
    bands: Bands = {"excitation": [], "inhibition": [], "current": []}

    def record(layer: ns.nn.EILayer, args: tuple[Tensor, ...], current: Tensor) -> None:
        excitation, inhibition, _ = layer.currents(args[0])
        for name, values in (("excitation", excitation), ("inhibition", inhibition), ("current", current)):
            if values is not None:
                bands[name].append(quantiles(values))

    handles = [layer.register_forward_hook(record) for layer in ns.ei.layers(model).values()]
    model(images)
    for handle in handles:
        handle.remove()
    return bands


def band(ax: Axes, rows: list[tuple[float, float, float]], colour: str, label: str, dash: str = "-") -> None:
    """Median and 90 % range over depth."""
    low, middle, high = zip(*rows, strict=True)
    depth = range(1, len(rows) + 1)
    ax.fill_between(depth, low, high, color=colour, alpha=0.18, linewidth=0)
    ax.plot(depth, middle, color=colour, linestyle=dash, marker="o", markersize=3, label=label)


def main() -> None:
    """Measure and draw."""
    digits = ns.load_dataset("digits")
    images, _ = next(ns.datasets.batches(digits.train, batch_size=256))
    fig = Figure(figsize=(7.2, 4.4), layout="constrained", facecolor="white")
    grid = fig.subplots(2, 2, sharex=True, sharey="row")
    for column, (method, title) in enumerate(TITLES.items()):
        bands = measure(method, images)
        above, below = grid[0][column], grid[1][column]
        band(above, bands["excitation"], COLOURS[0], "excitation $I_{EE}$")
        band(above, bands["inhibition"], COLOURS[1], "inhibition $I_{EI}$", "--")
        band(below, bands["current"], COLOURS[2], "what reaches the neurons")
        below.axhline(1.0, color="#6e7781", linewidth=0.8, linestyle=":", label="threshold")
        above.set_title(title, fontsize=10)
        above.set_yscale("symlog", linthresh=0.1)
        below.set_xlabel("layer")
        below.set_xticks(range(1, DEPTH + 1))
        for ax in (above, below):
            ax.grid(visible=True, color="#d8dee4", linewidth=0.7)
            ax.set_axisbelow(True)
            ax.spines[["top", "right"]].set_visible(False)
    grid[0][0].set_ylabel("current")
    grid[1][0].set_ylabel("balanced current")
    grid[0][1].legend(frameon=False, fontsize=8, loc="upper right")
    grid[1][1].legend(frameon=False, fontsize=8, loc="upper right")
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    main()
