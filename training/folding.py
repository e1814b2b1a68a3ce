"""Fold the norms of a network into its weights and thresholds, and see whether it computes the same: the whole program.

The network is built and its first weights are made as in every recipe; statistics settle on some batches, scales are drawn at random, and
the network is compared with its folded copy on test samples. ``fold_error`` is the largest difference, in units of the largest output or 1:
of positive scales, of negative ones, of both; ``fold_error_64`` that of both in float64. ``norms_left`` counts what could not be folded.
Nothing is trained; ``train``, ``data.augment`` and ``data.validation`` have no meaning here. To change how things are done, copy it
(``neurosim recipe copy folding my_recipe.py``), edit the copy and run ``neurosim train CONFIG --recipe my_recipe.py``. It uses the public
interface only.
"""

from __future__ import annotations

import copy
from functools import partial
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim import training

SETTLING = 4  #: batches of training samples that statistics are taken from
NORMS = (ns.norms.Norm, ns.norms.TimeNorm, nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def main(config: ns.RunConfig, run: training.RunFolder) -> dict[str, Any]:
    """Build, let statistics settle, fold, compare."""
    if config.hardware is not None:
        raise ns.ConfigError("hardware: must be null for the recipe folding; norms are folded before a network goes on hardware")
    data = ns.load_dataset(config.data.kind, **config.data.arguments)
    batches = partial(ns.datasets.batches, batch_size=config.data.batch_size, value_range=config.data.value_range)
    model = training.build_model(config.model, seed=config.seed)
    images, _ = next(batches(data.train))
    training.initialize_from(model, images, seed=config.seed)
    training.check_model(model, images[:2], classes=len(data.classes))
    training.initialize_by_data(config, run, model, images)
    x, _ = next(batches(data.test))
    settling = [batch for batch, _ in islice(batches(data.train), SETTLING)]

    metrics: dict[str, Any] = {}
    for name, sign in (("positive", 1.0), ("negative", -1.0), ("both", None)):
        one = settled(model, sign, settling, config.seed)
        metrics[f"fold_error_{name}"], report = compare(one, x)
    metrics = {"fold_error": max(metrics.values()), **metrics}
    metrics |= {"norms_folded": report.count("folded"), "norms_left": report.count("left")}
    metrics["fold_error_64"], _ = compare(one.double(), x.double())
    run.save("best", one.float(), {"epoch": 0})
    return run.finish(metrics)


def settled(model: nn.Module, sign: float | None, batches: list[Tensor], seed: int) -> nn.Module:
    """A copy whose norms have scales of that sign (None: of either), shifts, and statistics of the batches; in evaluation."""
    one = copy.deepcopy(model).train()
    with torch.no_grad():
        for path, module in one.named_modules():
            if not isinstance(module, NORMS):
                continue
            for name, value in module.named_parameters(recurse=False):
                drawn = ns.random.stream(seed, "folding", path, name).normal(value.shape, like=value)
                if name == "weight":
                    value.copy_((drawn.sign() if sign is None else sign) * (0.3 + drawn.abs()))
                else:
                    value.add_(drawn if name == "bias" else 0.1 * drawn.abs())
        for batch in batches:
            one(batch)
    return one.eval()


def compare(model: nn.Module, x: Tensor) -> tuple[float, Any]:
    """The largest difference that folding makes, in units of the largest output or 1, and the report of the fold."""
    with torch.no_grad():
        largest = float(model(x).abs().max())
    report: Any = ns.fold(model, x).folding
    return report.deviation / max(1.0, largest), report
