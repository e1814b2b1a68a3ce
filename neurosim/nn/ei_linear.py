"""Linear layer of excitatory and inhibitory units."""

from __future__ import annotations

import math
from typing import Any

from torch import Tensor, nn

from neurosim.checks import whole
from neurosim.errors import ConfigError
from neurosim.nn.ei_layer import EILayer, blank
from neurosim.norms.base import Cost, Operations
from neurosim.norms.registry import register


@register(
    "ei",
    "B19",
    kind="wrapper",
    usage="layers: ei of a spiking model, or ns.nn.EILinear(inputs, outputs) and ns.nn.EIConv2d in the place of layers",
    formula="y = g_E (W_EE x − W_EI W_IE x) / (W_EI (g_I W_IE x)) + b_E, weights ≥ 0",
    stats="sample",
    fold="F2",
    example=lambda: EILinear(16, 16),
    bounds=(-math.inf, math.inf),
    cost=Cost(Operations(adds=2, multiplies=1, divisions=1)),
)
class EILinear(EILayer):
    r"""A linear layer of excitatory units and inhibitory ones, which subtract and divide.

    :class:`EILayer` has the equation.

    Args:
        in_features: Inputs, ≥ 1; they must be 0 or more: spikes, rates, intensities.
        out_features: Excitatory units, :math:`n_E`; there are ``out_features // ei_ratio`` inhibitory ones.
        ei_ratio: Excitatory units per inhibitory one, ≥ 1.
        subtractive: Whether inhibition is subtracted.
        divisive: Whether inhibition divides.
        prop: E-I Prop: the gradient of ``lateral.weight`` is divided by ``in_features``.
        output: The last layer of a network: the difference of currents alone, without division, gain and bias.
        device, dtype: Of the parameters.

    Shapes:
        x ``(N, in_features)`` or ``(time, batch, in_features)``; every row is a sample of its own. Result likewise with ``out_features``.

    Raises:
        ConfigError: A size or the combination of switches does not hold.

    Source:
        P. Liu, J. Ding, Z. Yu, ICLR 2026 (arXiv 2509.23253).

    >>> EILinear(784, 128)
    EILinear(
      initialized=False
      (excitatory): Linear(in_features=784, out_features=128, bias=False)
      (inhibitory): Linear(in_features=784, out_features=32, bias=False)
      (lateral): Linear(in_features=32, out_features=128, bias=False)
    )
    """

    feature_dims = 1
    excitatory: nn.Linear
    inhibitory: nn.Linear
    lateral: nn.Linear

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        ei_ratio: int = 4,
        subtractive: bool = True,
        divisive: bool = True,
        prop: bool = True,
        output: bool = False,
        device: Any = None,
        dtype: Any = None,
    ) -> None:
        in_features = whole("EILinear.in_features", in_features, 1)
        out_features = whole("EILinear.out_features", out_features, 1)
        placed = {"device": device, "dtype": dtype}
        super().__init__(out_features, ei_ratio, subtractive, divisive, prop, output, **placed)
        self.in_features, self.out_features = in_features, out_features
        self.excitatory = blank(nn.Linear, in_features, out_features, **placed)
        self.inhibitory = blank(nn.Linear, in_features, self.inhibitory_units, **placed)
        self.lateral = blank(nn.Linear, self.inhibitory_units, out_features, **placed)

    def _check(self, x: Tensor) -> None:
        if not x.is_floating_point() or x.dim() > 3 or not x.dim() or x.shape[-1] != self.in_features:
            hint = "; flatten the features: x.flatten(-3)" if x.dim() > 3 else ""
            wanted = f"(N, {self.in_features}) or (time, batch, {self.in_features})"
            raise ConfigError(f"EILinear: x must be floating point of shape {wanted}, got {x.dtype} of shape {tuple(x.shape)}{hint}")
