"""Weight decay of weights alone."""

from __future__ import annotations

import torch
from torch import nn

from neurosim.convert.swap_activation import is_activation
from neurosim.nn.wrappers import unwrapped
from neurosim.training.subset import of_norms


def spared(model: nn.Module) -> list[str]:
    """Names of the parameters that are no weights: those of norms and of activations, biases, and all others with fewer than two axes.

    What has one axis or none are scales, thresholds, slopes, steps and time constants: pulled to 0 they change what a unit is, and not how
    much it hears of others.

    Args:
        model: Any module.

    >>> spared(nn.Sequential(nn.Linear(2, 3), nn.PReLU(), nn.Linear(3, 2, bias=False)))
    ['0.bias', '1.weight']
    """
    bare = unwrapped(model)
    held = of_norms(bare) | {id(value) for one in bare.modules() if is_activation(one) for value in one.parameters()}
    named = bare.named_parameters()
    return [name for name, value in named if value.dim() < 2 or id(value) in held or name.rpartition(".")[2] == "bias"]


def decay_weights(model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
    """Let an optimizer's weight decay act on weights alone, in place: :func:`spared` parameters get a group of their own, without decay.

    Args:
        model: What is trained.
        optimizer: Of its parameters, before its first step.
    """
    known = dict(unwrapped(model).named_parameters())
    free = {id(known[name]) for name in spared(model)}
    for group in list(optimizer.param_groups):
        moved = [value for value in group["params"] if id(value) in free]
        if not moved or not group["weight_decay"]:
            continue
        settings = {name: value for name, value in group.items() if name != "params"}
        group["params"] = [value for value in group["params"] if id(value) not in free]
        optimizer.add_param_group({**settings, "params": moved, "weight_decay": 0.0})
