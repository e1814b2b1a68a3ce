"""Weights that are put where a layer keeps them, be they parameters or computed."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurosim.errors import ConfigError


@torch.no_grad()
def put_weight(where: str, layer: nn.Module, weight: Tensor, name: str = "weight") -> None:
    """Give a layer this weight, in place; of a parametrized one, what makes it.

    Args:
        where: Who does so, and to which layer, for the message.
        layer: The layer.
        weight: Of its shape and type.
        name: What the layer calls it.

    Raises:
        ConfigError: The parametrization cannot tell what makes a given weight.
    """
    if not parametrize.is_parametrized(layer, name):
        held: Any = getattr(layer, name)
        held.copy_(weight)
        return
    try:
        setattr(layer, name, weight)
    except (RuntimeError, ValueError) as error:
        # torch asks the parametrization's right_inverse: without one it raises a RuntimeError, as where the answer has not the shape of
        # what is stored, and a ValueError where the answer is no tensor of its type; one that is there may raise NotImplementedError,
        # which is a RuntimeError
        text = " ".join(str(error).split())[:120]
        raise ConfigError(f"{where}: its parametrization takes no weight: {text}") from None


@torch.no_grad()
def check_weight(where: str, layer: nn.Module, weight: Tensor, name: str = "weight") -> None:
    """Refuse a parametrization that cannot give this weight; the layer stays as it is.

    Args:
        where, layer, weight, name: As for :func:`put_weight`.

    Raises:
        ConfigError: It takes no weight, or gives another one.
    """
    if parametrize.is_parametrized(layer, name):
        twin = copy.deepcopy(layer)
        put_weight(where, twin, weight, name)
        if not torch.allclose(cast(Tensor, getattr(twin, name)), weight, rtol=1e-3, atol=1e-3):
            raise ConfigError(f"{where}: its parametrization gives another weight than the one put there")


@torch.no_grad()
def put_weights(where: str, found: Sequence[tuple[str, nn.Module, Tensor]]) -> None:
    """Give layers these weights, in place; of parametrized ones, what makes them.

    Args:
        where: What does so, for the message.
        found: Path, layer and weight of each.

    Raises:
        ConfigError: A parametrization cannot give the weight; no layer is then changed.
    """
    for path, layer, weight in found:
        check_weight(f"{where}: {path or type(layer).__name__}", layer, weight)
    for path, layer, weight in found:
        put_weight(f"{where}: {path or type(layer).__name__}", layer, weight)
