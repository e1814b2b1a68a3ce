"""Draw ``spiking_models.png``: how activity goes through a deep network that is not trained yet, by norm.

Run it from the repository: ``python docs/figures/spiking_models.py``.
"""

from __future__ import annotations

from pathlib import Path

import torch

import neurosim as ns
from neurosim import plot

CHOICES: dict[str, dict[str, object]] = {
    "no norm": {"norm": "none"},
    "batch norm": {"norm": "bn"},
    "excitatory-inhibitory layers": {"norm": "none", "layers": "ei"},
}


def main() -> None:
    """Build, measure, draw and save."""
    images = ns.load_dataset("digits").train.images[:128].float() / 255
    curves = []
    for name, choice in CHOICES.items():
        torch.manual_seed(0)
        model = ns.MODELS["spiking_mlp"](sizes=[64, *[128] * 11, 10], time_steps=8, **choice)
        if ns.ei.layers(model):
            ns.ei.initialize(model, images, seed=0)
        with torch.no_grad():
            model.train()
            for _ in range(50):  # running statistics
                model(images)
        layers = [layer for layer in ns.activity(model, images).layers if "fire" in layer.path]
        values = [layer.rate.value for layer in layers]
        print(name, [round(value, 3) for value in values])
        curves.append(plot.Curve(name, [float(at) for at in range(1, len(values) + 1)], values, values, values))
    figure, _ = plot.noise_curve(curves, xlabel="layer", ylabel="spikes a step")
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=130, metadata={"Software": None})


if __name__ == "__main__":
    main()
