"""Scale and shift of a norm, taken into the weights of a layer before or after it."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm

from neurosim.errors import ConversionError
from neurosim.norms import Affine, FreezingNorm, Norm, Scalar, TimeNorm
from neurosim.norms.batch import batch_affine

Weighted = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d | nn.ConvTranspose1d | nn.ConvTranspose2d | nn.ConvTranspose3d
TRANSPOSED: Final = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
WEIGHTED: Final = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, *TRANSPOSED)


def affine_of(norm: nn.Module) -> Affine:
    """Scale and shift of any norm in evaluation; of one that :func:`centers`, of the input without its mean over the channels.

    Raises:
        ConversionError: They are not the same for all samples.
    """
    if isinstance(norm, FreezingNorm):
        return norm.fold_centered()
    if isinstance(norm, Norm | Scalar):
        return norm.fold()
    if not isinstance(norm, _BatchNorm) and not (isinstance(norm, _InstanceNorm) and norm.track_running_stats):
        raise ConversionError("it takes statistics of every sample")
    return batch_affine(norm)


def centers(norm: nn.Module) -> bool:
    """Whether a norm takes the mean over the channels away before its scale and shift."""
    return isinstance(norm, FreezingNorm) and norm.centers


def check_axis(norm: nn.Module, layer: Weighted, dims: int | None = None) -> int | None:
    """How many axes inputs must have for the channels of a norm to be those of its neighbour; None: any number.

    Args:
        norm: Any norm.
        layer: Its neighbour.
        dims: Axes of the inputs of the norm, where that is known.

    Raises:
        ConversionError: They are on different axes.
    """
    if isinstance(norm, TimeNorm):
        return None
    axis, name = (norm.channel_axis if isinstance(norm, Norm) else 1), type(layer).__name__
    if not isinstance(layer, nn.Linear):
        if axis != 1:
            raise ConversionError(f"its channels are on axis {axis}, and those of the {name} on axis 1")
        return None
    if axis < -1 or isinstance(norm, _InstanceNorm) or (axis >= 0 and dims is not None and dims != axis + 1):
        raise ConversionError(f"its channels are on axis {axis}, and the features of the {name} on the last one")
    return None if axis == -1 else axis + 1


def fold_after(layer: Weighted, affine: Affine, centered: bool = False) -> None:
    r"""Give a layer the weights with which it computes what the norm behind it makes of its outputs, rounded once from float64.

    .. math:: s\,(W x + b) + t = (s W)\,x + (s b + t)

    Args:
        layer: Whose weights are replaced.
        affine: s and t.
        centered: Whether the norm takes the mean over the channels away first, so that W and b lose theirs over the outputs.

    Raises:
        ConversionError: The norm has another number of channels than the layer has outputs, or centres those of a grouped convolution, or
            the new weights are too large for their precision.
    """
    outputs = layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels
    scale, shift = _of("outputs", outputs, affine, layer.weight.device)
    weight = layer.weight.detach().double()
    bias = torch.zeros_like(shift) if layer.bias is None else layer.bias.detach().double()
    if centered:
        if not isinstance(layer, nn.Linear) and layer.groups != 1:
            raise ConversionError("the layer before it is a grouped convolution, whose outputs have no inputs in common")
        weight = weight - weight.mean(1 if isinstance(layer, TRANSPOSED) else 0, keepdim=True)
        bias = bias - bias.mean()
    if isinstance(layer, TRANSPOSED):  # (inputs, outputs of a group, *): every group of inputs has its own outputs
        grouped = weight.reshape(layer.groups, -1, *weight.shape[1:])
        factors = scale.reshape(layer.groups, 1, -1, *(1,) * (weight.dim() - 2))
        weight = (grouped * factors).reshape(weight.shape)
    else:
        weight = weight * _along(scale, 0, weight)
    _replace(layer, weight, bias * scale + shift)


def fold_before(layer: Weighted, affine: Affine, centered: bool = False) -> None:
    r"""Give a layer the weights with which it takes what the norm before it takes.

    .. math:: W\,(s x + t) + b = (W s)\,x + (W t + b)

    Args:
        layer: Whose weights are replaced.
        affine: s and t.
        centered: Whether the norm takes the mean over the channels away first, so that W s loses its own over the inputs.

    Raises:
        ConversionError: The norm has another number of channels than the layer has inputs, or the layer pads with zeros, to which the norm
            does not add its shift, or the new weights are too large for their precision; transposed and grouped convolutions are not taken.
    """
    if isinstance(layer, TRANSPOSED) or (not isinstance(layer, nn.Linear) and layer.groups != 1):
        raise ConversionError("the layer after it is a transposed or grouped convolution")
    inputs = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
    scale, shift = _of("inputs", inputs, affine, layer.weight.device)
    if not isinstance(layer, nn.Linear) and layer.padding_mode == "zeros" and layer.padding not in _UNPADDED and bool(shift.any()):
        raise ConversionError("the convolution after it pads with zeros, to which no shift is added")
    weight = layer.weight.detach().double()
    moved = (weight * _along(shift, 1, weight)).flatten(1).sum(1)
    bias = moved if layer.bias is None else moved + layer.bias.detach().double()
    scaled = weight * _along(scale, 1, weight)
    _replace(layer, scaled - scaled.mean(1, keepdim=True) if centered else scaled, bias)


_UNPADDED: Final = ("valid", (0,), (0, 0), (0, 0, 0))


def _of(what: str, count: int, affine: Affine, device: torch.device) -> tuple[Tensor, Tensor]:
    scale, shift = affine.scale.detach().double(), affine.shift.detach().double()
    if scale.dim() == 0:  # one number for all channels
        scale, shift = scale.expand(count), shift.expand(count)
    if scale.shape != (count,):
        raise ConversionError(f"it has features {tuple(scale.shape)}, and the layer {count} {what}")
    if not bool((scale.isfinite() & shift.isfinite()).all()):
        raise ConversionError("its scale or shift is not finite")
    return scale.to(device), shift.to(device)  # constants are made on the CPU


def _along(value: Tensor, axis: int, like: Tensor) -> Tensor:
    return value.reshape(*(1,) * axis, -1, *(1,) * (like.dim() - axis - 1))


def _replace(layer: Weighted, weight: Tensor, bias: Tensor) -> None:
    learned = layer.weight.requires_grad
    rounded = [value.to(layer.weight) for value in (weight, bias)]
    if not all(value.is_meta or bool(value.isfinite().all()) for value in rounded):
        raise ConversionError(f"the weights of the {type(layer).__name__} would not be finite in {layer.weight.dtype}")
    layer.weight, layer.bias = (nn.Parameter(value, requires_grad=learned) for value in rounded)
