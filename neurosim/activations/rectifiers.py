"""Rectifiers with a kink: what lets one sign pass."""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn import functional as F

from neurosim.activations.cost import Operations
from neurosim.activations.declare import curve, in_float32
from neurosim.activations.parameter import Parameter, Value

_INF = math.inf

curve(
    "identity",
    "x",
    bounds=(-_INF, _INF),
    smoothness="smooth",
    homogeneous=True,
    operations=Operations(),
    hardware="none: the amplifier or the detector alone",
    module=nn.Identity,
)(torch.clone)

curve(
    "relu",
    "max(0, x)",
    bounds=(0.0, _INF),
    smoothness="C0",
    homogeneous=True,
    operations=Operations(comparisons=1),
    hardware="a diode or a comparator; half of the signed range is never used",
    cite=("relu",),
    module=lambda: nn.ReLU(),
)(F.relu)


@curve(
    "relu_n",
    "min(max(0, x), n)",
    n=Parameter(6.0, gt=0),
    bounds=lambda n: (0.0, n),
    smoothness="C0",
    operations=Operations(comparisons=2),
    fold="parts",
    hardware="a rectifier that saturates; n = 1 is the clamp to 0 … 1 of an unsigned converter",
    cite=("relu6",),
    module=lambda n: nn.ReLU6() if n == 6 else None,
)
def relu_n(x: Tensor, n: Value) -> Tensor:
    """ReLU that stops at n."""
    return F.relu(x).clamp(max=n)


curve(
    "leaky_relu",
    "max(0, x) + a·min(0, x)",
    negative_slope=Parameter(0.01),
    bounds=lambda a: (-_INF, _INF) if a > 0 else (0.0, _INF),
    monotone=lambda a: a >= 0,
    smoothness="C0",
    homogeneous=True,
    operations=Operations(multiplies=1, comparisons=1),
    hardware="two gains, chosen by a comparator",
    cite=("leaky_relu",),
    module=lambda negative_slope: nn.LeakyReLU(negative_slope),
)(lambda x, negative_slope: torch.where(x > 0, x, negative_slope * x))


class PReLU(nn.PReLU):
    """PReLU of torch, for inputs of 16 bits as well where its slopes have 32: it is computed in float32 then."""

    of_torch: ClassVar = nn.PReLU  #: what it stands for

    def forward(self, input: Tensor) -> Tensor:
        """The result, in the precision of the input."""
        return in_float32(F.prelu, where="activation prelu")(input, self.weight)


@curve(
    "prelu",
    "max(0, x) + a·min(0, x), a learned",
    init=Parameter(0.25, learned=True),
    bounds=lambda a: (-_INF, _INF) if a > 0 else (0.0, _INF),
    monotone=lambda a: a >= 0,
    smoothness="C0",
    homogeneous=True,
    operations=Operations(multiplies=1, comparisons=1),
    hardware="as leaky_relu, with a gain that can be set; with a < 0 one neuron solves XOR; its slope wants no weight decay",
    cite=("prelu", "prelu_xor"),
    module=lambda init: PReLU(init=init),
)
def prelu(x: Tensor, init: Value) -> Tensor:
    """Leaky ReLU whose slope below 0 is learned."""
    return torch.where(x > 0, x, init * x)


@curve(
    "helu",
    "max(0, x); backward 1[x > −a]",
    alpha=Parameter(1e-3, ge=0, fixed=True),
    bounds=(0.0, _INF),
    smoothness="C0",
    homogeneous=True,
    own_gradient=True,
    operations=Operations(comparisons=1),
    hardware="inference is the ReLU's comparator; 0.05 for transformers",
    cite=("helu",),
)
def helu(x: Tensor, alpha: Value) -> Tensor:
    """ReLU whose gradient also reaches units that are off by less than alpha."""
    forward = forward_ad._current_level >= 0
    if not forward and not (x.requires_grad and torch.is_grad_enabled()):
        return F.relu(x)
    seen = F.threshold(x, -alpha, 0.0) if isinstance(alpha, float) else torch.where(x <= -alpha, 0, x)
    return seen + F.relu(-seen).detach()  # below 0 that is 0, with a slope


@curve(
    "relu_squared",
    "max(0, x)²",
    bounds=(0.0, _INF),
    smoothness="C1",
    operations=Operations(multiplies=1, comparisons=1),
    fold="square",
    hardware="the square law of a transistor or of a photodetector behind a rectified field",
    cite=("primer", "relu_squared_wins"),
)
def relu_squared(x: Tensor) -> Tensor:
    """The square of ReLU."""
    return F.relu(x).square()


@curve(
    "elu",
    "x for x > 0, a·(eˣ − 1) below",
    alpha=Parameter(1.0),
    bounds=lambda a: (-max(a, 0.0), _INF),
    monotone=lambda a: a >= 0,
    smoothness=lambda a: "C1" if a == 1 else "C0",
    homogeneous=lambda a: a == 0,
    operations=lambda a: Operations(adds=1, multiplies=int(a != 1), lookups=1, comparisons=1) if a != 0 else Operations(comparisons=1),
    hardware="a rectifier with the exponential foot of a diode",
    cite=("elu",),
    module=lambda alpha: nn.ELU(alpha),
)
def elu(x: Tensor, alpha: Value) -> Tensor:
    """Exponential linear unit."""
    return torch.where(x > 0, x, alpha * x.clamp(max=0).expm1())


_SELU_SCALE, _SELU_ALPHA = 1.0507009873554805, 1.6732632423543772

curve(
    "selu",
    "1.0507·(x for x > 0, 1.6733·(eˣ − 1) below)",
    bounds=(-_SELU_SCALE * _SELU_ALPHA, _INF),
    smoothness="C0",
    operations=Operations(adds=1, multiplies=2, lookups=1, comparisons=1),
    fold="parts",
    hardware="keeps mean 0 and variance 1 through the layers, where weights start LeCun-normal; no norm is needed",
    cite=("selu",),
    module=lambda: nn.SELU(),
)(F.selu)
