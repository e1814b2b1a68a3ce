"""Bounded units: what a saturating device does by itself."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurosim.activations.cost import Operations
from neurosim.activations.declare import curve
from neurosim.activations.parameter import Parameter, Value, finite, floored
from neurosim.activations.smooth import at_least

curve(
    "sigmoid",
    "1/(1 + e^(−x))",
    bounds=(0.0, 1.0),
    smoothness="smooth",
    zero_preserving=False,
    operations=Operations(lookups=1),
    hardware="a saturating device for signals above 0; fits an unsigned converter without a clamp",
    module=lambda: nn.Sigmoid(),
)(torch.sigmoid)

curve(
    "tanh",
    "tanh x",
    bounds=(-1.0, 1.0),
    smoothness="smooth",
    operations=Operations(lookups=1),
    hardware="a differential pair; fits a signed converter without a clamp, and is the smooth clamp",
    module=lambda: nn.Tanh(),
)(torch.tanh)

curve(
    "hardtanh",
    "min(max(x, low), high)",
    min_val=Parameter(-1.0),
    max_val=Parameter(1.0),
    rising=("min_val", "max_val"),
    bounds=lambda low, high: (min(low, high), high),
    smoothness="C0",
    zero_preserving=lambda low, high: min(max(low, 0.0), high) == 0,
    operations=Operations(comparisons=2),
    fold="parts",
    hardware="the clamp of a converter itself; two kinks, each with the gradient noise of a ReLU",
    cite=("hardtanh",),
    module=lambda min_val, max_val: nn.Hardtanh(min_val, max_val),
)(lambda x, min_val, max_val: x.clamp(min=min_val).clamp(max=max_val))

curve(
    "softsign",
    "x/(1 + |x|)",
    bounds=(-1.0, 1.0),
    smoothness="C1",
    operations=Operations(adds=1, divisions=1),
    hardware="divisive saturation; reaches its ends slowly",
    cite=("softsign",),
    module=lambda: nn.Softsign(),
)(lambda x: F.softsign(finite(x)))

curve(
    "hardsigmoid",
    "min(max(x + 3, 0), 6)/6",
    bounds=(0.0, 1.0),
    smoothness="C0",
    zero_preserving=False,
    operations=Operations(adds=1, multiplies=1, comparisons=2),
    fold="parts",
    hardware="a clamp with an offset and a gain",
    cite=("hardswish",),
    module=lambda: nn.Hardsigmoid(),
)(F.hardsigmoid)


@curve(
    "gaussian",
    "e^(−x²/2s²)",
    s=Parameter(1.0, gt=0),
    bounds=(0.0, 1.0),
    monotone=False,
    smoothness="smooth",
    zero_preserving=False,
    operations=Operations(multiplies=2, lookups=1),
    fold="parts",
    hardware="the transmission of a resonator around its line; s = 1/√2 is e^(−x²)",
    cite=("rbf", "analogvnn"),
)
def gaussian(x: Tensor, s: Value) -> Tensor:
    """A bell curve."""
    z = (x / at_least(s, 1e-12)).clamp(-1e30, 1e30)  # so that 2z, the slope of its square, is finite
    return torch.exp(-z.square() / 2)


@curve(
    "lipswish",
    "x·σ(βx)/1.1",
    beta=Parameter(math.log1p(math.exp(0.5)), gt=0, learned=True, through="softplus"),
    bounds=(None, math.inf),
    monotone=False,
    smoothness="smooth",
    operations=Operations(multiplies=3, lookups=1),
    fold="parts",
    hardware="no slope exceeds 1: noise is not amplified, so layers with ‖W‖ ≤ 1 have a certified noise budget",
    cite=("residual_flows",),
)
def lipswish(x: Tensor, beta: Value) -> Tensor:
    """Swish, divided by its largest slope."""
    return floored(x) * torch.sigmoid(beta * x) / 1.1
