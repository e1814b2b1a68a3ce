"""Norms of digital models, by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

import torch
from torch import nn

from neurosim.errors import ConfigError
from neurosim.models.checked import named
from neurosim.norms import Norm
from neurosim.norms.choice import chosen_entry, chosen_norm

#: what a config may say: a name, or ``{kind: name, **arguments}``, with ``freeze`` or without
Chosen = Annotated[str | dict[str, Any] | None, named("norm", lambda chosen: None if chosen is None else chosen_entry("norm", chosen))]


def norm_layer(chosen: Chosen, features: int, axes: int, where: str = "norm", depth: int = 1, order: int | None = None) -> Norm:
    """A fresh norm of a digital model.

    Args:
        chosen: The name of a module in ``NORMS``, or ``{"kind": name, **arguments}``. Of a norm by statistics of every sample, ``freeze``
            beside its arguments makes a :class:`~neurosim.norms.FreezingNorm`: batches of training before its statistics become constants,
            or ``[first, gap]``, where every further layer is frozen so many batches later.
        features: Channels, which the norm is given as ``features``.
        axes: Of its input beside batch and channels: 0 behind a linear layer, 2 behind a convolution of images.
        where: What messages call it.
        depth: Of the layer, from 1, for a norm that knows it and whose depth is not chosen.
        order: Its place among the norms that are frozen one after the other, from 1; None: that of its depth.

    Raises:
        ConfigError: There is no such norm or argument, a value is out of its domain, or the norm does not take such inputs.

    >>> norm_layer("layer", 16, axes=0)
    LayerNorm(16, eps=1e-05)
    >>> norm_layer({"kind": "layr"}, 16, axes=0)
    Traceback (most recent call last):
    neurosim.errors.ConfigError: norm: no norm is named 'layr'; did you mean 'layer'?
    """
    norm, tried = (chosen_norm(where, chosen, features, {"depth": depth}, order or depth) for _ in range(2))
    try:
        with torch.no_grad():
            tried(torch.ones(2, features, *(2,) * axes))
    except ConfigError as error:
        named = chosen["kind"] if isinstance(chosen, Mapping) else chosen
        raise ConfigError(f"{where}: {named} does not fit: {error}") from None
    return norm


def named_norm(name: str, chosen: Chosen, features: int, axes: int, depth: int = 1, order: int | None = None) -> dict[str, nn.Module]:
    """The norm under its name, or nothing where none is chosen."""
    return {} if chosen is None else {name: norm_layer(chosen, features, axes, depth=depth, order=order)}


def check_norm(chosen: Chosen, places: Iterable[tuple[int, int]]) -> None:
    """Refuse a norm that does not fit.

    Args:
        chosen: See :func:`norm_layer`; None: none.
        places: Channels, and axes beside batch and channels.

    Raises:
        ConfigError: It does not.
    """
    for channels, axes in dict.fromkeys(places):
        named_norm("norm", chosen, channels, axes)
