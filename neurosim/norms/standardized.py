"""Weights whose rows have mean 0 and a variance that the activation before them asks for."""

from __future__ import annotations

import math
from typing import Annotated, Final

import torch
from pydantic import Field
from torch import Tensor

from neurosim.activations.facts import Choice, facts
from neurosim.checks import number
from neurosim.errors import ConfigError
from neurosim.norms.registry import register
from neurosim.norms.weights import WeightParametrization

_LEAST: Final = 1e-4  #: of the variance of a row times its inputs, as in the authors' code


def norm_free_gamma(activation: object) -> float:
    r"""γ of an activation: what makes its outputs, for standard normal inputs, have variance 1.

    .. math:: \gamma = 1 / \sqrt{\operatorname{Var} f(z)}, \qquad z \sim N(0, 1)

    by quadrature; the tables of others, drawn at random, differ in the fourth digit.

    Args:
        activation: A name in ``ACTIVATIONS``, ``kind`` and parameters, or a module: a function of one number.

    Raises:
        ConfigError: It is none, or constant.

    >>> round(norm_free_gamma("relu"), 4), round(norm_free_gamma("gelu"), 4)
    (1.7129, 1.7009)
    """
    variance = facts(activation).moments().variance
    if not variance > 0:
        raise ConfigError(f"norm_free_gamma: the activation must not be constant, got {activation!r:.60}")
    return 1 / math.sqrt(variance)


@register(
    "weight_standardization",
    "B32",
    kind="parametrization",
    formula="W = g γ (V − mean V) / √max(n var V, 1e-4), row by row, n inputs, γ = 1/√Var f(z)",
    fold="FW",
)
class ScaledWeightStandardization(WeightParametrization):
    r"""Scaled weight standardization: rows of mean 0 and length gγ, so that outputs keep variance 1 and mean 0 without any norm.

    .. math:: w_{ij} = g_i\,\gamma\,\frac{v_{ij} - \mu_i}{\sqrt{\max(n \sigma_i^2, 10^{-4})}}, \qquad
        \gamma = 1 / \sqrt{\operatorname{Var} f(z)},\ z \sim N(0, 1)

    with μ and σ² of every row of n inputs, and f the activation that the layer's input comes from. The currents of differential pairs of
    cells then cancel for an input that is the same on all lines. Of the weight that is there at the start, neither the mean nor the
    length of a row stays: initialisers that differ in scale alone give the same.

    Args:
        activation: f, a name in ``ACTIVATIONS``, or ``kind`` and parameters: a function of one number.
        gamma: γ itself; null: that of f.
        dim: Axis of the outputs: 0, but for transposed convolutions 1.

    Shapes:
        g like the weight, with 1 on all axes but ``dim``, 1 at the start; V like the weight.

    Raises:
        ConfigError: The activation is no function of one number, or the weight has one axis, or rows of one number,
            which is its own mean.

    Source:
        A. Brock, S. De, S. L. Smith, "Characterizing signal propagation to close the performance gap in unnormalized ResNets", ICLR 2021,
        section 4, and the authors' code, which has the lower limit.

    >>> w = ScaledWeightStandardization()(torch.ones(1, 1), torch.tensor([[1.0, 3.0]]))
    >>> w
    tensor([[-0.7071,  0.7071]])
    """

    def __init__(self, activation: Choice = "identity", gamma: Annotated[float, Field(gt=0)] | None = None, dim: int = 0) -> None:
        super().__init__(dim)
        self.gamma = norm_free_gamma(activation) if gamma is None else number("ScaledWeightStandardization.gamma", gamma, gt=0)

    def forward(self, *learned: Tensor) -> Tensor:
        """The weight, of g and V."""
        gain, v = learned
        others = self._others(v)
        variance, mean = torch.var_mean(v, dim=others, correction=0, keepdim=True)
        inputs = math.prod(v.shape[axis] for axis in others)
        return self.gamma * gain * ((v - mean) * (variance * inputs).clamp_min(_LEAST).rsqrt())

    def right_inverse(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """G = 1, and V: the weight, which is standardised from then on."""
        gain = torch.ones_like(self.lengths(weight))
        self._refuse_single(weight)
        return gain, weight

    def extra_repr(self) -> str:
        """For ``print``."""
        return ", ".join(part for part in (f"gamma={self.gamma:.6g}", super().extra_repr()) if part)
