"""Weights that are put where a layer keeps them, be they parameters or computed."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from neurosim.errors import ConfigError
from neurosim.norms.standardized import ScaledWeightStandardization


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
        # what is stored, and a ValueError where the answer is no tensor of its type; one that knows no answer raises a RuntimeError too
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


@torch.no_grad()
def weight_scaler(where: str, layer: nn.Module) -> Callable[[float], None]:
    """What gives a layer its weight as it is now, times a factor: of standardised weights, which keep no scale, their gains.

    Args:
        where: Who does so, and to which layer, for the message.
        layer: The layer.

    Raises:
        ConfigError: When called: the parametrization cannot tell what makes a given weight.
    """
    held: Any = layer
    if parametrize.is_parametrized(layer, "weight") and isinstance(held.parametrizations.weight[0], ScaledWeightStandardization):
        gains = held.parametrizations.weight.original0
        first = gains.detach().clone()
        return torch.no_grad()(lambda factor: gains.copy_(first * factor))
    weight = held.weight.detach().clone()
    return lambda factor: put_weight(where, layer, weight * factor)


@torch.no_grad()
def scale_weights(where: str, found: Sequence[tuple[str, nn.Module]], factor: float) -> None:
    """Multiply the weights of layers, in place; of parametrized ones, what is computed.

    Args:
        where: What does so, for the message.
        found: Path and layer of each.
        factor: By what.

    Raises:
        ConfigError: A parametrization keeps no factor; no layer is then changed.
    """
    for path, layer in found:
        if parametrize.is_parametrized(layer, "weight"):
            name, twin = f"{where}: {path or type(layer).__name__}", copy.deepcopy(layer)
            weight_scaler(name, twin)(factor)
            if not torch.allclose(cast(Tensor, twin.weight), factor * cast(Tensor, layer.weight), rtol=1e-3, atol=1e-5):
                raise ConfigError(f"{name}: its parametrization keeps no factor of a weight")
    for path, layer in found:
        weight_scaler(f"{where}: {path or type(layer).__name__}", layer)(factor)
