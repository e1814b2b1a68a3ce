"""How large the outputs of norms are, to make up for it where one takes the place of another."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.errors import ConfigError, with_article
from neurosim.random import stream

_BATCH = 64
_SIDE = 4  # of maps, and steps of a sequence that is no batch of its own


def gain_between(old: nn.Module, new: nn.Module, features: tuple[int, ...], axis: int, time: bool, kept: bool) -> float | str:
    r"""What γ of a norm must be multiplied by for its outputs to be as large as those of another one.

    .. math:: \sqrt{E\,N_{old}(z)^2 / E\,N_{new}(z)^2}, \qquad z \sim N(0, 1)

    with the statistics of z, without γ and β of the old norm, and with the γ of the new one only if it is not to have that of the old one.
    Measured on 64 samples.

    Args:
        old: The norm that goes; left as it is.
        new: The one that comes, fresh; left as it is.
        features: Channels, or the shape of units.
        axis: Of the channels, for ``old``.
        time: Whether ``old`` takes the time axis; then ``axis`` counts it.
        kept: Whether the new norm will have the γ of the old one.

    Returns:
        The factor, or why there is none, for people.
    """
    weight = getattr(new, "weight", None)
    if not isinstance(weight, nn.Parameter) or not getattr(new, "affine_last", True):
        return f"{with_article(type(new).__name__)} has no factor of its own behind it"
    for shape in input_shapes(features, axis - time):
        z = stream(0, "swap_norm").normal(shape, like=weight.detach())
        try:
            before, after = _moment(old, z, bare=True), _moment(new, z, bare=kept)
        except (ConfigError, RuntimeError, ValueError, IndexError):  # of that many axes, or of values without axes beside channels
            continue
        if not (0 < before < math.inf and 0 < after < math.inf):
            return "what one of the two gives for normal inputs is 0, or not finite"
        return math.sqrt(before / after)
    return "no inputs suit both"


def input_shapes(features: tuple[int, ...], axis: int, batch: int = _BATCH) -> Iterator[tuple[int, ...]]:
    """Of batches that a norm of these features, on this axis, may take."""
    if len(features) > 1:
        yield (batch, *features)
        return
    for space in ((_SIDE, _SIDE), (_SIDE,), (), (_SIDE,) * 3):
        before = space if axis == -1 else (_SIDE,) * (axis - 1)
        yield (batch, *before, *features, *(() if axis == -1 else space))


@torch.no_grad()
def _moment(norm: nn.Module, z: Tensor, *, bare: bool) -> float:
    """Mean square of what a norm gives for a batch; ``bare``, with γ = 1 and β = 0."""
    twin: Any = copy.deepcopy(norm).train()
    for name, value in (("weight", 1.0), ("bias", 0.0)) if bare else ():
        parameter = getattr(twin, name, None)
        if isinstance(parameter, nn.Parameter) and getattr(twin, "affine_last", True):
            parameter.fill_(value)
    takes_time = bool(getattr(twin, "takes_time", False))
    y = twin(z.unsqueeze(0) if takes_time else z)
    return float(y.double().square().mean())
