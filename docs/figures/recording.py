"""The figure of docs/recording.md: spikes of two layers, and two membranes of the second."""

import io
from pathlib import Path

import torch
from PIL import Image
from torch import nn

import neurosim as ns

torch.manual_seed(0)
net = ns.nn.SpikingSequential(
    nn.Linear(64, 40), ns.LIF(tau_mem=10e-3, dt=1e-3), nn.Linear(40, 10), ns.LIF(tau_mem=20e-3, dt=1e-3), ns.LI(tau_mem=20e-3, dt=1e-3)
)
images = next(iter(ns.datasets.batches(ns.load_dataset("digits").test, batch_size=5)))[0].flatten(1)
with ns.record(net) as recording:
    net(images.expand(100, *images.shape))

parts = []
for figure, _ in (ns.plot.raster(recording), ns.plot.membrane_traces(recording["3"], units=[4, 7])):
    target = io.BytesIO()
    figure.savefig(target, format="png", dpi=110)
    parts.append(Image.open(target).convert("RGB"))
whole = Image.new("RGB", (max(part.width for part in parts), sum(part.height for part in parts)), "white")
whole.paste(parts[0], (0, 0))
whole.paste(parts[1], (0, parts[0].height))
whole.quantize(32).save(Path(__file__).with_suffix(".png"), optimize=True)
print([(path, layer.spikes[:, 0].sum(0).tolist()) for path, layer in recording.items() if "spikes" in layer.signals])
