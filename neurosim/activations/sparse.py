"""Units that are exactly 0 on an interval: thresholds, and how high they must be for a share of zeros."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor
from torch.nn import functional as F

from neurosim.activations.cost import Operations
from neurosim.activations.declare import curve
from neurosim.activations.parameter import Parameter, Value
from neurosim.checks import number
from neurosim.errors import ConfigError

_INF = math.inf
_TAU = Parameter(1.0, ge=0, kept=True)
_WIDTH = Parameter(1.0, gt=0)


def threshold_of(sparsity: float, *, symmetric: bool = False, variance: float = 1.0) -> float:
    r"""The threshold τ at which a unit with Gaussian input is 0 with a given probability.

    .. math:: \tau = \sqrt{q}\,\Phi^{-1}(s), \qquad \text{symmetric: } \tau = \sqrt{q}\,\Phi^{-1}\big((1 + s)/2\big)

    Args:
        sparsity: s, the probability of 0, in 0 … 1.
        symmetric: For units with two tails: ``soft_threshold`` and ``cst``; the others have one.
        variance: q of the input, > 0.

    Raises:
        ConfigError: An argument is out of its domain.

    Source:
        I. Price et al., "Deep neural network initialization with sparsity inducing activations", ICLR 2024.

    >>> round(threshold_of(0.85), 4), round(threshold_of(0.85, symmetric=True), 4)
    (1.0364, 1.4395)
    """
    share = number("threshold_of.sparsity", sparsity, gt=0, lt=1)
    width = math.sqrt(number("threshold_of.variance", variance, gt=0))
    return width * NormalDist().inv_cdf((1 + share) / 2 if symmetric else share)


@curve(
    "shifted_relu",
    "max(0, x − τ)",
    tau=_TAU,
    bounds=(0.0, _INF),
    smoothness="C0",
    homogeneous=lambda tau: tau == 0,
    operations=Operations(adds=1, comparisons=1),
    fold="parts",
    hardware="a comparator with an offset; τ sets the share of zeros, threshold_of() tells which; deep networks of it do not train",
    cite=("sparse_init",),
)
def shifted_relu(x: Tensor, tau: Value) -> Tensor:
    """ReLU that begins at τ."""
    return F.relu(x - tau)


@curve(
    "soft_threshold",
    "sign(x)·max(|x| − τ, 0)",
    tau=_TAU,
    bounds=(-_INF, _INF),
    smoothness=lambda tau: "C0" if tau > 0 else "smooth",
    homogeneous=lambda tau: tau == 0,
    operations=Operations(adds=1, comparisons=1),
    fold="parts",
    hardware="a dead zone of two comparators; deep networks of it do not train",
    cite=("sparse_init",),
)
def soft_threshold(x: Tensor, tau: Value) -> Tensor:
    """x, moved towards 0 by τ."""
    return F.relu(x - tau) - F.relu(-x - tau)


@curve(
    "crelu",
    "min(max(x − τ, 0), m)",
    tau=_TAU,
    m=_WIDTH,
    bounds=lambda tau, m: (0.0, m),
    smoothness="C0",
    operations=Operations(adds=1, comparisons=2),
    fold="parts",
    hardware="a comparator and a converter that saturates: the clamp is what makes sparse networks train, up to 85 % zeros",
    cite=("sparse_init",),
)
def crelu(x: Tensor, tau: Value, m: Value) -> Tensor:
    """Shifted ReLU that stops at m (clipped; not the concatenated one of the same name)."""
    return F.relu(x - tau).clamp(max=m)


@curve(
    "cst",
    "sign(x)·min(max(|x| − τ, 0), m)",
    tau=_TAU,
    m=_WIDTH,
    bounds=lambda tau, m: (-m, m),
    smoothness="C0",
    operations=Operations(adds=1, comparisons=2),
    fold="parts",
    hardware="a dead zone and a signed converter that saturates",
    cite=("sparse_init",),
)
def cst(x: Tensor, tau: Value, m: Value) -> Tensor:
    """Soft threshold that stops at ±m."""
    return F.relu(x - tau).clamp(max=m) - F.relu(-x - tau).clamp(max=m)


def _above(x: Tensor) -> Tensor:
    """1 above 0, else 0; the sign is faster than a comparison."""
    return F.relu(torch.sign(x))


@curve(
    "jumprelu",
    "x for x > θ, else 0",
    theta=Parameter(1e-3, gt=0, learned=True, through="log"),
    epsilon=Parameter(1e-3, gt=0, fixed=True),
    bounds=(0.0, _INF),
    smoothness="jump",
    own_gradient=True,
    operations=Operations(comparisons=1),
    fold="parts",
    hardware="a comparator that opens a gate; learn: false with θ raised after training is FATReLU, a knob from accuracy to zeros",
    cite=("jumprelu", "prosparse"),
    speed="a threshold that learns: a mask, and a choice by it that keeps zeros at infinite inputs",
)
def jumprelu(x: Tensor, theta: Value, epsilon: float) -> Tensor:
    """Input above a threshold; θ learns from what lies within ε/2 of it."""
    if not isinstance(theta, Tensor):
        return F.threshold(x, theta, 0.0)
    level = theta.detach()
    beyond = x.detach() - level
    gated = torch.where(beyond <= 0, 0, x)  # a product with the gate is no number at −∞, and what is none stays none
    if not (theta.requires_grad and torch.is_grad_enabled()):
        return gated
    return gated - _above(epsilon / 2 - beyond.abs()) * (level * (theta - level) / epsilon)


def jump_penalty(x: Tensor, theta: Value, epsilon: float = 1e-3) -> Tensor:
    """How many elements exceed their threshold, with a gradient for the threshold: the L0 penalty that JumpReLU is trained with.

    Args:
        x: What the activation is given.
        theta: Its threshold, > 0, broadcasts to ``x``: ``unit.value("theta")``, for ``unit.theta`` is its logarithm.
        epsilon: Width of the window around the threshold that the gradient sees, > 0.

    Returns:
        A scalar.

    Raises:
        ConfigError: A threshold or the width is not above 0.

    Source:
        S. Rajamanoharan et al., "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders", 2024, section 3.
    """
    width = number("jump_penalty.epsilon", epsilon, gt=0)
    level = theta if isinstance(theta, Tensor) else x.new_tensor(theta)
    traced = torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()
    if not traced and not bool((level > 0).all()):
        raise ConfigError(f'jump_penalty: theta must be > 0, as unit.value("theta") gives it, got {level.min().item():g}')
    z = x.detach() - level.detach()
    return (_above(z) - _above(width / 2 - z.abs()) * ((level - level.detach()) / width)).sum()
