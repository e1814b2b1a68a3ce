"""Activations around another one: a scale that follows the variance of the input, scales that are learned, and a mean that is taken off."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neurosim.activations.base import ACTIVATIONS, Activation, Curve
from neurosim.activations.cost import Cost, Operations
from neurosim.activations.declare import layer
from neurosim.activations.facts import activation, facts, read_choice
from neurosim.checks import number
from neurosim.clock import recomputing
from neurosim.errors import ConfigError


def _curve(where: str, base: Any) -> nn.Module:
    """The activation inside, which must work element by element."""
    name, _ = read_choice(base, {})
    kind = ACTIVATIONS[name].kind
    if kind not in ("curve", "random"):
        raise ConfigError(f"{where}.base: must be a curve, a function of one number, got {name!r}, which is of kind {kind!r}")
    made = activation(base)
    if isinstance(entry := ACTIVATIONS[name], Curve) and not isinstance(made, Activation) and not list(made.parameters()):
        return Activation(entry, facts(made).settings)  # torch's own are no numbers at −∞
    return made


@layer(
    "variance_scaled",
    "f(s·x), s = clip(1/σ, ½, 2), σ the running deviation of x",
    "wrapper",
    cost=Cost(Operations(multiplies=2, lookups=1)),
    fold="parts",
    hardware="in the manner of VeLU, not its formula: in evaluation s is one fixed gain, which the weights before can take",
    cite=("velu",),
)
class VarianceScaled(nn.Module):
    r"""Any activation with its input brought towards variance 1, by a running estimate.

    It stands for VeLU: the parts that are known of it (a bounded variance-adaptive scale from an exponential average, and a penalty on the
    Wasserstein distance to a Gaussian) around an activation of your choice; VeLU's own composition of arctangent and arcsine is not here.

    Batches without elements, or whose deviation is not finite, leave the running one as it is. What an activation checkpoint recomputes has
    the scale of its forward and moves nothing, as long as ``backward`` runs before the next forward.

    Args:
        base: What :func:`activation` takes: a curve.
        momentum: Share of a batch in the running deviation, in 0 … 1.
        low, high: Limits of the scale, 0 < low ≤ high.
        weight: Of :meth:`penalty`, ≥ 0.

    Shapes:
        Any; the result has the shape of the input.

    Raises:
        ConfigError: ``base`` is no curve, or a number is out of its domain.
    """

    deviation: Tensor  #: running standard deviation of the input

    def __init__(self, base: Any = "silu", momentum: float = 0.1, low: float = 0.5, high: float = 2.0, weight: float = 0.0) -> None:
        super().__init__()
        self.base = _curve("VarianceScaled", base)
        self.momentum = number("VarianceScaled.momentum", momentum, gt=0, lt=1)
        self.low, self.weight = number("VarianceScaled.low", low, gt=0), number("VarianceScaled.weight", weight, ge=0)
        self.high = number("VarianceScaled.high", high, ge=self.low)
        self.register_buffer("deviation", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        """The activation; training moves the running deviation."""
        if self.training and x.numel() and not recomputing():
            with torch.no_grad():
                found = x.detach().float().std(correction=0).to(self.deviation)
                self.deviation.lerp_(torch.where(found.isfinite(), found, self.deviation), self.momentum)
        y: Tensor = self.base(x * self.scale().to(x.dtype))
        return y

    def scale(self) -> Tensor:
        """s, a scalar; the weights and biases before may be multiplied by it, which :func:`neurosim.fold` does not do by itself."""
        return (1 / self.deviation).clamp(self.low, self.high)

    def penalty(self, x: Tensor) -> Tensor:
        """``weight`` times the squared 2-Wasserstein distance of the Gaussian with the moments of ``x`` to N(0, 1)."""
        return self.weight * (x.mean().square() + (x.std(correction=0) - 1).square())

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"momentum={self.momentum:g}, low={self.low:g}, high={self.high:g}, weight={self.weight:g}"


@layer(
    "scaled",
    "α·f(βx)",
    "wrapper",
    cost=Cost(Operations(multiplies=3, lookups=1)),
    fold="parts",
    hardware="a gain before and one after a device: α and β fold into the layers around it",
    cite=("safs",),
)
class Scaled(nn.Module):
    """Any activation with two learned gains: the form that is searched for pruned networks, layer by layer.

    Args:
        base: What :func:`activation` takes: a curve.
        alpha: Gain after it.
        beta: Gain before it.

    Raises:
        ConfigError: ``base`` is no curve, or a gain is no number.
    """

    def __init__(self, base: Any = "silu", alpha: float = 1.0, beta: float = 1.0) -> None:
        super().__init__()
        self.base = _curve("Scaled", base)
        self.alpha = nn.Parameter(torch.tensor(number("Scaled.alpha", alpha)))
        self.beta = nn.Parameter(torch.tensor(number("Scaled.beta", beta)))

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        y: Tensor = self.base(self.beta.to(x.dtype) * x)
        return self.alpha.to(x.dtype) * y


@layer(
    "centred",
    "f(x) − E f(√q z), z ~ N(0, 1)",
    "wrapper",
    cost=Cost(Operations(adds=1, comparisons=1)),
    fold="parts",
    hardware="a constant that folds into the bias of the next layer: rectified signals lose the mean that they carry on",
)
class Centred(nn.Module):
    """Any curve without its mean under Gaussian inputs: what feeds the next layer begins with mean 0, without a norm.

    Args:
        base: What :func:`activation` takes; a function of one number.
        variance: q of the input, > 0.

    Raises:
        ConfigError: The base is no function of one number, or an argument is out of its domain.

    >>> round(-Centred("relu")(torch.zeros(())).item(), 4)
    0.3989
    """

    def __init__(self, base: Any = "relu", variance: float = 1.0) -> None:
        super().__init__()
        self.base = activation(base)
        self.variance = number("Centred.variance", variance, gt=0)
        self.mean = facts(self.base).moments(self.variance).mean  #: what is taken off

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        y: Tensor = self.base(x)
        return y - self.mean

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"mean={self.mean:.4g}, variance={self.variance:g}"
