"""Centres of gates, taken into biases: what is left out is then 0."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from neurosim.analysis.biases import add_to_bias
from neurosim.convert.affine import TRANSPOSED
from neurosim.convert.given import check_model
from neurosim.errors import ConfigError, ConversionError
from neurosim.sparsity.gates import Gated, gated_layers

Model = TypeVar("Model", bound=nn.Module)


def fold_centres(model: Model, *, inplace: bool = False) -> Model:
    r"""A copy of a model whose gates give 0 for what is left out, with the same outputs up to rounding.

    .. math:: W\,(m + (x - m) \odot k) + b = W\,((x - m) \odot k) + (b + W\,(m \mathbf{1}))

    Gates whose centre is 0 give 0 already. On simulated hardware the clean weights are taken; a bias that the hardware holds itself is
    rounded and disturbed like any other.

    Args:
        model: With gates.
        inplace: Change ``model`` itself.

    Raises:
        ConfigError: The model has no gates.
        ConversionError: A layer pads with zeros, in the place of which its centre would be needed, or a centre stands behind an activation;
            ``model`` is then unchanged.

    Source:
        V. S. Chua, Y. Pan, N. Jain, "Post-training statistical calibration for higher activation sparsity", 2024, section 3.
    """
    check_model("fold_centres", model)
    gated = gated_layers(model)
    if not gated:
        raise ConfigError("fold_centres: the model has no gates")
    problems = [f"{path or '(model)'}: {reason}" for path, one in gated.items() if _open(one) and (reason := _obstacle(one))]
    if problems:
        raise ConversionError("fold_centres: the model is unchanged; " + "; ".join(problems))
    target = model if inplace else copy.deepcopy(model)
    for one in gated_layers(target).values():
        if _open(one):
            _move(one, 1)
            one.gate.shift.copy_(one.gate.centre)
    return target


def unfold_centres(gated: Iterable[Gated]) -> None:
    """Take back from biases, in place, what :func:`fold_centres` gave them."""
    for one in gated:
        if bool((one.gate.shift != 0).any()):
            _move(one, -1)
            one.gate.shift.zero_()
            if not one.biased:
                layer: Any = one.layer
                layer.bias = None


def _open(one: Gated) -> bool:
    """Whether its centre is not 0, and not folded."""
    return bool((one.gate.centre != one.gate.shift).any())


def _obstacle(one: Gated) -> str:
    layer: Any = one.layer
    if one.behind:
        return "the gate stands behind an activation, not before a product"
    if isinstance(layer, TRANSPOSED):
        return "windows of a transposed convolution do not all overlap alike"
    padding = getattr(layer, "padding", 0)
    if (
        getattr(layer, "padding_mode", "zeros") == "zeros"
        and padding != "valid"
        and any(padding if isinstance(padding, tuple) else (padding,))
    ):
        return "it pads with zeros, which are not the centre"
    return ""


@torch.no_grad()
def _move(one: Gated, sign: int) -> None:
    layer: Any = one.layer
    weight: Tensor = layer.weight
    moved = (weight.double() if not weight.is_complex() else weight).flatten(1).sum(1) * one.gate.centre.to(torch.float64)
    add_to_bias(layer, sign * moved)
