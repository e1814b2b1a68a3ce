"""The parts of a norm that neighbouring layers take over, where the whole cannot be: centring, a gain, scale and shift."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import nn

from neurosim.convert.affine import TRANSPOSED, WEIGHTED, Weighted, check_axis, fold_after, fold_before
from neurosim.errors import ConversionError
from neurosim.norms import Affine, ChannelNorm, DynamicTanh, L1LayerNorm, LayerNorm, PrenormalizedLayerNorm

Result = TypeVar("Result")


def fold_affine(norm: ChannelNorm, layer: Weighted) -> None:
    r"""Give γ and β of a norm to the layer that follows it; both are changed, the norm has none afterwards.

    .. math:: W (\gamma \odot z + \beta) + b = (W \operatorname{diag} \gamma)\,z + (W \beta + b)

    A linear layer works on the last axis. Beside one, a norm with channels on axis 1 takes inputs with two axes only from then on, and
    refuses others, of which the layer would scale the wrong values.

    Args:
        norm: One whose γ and β are the last that it does.
        layer: A linear layer or convolution that takes what the norm gives, and nothing else does.

    Raises:
        ConversionError: The norm does something after them, or the layer cannot take them over; nothing is changed then.

    >>> norm, layer = LayerNorm(4), nn.Linear(4, 2)
    >>> fold_affine(norm, layer)
    >>> norm.weight is None, norm.bias is None
    (True, True)
    """
    where = _checked("fold_affine", norm, (ChannelNorm,), layer)
    if not norm.affine_last:
        raise ConversionError(f"{where}: something follows its scale and shift, or they are part of its formula")
    affine = norm.last_affine()
    if affine is None:
        return
    dims = _named(where, check_axis, norm, layer, norm.dims)
    _named(where, fold_before, layer, affine)
    norm.drop_affine()
    norm.dims = dims if norm.dims is None else norm.dims


def fold_centering(layer: Weighted, norm: LayerNorm | L1LayerNorm | PrenormalizedLayerNorm) -> None:
    r"""Let the layer before a layer norm give outputs of mean 0; both are changed, the norm does not centre afterwards.

    .. math:: P (W x + b) = (P W)\,x + P b, \qquad P = I - \tfrac{1}{d} 1 1^\mathsf{T}

    A layer norm is an RMS norm with a shift then. Done to every layer that writes into a residual stream, all norms that read it need no
    centring. A linear layer works on the last axis; see :func:`fold_affine`.

    Args:
        layer: A linear layer or convolution; the norm takes what it gives.
        norm: Centres and scales the channels of that.

    Raises:
        ConversionError: It has other channels, or the layer cannot take the projection over; nothing is changed then.

    >>> layer, norm = nn.Linear(3, 4), LayerNorm(4)
    >>> fold_centering(layer, norm)
    >>> bool(layer(torch.rand(5, 3)).mean(1).abs().max() < 1e-6), norm.center
    (True, False)
    """
    where = _checked("fold_centering", norm, (LayerNorm, L1LayerNorm, PrenormalizedLayerNorm), layer)
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    if norm.features != (outputs,):
        raise ConversionError(f"{where}: it has features {norm.features}, and the layer {outputs} outputs")
    if not isinstance(layer, nn.Linear) and layer.groups != 1:
        raise ConversionError(f"{where}: the layer before it is a grouped convolution, whose outputs have no inputs in common")
    dims = _named(where, check_axis, norm, layer, norm.dims)
    axis = 1 if isinstance(layer, TRANSPOSED) else 0
    with torch.no_grad():
        weight = layer.weight.double()
        layer.weight.copy_(weight - weight.mean(axis, keepdim=True))
        if layer.bias is not None:
            bias = layer.bias.double()
            layer.bias.copy_(bias - bias.mean())
    norm.center = False
    norm.dims = dims if norm.dims is None else norm.dims


def fold_gain(layer: Weighted, norm: DynamicTanh) -> None:
    r"""Give the gain of a dynamic tanh to the layer before it; both are changed, the norm is a plain tanh with γ and β afterwards.

    .. math:: \tanh(\alpha (W x + b)) = \tanh((\alpha W)\,x + \alpha b)

    Args:
        layer: A linear layer or convolution; the norm takes what it gives.
        norm: The dynamic tanh.

    Raises:
        ConversionError: They are not what they must be; nothing is changed then.
    """
    where = _checked("fold_gain", norm, (DynamicTanh,), layer)
    if norm.alpha is None:
        return
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    gain = norm.alpha.detach().expand(outputs)
    _named(where, fold_after, layer, Affine(gain, torch.zeros_like(gain)))
    norm.alpha = None


def _checked(where: str, norm: nn.Module, kinds: tuple[type[ChannelNorm], ...], layer: nn.Module) -> str:
    if not isinstance(norm, kinds):
        owner = "torch's " if type(norm).__module__.startswith("torch.") else ""
        got = f"{owner}{type(norm).__name__}" + ("; neurosim.swap_norm puts one of ours in its place" if owner else "")
        raise ConversionError(f"{where}: the norm must be a {' or '.join(kind.__name__ for kind in kinds)} of neurosim.norms, got {got}")
    where = f"{where}: {type(norm).__name__}"
    if type(layer) not in WEIGHTED:
        raise ConversionError(f"{where}: its neighbour must be a linear layer or a convolution, got {type(layer).__name__}")
    if len(norm.features) > 1:
        raise ConversionError(f"{where}: it has features {norm.features}, and a layer has one scale a channel")
    return where


def _named(where: str, step: Callable[..., Result], *args: Any) -> Result:
    try:
        return step(*args)
    except ConversionError as error:
        raise ConversionError(f"{where}: {error}") from None
