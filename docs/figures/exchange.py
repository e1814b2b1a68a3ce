"""A network of snnTorch and the one that was imported from it, on one drive: ``python docs/figures/exchange.py`` draws ``exchange.png``."""

from __future__ import annotations

from pathlib import Path

import snntorch as snn
import torch
from torch import nn

import neurosim as ns
from neurosim.plot.style import COLOURS, add_legend, label_axes, new_figure


def main() -> None:
    """Draw the figure."""
    torch.manual_seed(0)
    source = nn.Sequential(
        nn.Linear(10, 40),
        snn.Leaky(beta=0.9, init_hidden=True),
        nn.Linear(40, 16),
        snn.RLeaky(beta=0.8, linear_features=16, init_hidden=True, reset_mechanism="zero"),
    )
    network = ns.from_snntorch(source)
    x = ns.random.stream(1, "figure").uniform((50, 1, 10), like=torch.empty(0)) * 4
    with torch.no_grad():
        theirs = torch.stack([source(step) for step in x])[:, 0]
        ours = network(x)[:, 0]
    fig, ax = new_figure(2.9)
    handles = []
    for name, spikes, marker in (("snnTorch", theirs, "o"), ("imported network", ours, ".")):
        step, unit = spikes.nonzero().unbind(1)
        face = "none" if marker == "o" else COLOURS[1]
        size, edge = (36, COLOURS[0]) if marker == "o" else (14, COLOURS[1])
        handles.append((ax.scatter(step, unit, s=size, marker=marker, facecolors=face, edgecolors=edge, linewidths=0.8), name))
    label_axes(ax, f"step ({int((theirs != ours).sum())} of {int(theirs.sum())} spikes differ)", "neuron of the loop")
    add_legend(fig, handles)
    fig.savefig(Path(__file__).with_suffix(".png"), dpi=110)


if __name__ == "__main__":
    main()
