"""Limits of the weights and of the inputs of a layer, chosen together for what the layer gives."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.func import functional_call

from neurosim.convert.affine import TRANSPOSED
from neurosim.quantizers import channel_limits, fake_quantize, number_format

_SPAN: Final = 10  #: limits and factors of inputs go down to the largest magnitude over two to that power
_POWERS: Final = 8  #: powers of the ranges of channels that are tried, besides 0
_WIDTHS: Final = (0.25, 0.125, 0.0625)  #: steps of the searches around what is best, as powers of two


class JointLimits(NamedTuple):
    """What :func:`joint_limits` found.

    Args:
        weights: A limit for each weight, in a shape that broadcasts.
        inputs: One for each input channel.
        output_sqnr_db: Power of the layer's outputs over that of their error, dB.
        separate_sqnr_db: The same where the search began.
    """

    weights: Tensor
    inputs: Tensor
    output_sqnr_db: float
    separate_sqnr_db: float


@torch.no_grad()
def joint_limits(
    layer: Any, inputs: Sequence[Tensor], weights: str, activations: str, axis: int | None, start: float, offset: Tensor | None
) -> JointLimits:
    r"""Limits with which the outputs of a layer, weights and inputs both rounded, are nearest to those without rounding.

    .. math:: \min_{\alpha, r, \varphi} \sum \lVert \hat W \hat x - W x \rVert^2, \qquad
        \hat x_j = Q_{r f_j}(x_j), \quad \hat W_{cj} = Q_{\varphi_c m_c / f_j}(W_{cj}), \quad
        f_j = \left(\frac{\max |x_j|}{\max |x|}\right)^{\alpha}, \quad m_c = \max_j |W_{cj}| f_j

    The factors f of the input channels cancel in the product of both: hardware multiplies codes and scales the sum once for each output.
    From separate limits on (α = 0, the given r, φ = 1), α and r are tried all over; then φ, of each output channel by itself, and r in turn
    around what is best. A step is only taken if the error becomes less.

    Args:
        layer: A linear layer or convolution, digital.
        inputs: What it is given, ``(samples, channels, *space)``.
        weights, activations: The formats.
        axis: That of the output channels of the weight; None is one φ for all.
        start: r.
        offset: What is subtracted from inputs before they are rounded.

    Source:
        J. Lee et al., "Enhancing computation efficiency in large language models through weight and activation quantization", EMNLP 2023:
        the error of the output under both roundings (AQAS). Factors that are powers of the ranges of channels: J. Lin et al., "AWQ:
        activation-aware weight quantization for on-device LLM compression and acceleration", MLSys 2024, section 3.2.
    """
    search = _Search(layer, inputs, weights, activations, axis, offset)
    r, power, share = start, 0.0, search.ones
    error = separate = search.errors(search.rounded(r, power), power, share)
    tried = [start, *(search.most * 2 ** (-step / 2) for step in range(2 * _SPAN + 1))]
    for one, other in itertools.product(tried, (step / _POWERS for step in range(_POWERS + 1))):
        found = search.errors(search.rounded(one, other), other, share)
        if found.sum() < error.sum():
            r, power, error = one, other, found
    for ratios in ([2 ** (width * step) for step in (-4, -3, -2, -1, 1, 2, 3, 4)] for width in _WIDTHS):
        x, around = search.rounded(r, power), share
        for ratio in ratios:
            found = search.errors(x, power, around * ratio)
            share, error = torch.where(found < error, around * ratio, share), torch.minimum(found, error)
        for one in [r * ratio for ratio in ratios]:
            found = search.errors(search.rounded(one, power), power, share)
            if found.sum() < error.sum():
                r, error = one, found
    limits = search.weight_limits(power, share)
    return JointLimits(torch.where(limits > 0, limits, 1.0), search.input_limits(r, power), search.sqnr_db(error), search.sqnr_db(separate))


class _Search:
    """A layer, what it is given, and what it is to give."""

    def __init__(
        self, layer: Any, inputs: Sequence[Tensor], weights: str, activations: str, axis: int | None, offset: Tensor | None
    ) -> None:
        self.layer, self.inputs, self.axis, self.offset = layer, inputs, axis, offset
        self.formats = weights, activations
        self.weight: Tensor = layer.weight.detach()
        self.outputs: list[Tensor] = [layer(x) for x in inputs]
        self.ones = torch.ones_like(channel_limits(self.weight, axis))
        self.after = (1,) * (self.weight.dim() - 2)  #: axes behind the channels
        signed = number_format(activations).signed
        moved = [x if offset is None else x - offset for x in inputs]
        largest = [channel_limits(x if signed else x.clamp(min=0), 1).flatten() for x in moved]
        self.ranges = torch.stack(largest).amax(0)
        self.most = float(self.ranges.max()) or 1.0

    def factors(self, power: float) -> Tensor:
        """f, one an input channel; those of channels that are nearly silent are not smaller than 2⁻¹⁰."""
        return (self.ranges / self.most).clamp(min=2.0**-_SPAN) ** power

    def input_limits(self, r: float, power: float) -> Tensor:
        """Of the inputs, in a shape that broadcasts; one number where all are equal."""
        return r * self.factors(power).reshape(-1, *self.after) if power else torch.full_like(self.ranges[0], r)

    def weight_limits(self, power: float, share: Tensor) -> Tensor:
        """Of the weights, likewise."""
        if not power:
            return share * channel_limits(self.weight, self.axis)
        f = self.factors(power)
        if isinstance(self.layer, TRANSPOSED):
            f = f.reshape(-1, 1, *self.after)
        else:  # (outputs, inputs of a group, *)
            groups = getattr(self.layer, "groups", 1)
            f = f.reshape(groups, -1).repeat_interleave(len(self.weight) // groups if groups > 1 else 1, 0)
            f = f.reshape(*f.shape, *self.after)
        return share * channel_limits(self.weight * f, self.axis) / f

    def rounded(self, r: float, power: float) -> list[Tensor]:
        """The inputs."""
        limit, form = self.input_limits(r, power), self.formats[1]
        if self.offset is None:
            return [fake_quantize(x, form, limit) for x in self.inputs]
        return [fake_quantize(x - self.offset, form, limit) + self.offset for x in self.inputs]

    def errors(self, x: list[Tensor], power: float, share: Tensor) -> Tensor:
        """Squared error of the outputs, for every share by itself."""
        weight = fake_quantize(self.weight, self.formats[0], self.weight_limits(power, share))
        given = (functional_call(self.layer, {"weight": weight}, (one,)) for one in x)
        each = [(y - true).double().square().transpose(0, 1).flatten(1).sum(1) for y, true in zip(given, self.outputs, strict=True)]
        return torch.stack(each).sum(0).reshape(-1, self.ones.numel()).sum(0).reshape(self.ones.shape)

    def sqnr_db(self, error: Tensor) -> float:
        """Power of the outputs over that of an error, dB."""
        power, noise = sum(float(y.double().square().sum()) for y in self.outputs), float(error.sum())
        return 10 * math.log10(power / noise) if noise and power else math.inf
