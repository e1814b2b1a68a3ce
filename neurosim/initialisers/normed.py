"""What norms make of the sums before them: copies of them are run on Gaussian numbers."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.lazy import LazyModuleMixin

from neurosim.activations import Moments
from neurosim.convert.norm_gain import input_shapes
from neurosim.convert.norm_places import place_of
from neurosim.convert.swap_activation import is_activation
from neurosim.errors import ConfigError, ConversionError
from neurosim.initialisers.variance import Function, as_function
from neurosim.nn.signal_norm import LpNorm
from neurosim.random import permutation, stream

_VALUES: Final = 1 << 18  #: at least, where the features are few
_BATCH: Final = 16  #: at least
_NEAR: Final = 0.01  #: within it a second moment is 1: ε is not counted


class Signal(NamedTuple):
    """Gaussian sums, and what norms made of them."""

    sums: Tensor
    values: Tensor
    standard: bool  #: whether statistics brought them to second moment 1: they are then taken for N(0, 1)

    def moments(self, function: Function) -> Moments:
        """Of a function of the values; its slope is that from the sums on."""
        y = function(self.values)
        signs = 1.0 - 2 * (_order(y.numel(), "signs") % 2).reshape(y.shape)  # statistics hide from a plain sum what they mix
        (slope,) = torch.autograd.grad((y * signs).sum(), self.sums, retain_graph=True) if y.requires_grad else (torch.zeros(()),)
        return Moments(*(float(one.detach().mean()) for one in (y, y.square(), slope.square())))

    def threshold(self, share: float, *, symmetric: bool) -> float:
        """Below it lies that share of the values, or of their magnitudes; the median of a finite sample is not told from 0."""
        values = self.values.detach().flatten()
        ordered = (values.abs() if symmetric else values).sort().values
        found = float(ordered[int(share * len(ordered))])
        return 0.0 if share == 0.5 and abs(found) < _NEAR * float(values.std()) else found


def normed(where: str, modules: Sequence[nn.Module], width: float, limit: float | None = None) -> Signal:
    """What norms, and activations among them, make of sums.

    Args:
        where: Who asks, for messages.
        modules: In the order in which they are run, the last one a norm.
        width: Second moment of the sums, > 0.
        limit: Largest magnitude that the sums are read as; None: no limit.

    Raises:
        ConfigError: A norm takes no Gaussian numbers, or what it gives depends on how many there are.
    """
    run: list[Any] = [as_function(one) if is_activation(one) else _twin(where, one) for one in modules]
    name = type(modules[-1]).__name__
    try:
        place = place_of(run[-1], None)
    except ConversionError as error:
        raise ConfigError(f"{where}: what a {name} makes of sums must be known, {error}; take lsuv") from None
    batch = max(_VALUES // max(math.prod(place.features), 1) // 16, _BATCH)
    for shape in input_shapes(place.features, place.axis - place.time, batch):
        sums = (math.sqrt(width) * _gaussian((1, *shape) if place.time else shape)).requires_grad_()
        values = sums if limit is None else sums.clamp(-limit, limit)
        try:
            with torch.enable_grad():
                for function in run:
                    values = function(values)
        except (ConfigError, RuntimeError, ValueError, IndexError):  # of that many axes, or of values without axes beside channels
            continue
        second = float(values.detach().square().mean())
        return Signal(sums, values, limit is None and not elementwise(modules[-1]) and abs(second - 1) < _NEAR)
    raise ConfigError(f"{where}: what a {name} makes of sums must be known, it takes no Gaussian numbers; take lsuv")


def elementwise(norm: nn.Module) -> bool:
    """Whether what a norm makes of a number does not depend on others."""
    return getattr(norm, "stats", "") == "none"


def _twin(where: str, norm: nn.Module) -> nn.Module:
    """A copy in float64, in training, that nobody watches."""
    if any(isinstance(part, LazyModuleMixin) and part.has_uninitialized_params() for part in norm.modules()):
        raise ConfigError(f"{where}: {type(norm).__name__}: its shape must be known, so call the model once before, it is lazy")
    twin = copy.deepcopy(norm).cpu().double().train()
    for part in twin.modules():
        if isinstance(part, LpNorm):
            raise ConfigError(f"{where}: what an LpNorm makes of sums depends on how many a sample has, which is not known; take lsuv")
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()
    return twin


@lru_cache(maxsize=4)
def _gaussian(shape: tuple[int, ...]) -> Tensor:
    """N(0, 1) at evenly spaced quantiles, in an order drawn once and for all."""
    n = math.prod(shape)
    values: Tensor = torch.special.ndtri((_order(n, "sums").double() + 0.5) / n)
    return values.reshape(shape)


def _order(n: int, name: str) -> Tensor:
    return permutation(stream(0, "initialisers", name), n)
