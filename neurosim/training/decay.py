"""Weight decay of weights alone."""

from __future__ import annotations

import torch
from torch import nn

from neurosim.nn.wrappers import unwrapped
from neurosim.training.owned import weights_of


def spared(model: nn.Module) -> list[str]:
    """Names of the parameters that are no weights, as :func:`neurosim.training.owned.weights_of` has them.

    They are those of norms and of activations, biases, scales that the hardware of a layer learns, gains of parametrized weights, and
    thresholds, slopes, steps and time constants: pulled to 0 they change what a unit is, and not how much it hears of others.

    Args:
        model: Any module.

    >>> spared(nn.Sequential(nn.Linear(2, 3), nn.PReLU(), nn.Linear(3, 2, bias=False)))
    ['0.bias', '1.weight']
    """
    bare = unwrapped(model)
    decayed = {id(value) for weight in weights_of(bare) for value in weight.learned if value.dim() > 1}
    return [name for name, value in bare.named_parameters() if id(value) not in decayed]


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
