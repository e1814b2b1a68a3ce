"""A soft budget for the length of every row of weights."""

from __future__ import annotations

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from neurosim.checks import number
from neurosim.errors import ConfigError
from neurosim.norms.registry import register
from neurosim.norms.weights import LAYERS, TRANSPOSED


@register(
    "norm_loss",
    "B38",
    kind="regulariser",
    formula="λ Σ (1 − ‖w‖)², over the rows of all weights",
    fold="FW",
    bounds=(0.0, math.inf),
    usage="train.regularizer: {kind: norm_loss} in a config, or ns.norms.NormLoss(strength)(model), to be added to a loss",
)
class NormLoss(nn.Module):
    r"""Norm loss: how far the rows of all weights are from length 1, to be added to a loss in the place of weight decay.

    .. math:: L = \lambda \sum_i (1 - \lVert w_i \rVert_2)^2

    over the outputs of all linear layers and convolutions. The weights are those that the layers compute with: what parametrizations give.

    Args:
        strength: λ, ≥ 0.

    Shapes:
        A model; result ``()``.

    Raises:
        ConfigError: The strength is below 0, or what is given is no model with such layers.

    Source:
        T. Georgiou, S. Schmitt, T. Bäck, W. Chen, M. Lew, "Norm loss: an efficient yet effective regularization method for deep neural
        networks", ICPR 2020.

    >>> layer = nn.Linear(2, 1)
    >>> layer.weight.data[:] = torch.tensor([[3.0, 4.0]])
    >>> NormLoss(0.5)(layer).item()
    8.0
    """

    def __init__(self, strength: Annotated[float, Field(ge=0)] = 1e-3) -> None:
        super().__init__()
        self.strength = number("NormLoss.strength", strength, ge=0)

    def forward(self, model: nn.Module) -> Tensor:
        """The penalty."""
        if not isinstance(model, nn.Module):
            raise ConfigError(f"NormLoss: must be given a model, a torch.nn.Module, got a {type(model).__name__}")
        found = []
        for module in model.modules():
            if isinstance(module, TRANSPOSED):
                grouped = module.weight.reshape(module.groups, -1, *module.weight.shape[1:])
                found.append(grouped.movedim(1, -1).flatten(0, 1).flatten(1))
            elif isinstance(module, LAYERS):
                found.append(module.weight.flatten(1))
        if not found:
            raise ConfigError("NormLoss: the model must have a linear layer or a convolution, it has none")
        rows = [(1 - torch.linalg.vector_norm(weight, dim=1)).square().sum() for weight in found]
        return self.strength * torch.stack(rows).sum()

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"strength={self.strength:g}"
