"""Norms of digital models, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from neurosim.checks import whole
from neurosim.errors import ConfigError
from neurosim.norms import FreezingNorm, MeasuredNorm, Norm
from neurosim.norms.placement import chosen_norm

Chosen = str | dict[str, Any] | None  #: what a config may say: a name, or ``{kind: name, **arguments}``, with ``freeze`` or without


def norm_layer(chosen: Chosen, features: int, axes: int, where: str = "norm", depth: int = 1) -> Norm:
    """A fresh norm of a digital model.

    Args:
        chosen: The name of a module in ``NORMS``, or ``{"kind": name, **arguments}``. Of a norm by statistics of every sample, ``freeze``
            beside its arguments makes a :class:`~neurosim.norms.FreezingNorm`: batches of training before its statistics become constants,
            or ``[first, gap]``, where every further layer is frozen so many batches later.
        features: Channels, which the norm is given as ``features``.
        axes: Of its input beside batch and channels: 0 behind a linear layer, 2 behind a convolution of images.
        where: What messages call it.
        depth: Of the layer, from 1, for a norm that knows it and whose depth is not chosen.

    Raises:
        ConfigError: There is no such norm or argument, a value is out of its domain, or the norm does not take such inputs.

    >>> norm_layer("layer", 16, axes=0)
    LayerNorm(16, eps=1e-05)
    >>> norm_layer({"kind": "layr"}, 16, axes=0)
    Traceback (most recent call last):
    neurosim.errors.ConfigError: norm: no norm is named 'layr'; did you mean 'layer'?
    """
    if isinstance(chosen, Mapping) and "freeze" in chosen:
        inner = norm_layer({name: value for name, value in chosen.items() if name != "freeze"}, features, axes, where, depth)
        if not isinstance(inner, MeasuredNorm):
            raise ConfigError(f"{where}.freeze: must be left out of {chosen.get('kind')}, which takes no statistics of every sample")
        return FreezingNorm(inner, _frozen_after(f"{where}.freeze", chosen["freeze"], depth))
    norm, tried = (chosen_norm(where, chosen, features, {"depth": depth}) for _ in range(2))
    try:
        with torch.no_grad():
            tried(torch.ones(2, features, *(2,) * axes))
    except ConfigError as error:
        named = chosen["kind"] if isinstance(chosen, Mapping) else chosen
        raise ConfigError(f"{where}: {named} does not fit: {error}") from None
    return norm


def _frozen_after(where: str, given: object, depth: int) -> int:
    """Batches of training before the norm of a layer is frozen."""
    first, gap = given if isinstance(given, list | tuple) and len(given) == 2 else (given, 0)
    return whole(where, first, 0) + whole(f"{where}: gap", gap, 0) * (depth - 1)


def named_norm(name: str, chosen: Chosen, features: int, axes: int, depth: int = 1) -> dict[str, nn.Module]:
    """The norm under its name, or nothing where none is chosen."""
    return {} if chosen is None else {name: norm_layer(chosen, features, axes, depth=depth)}
