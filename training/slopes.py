"""See how much the noise of the hardware upsets gradients before anything is trained: the whole program.

The network is built and its first weights are made as in every recipe; then its activations and its weights are looked at with noise and
without. ``slope_noise`` is the mean squared change of the activations' slopes, ``slope_noise_predicted`` the same of Gaussian signals, and
``gradient_error`` the length of what noise adds to the gradient of the loss, in lengths of the gradient without. ``train`` but for its
device, ``data.augment`` and ``data.validation`` have no meaning here. To change how things are done, copy it
(``neurosim recipe copy slopes my_recipe.py``), edit the copy and run ``neurosim train CONFIG --recipe my_recipe.py``. It uses the public
interface only.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import neurosim as ns
from neurosim import training

BATCHES = 4  #: of training samples that are looked at
DRAWS = 8  #: of the noise, for each


def main(config: ns.RunConfig, run: training.RunFolder) -> dict[str, Any]:
    """Build, convert, measure; nothing is trained."""
    hw = config.hardware
    if hw is None:
        raise ns.ConfigError("hardware: must be given for the recipe slopes, which measures what its noise does")
    data = ns.load_dataset(config.data.kind, **config.data.arguments)
    batches = partial(ns.datasets.batches, batch_size=config.data.batch_size, value_range=config.data.value_range)
    model = training.build_model(config.model, seed=config.seed)
    images, _ = next(batches(data.train))
    training.initialize_from(model, images, seed=config.seed)
    training.check_model(model, images[:2], classes=len(data.classes))
    model = ns.to_analog(model, hw.profile, **hw.options)
    training.initialize_by_data(config, run, model, images)
    device = training.pick_device(config.train.device)
    model = model.to(device).eval()
    shown = [(images.to(device), labels.to(device)) for images, labels in islice(batches(data.train), BATCHES)]

    found = ns.slope_noise(model, shown, draws=DRAWS)
    metrics: dict[str, Any] = {"slope_noise": found.measured}
    if found.predicted is not None:
        metrics["slope_noise_predicted"] = found.predicted
    errors = []
    for images, labels in shown:
        with ns.noise("off", model):
            clean = gradient(model, images, labels)
        errors += [float((gradient(model, images, labels) - clean).square().sum() / clean.square().sum()) for _ in range(DRAWS)]
    metrics["gradient_error"] = math.sqrt(sum(errors) / len(errors))
    run.record_conversion(model)
    run.save("best", model, {"epoch": 0})
    return run.finish(metrics)


def gradient(model: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Of the loss, by all parameters that are learned, one after the other."""
    learned = [value for value in model.parameters() if value.requires_grad]
    parts = torch.autograd.grad(cross_entropy(model(images), labels), learned, allow_unused=True, materialize_grads=True)
    return torch.cat([part.flatten() for part in parts])
