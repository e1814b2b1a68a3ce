"""The figure of docs/recording.md: spikes of two layers, and two membranes of the second."""

from pathlib import Path

import torch
from stacked import save_stacked
from torch import nn

import neurosim as ns

torch.manual_seed(0)
net = ns.nn.SpikingSequential(
    nn.Linear(64, 40), ns.LIF(tau_mem=10e-3, dt=1e-3), nn.Linear(40, 10), ns.LIF(tau_mem=20e-3, dt=1e-3), ns.LI(tau_mem=20e-3, dt=1e-3)
)
images = next(iter(ns.datasets.batches(ns.load_dataset("digits").test, batch_size=5)))[0].flatten(1)
with ns.record(net) as recording:
    net(images.expand(100, *images.shape))

(above, _), (below, _) = ns.plot.raster(recording), ns.plot.membrane_traces(recording["3"], units=[4, 7])
save_stacked([above, below], Path(__file__).with_suffix(".png"), dpi=110, colours=32)
print([(path, layer.spikes[:, 0].sum(0).tolist()) for path, layer in recording.items() if "spikes" in layer.signals])
