"""Integrals of an activation over Gaussian inputs: its moments, and how much noise moves its gradient."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor

from neurosim.checks import number
from neurosim.errors import ConfigError

_NODES: Final = 4  #: of Gauss and Legendre in a panel
_PANELS: Final = 1 << 14
FINEST: Final = 1000.0  #: ratio of noise and signal, either way, up to which an average over both is computed
_REACH: Final = 9.0  #: standard deviations on each side; 1e-18 of the probability lies beyond


class Moments(NamedTuple):
    """Integrals over z ~ N(0, q); a gain where its integral is 0 raises a ConfigError."""

    mean: float  #: E f
    second: float  #: E f²
    slope: float  #: E f'², of the gradient that backward takes

    @property
    def variance(self) -> float:
        """E f² − (E f)²."""
        return self.second - self.mean**2

    @property
    def forward_gain(self) -> float:
        """1/√E f²: what weights are multiplied by so that the next layer sees a second moment of 1."""
        return _gain("forward_gain: E f²", self.second)

    @property
    def backward_gain(self) -> float:
        """1/√E f'², likewise for gradients."""
        return _gain("backward_gain: E f'²", self.slope)

    @property
    def norm_free_gain(self) -> float:
        """1/√Var f, the γ of networks without norms."""
        return _gain("norm_free_gain: Var f", self.variance)


def _gain(where: str, power: float) -> float:
    """1/√power."""
    if not power > 0:
        raise ConfigError(f"Moments.{where} must be > 0, got {power:g}")
    return 1 / math.sqrt(power)


def moments_of(function: Callable[[Tensor], Tensor], variance: float = 1.0) -> Moments:
    """The moments of any function, element by element, in float64.

    Smooth functions are integrated to rounding; a jump of f or f' costs 1e-4 of its size, none at 0.

    Args:
        function: Of a tensor, differentiable.
        variance: q of the input, > 0.

    Raises:
        ConfigError: The variance is not above 0, or the function does not give a tensor of the shape of its input.

    >>> moments_of(torch.relu).second
    0.5
    """
    width = math.sqrt(number("moments.variance", variance, gt=0))
    z, weights = gaussian_rule()
    x = width * z
    value, slope = values_and_slopes(function, x)
    mean, second, steep = (float((weights * one).sum()) for one in (value, value.square(), slope.square()))
    return Moments(_rounded(mean, math.sqrt(second)), _rounded(second, second), _rounded(steep, steep))


def _rounded(value: float, size: float) -> float:
    """To 15 decimals; of what is smaller than a millionth, to nine digits."""
    return round(value, 15 - min(math.floor(math.log10(size)) + 6, 0)) if 0 < size < math.inf else value


def gaussian_rule() -> tuple[Tensor, Tensor]:
    """Places and weights of an integral over N(0, 1): panels of equal width, one border at 0."""
    nodes, weights = _legendre()
    edges = torch.linspace(-_REACH, _REACH, _PANELS + 1, dtype=torch.float64)
    half = _REACH / _PANELS
    z = (edges[:-1, None] + half * (nodes + 1)).flatten()
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    return z, (half * weights).repeat(_PANELS) * density


def _legendre() -> tuple[Tensor, Tensor]:
    """Nodes and weights of Gauss and Legendre on −1 … 1."""
    import numpy as np

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    return torch.from_numpy(nodes), torch.from_numpy(weights)


def values_and_slopes(function: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """f(x), and the gradient that backward gives it."""
    with torch.inference_mode(False), torch.enable_grad():
        place = x.detach().clone().requires_grad_()
        y = value_of(function, place)
        (slope,) = torch.autograd.grad(y.sum(), place) if y.requires_grad else (torch.zeros_like(x),)
    return y.detach(), slope


def value_of(function: Callable[[Tensor], Any], x: Tensor) -> Tensor:
    """f(x).

    Raises:
        ConfigError: It is no tensor of the shape of x.
    """
    y = function(x)
    if not isinstance(y, Tensor) or y.shape != x.shape:
        got = tuple(y.shape) if isinstance(y, Tensor) else type(y).__name__
        raise ConfigError(f"activation: a function must give a tensor of the shape of its input, {tuple(x.shape)}, got {got}")
    return y


def gradient_noise(function: Callable[[Tensor], Tensor], sigma: float, at: float | None = None, variance: float = 1.0) -> float:
    r"""Mean squared change of the gradient by noise on the input.

    .. math:: E_\eta\big[(f'(x + \eta) - f'(x))^2\big], \qquad \eta \sim N(0, \sigma^2)

    ReLU: ½ at x = 0 whatever σ, and arctan(σ)/π on average over x ~ N(0, 1).

    Args:
        function: f, element by element.
        sigma: Standard deviation of the noise, > 0; for an average between 10⁻³ and 10³ times √q, which is as fine as the grid can be.
        at: x, finite; None averages over N(0, q).
        variance: q.

    Raises:
        ConfigError: σ or q is out of its domain, or x is no finite number.

    Source:
        V. Shah, N. Youngblood, "Leveraging continuously differentiable activation functions for learning in quantized noisy
        environments", 2024: the comparison of gradients with and without noise.

    >>> round(gradient_noise(torch.relu, 0.1, at=0.0), 6)
    0.5
    """
    width = number("gradient_noise.sigma", sigma, gt=0)
    if at is not None:
        place = number("gradient_noise.at", at)
        z, weights = gaussian_rule()
        x = torch.cat([z.new_tensor([place]), place + width * z])
        slope = values_and_slopes(function, x)[1]
        return float((weights * (slope[1:] - slope[0]).square()).sum())
    spread = math.sqrt(number("gradient_noise.variance", variance, gt=0))
    if not spread / FINEST <= width <= spread * FINEST:
        raise ConfigError(f"gradient_noise.sigma: must be between √variance / {FINEST:g} and √variance · {FINEST:g}, got {width:.4g}")
    return _averaged(function, width, spread)


def _averaged(function: Callable[[Tensor], Tensor], sigma: float, spread: float) -> float:
    """Both integrals on one grid: x at its midpoints, η at its multiples, so that f' is needed once per place."""
    step = min(sigma, spread) / 32
    reach, far = math.ceil(_REACH * spread / step), math.ceil(_REACH * sigma / step)
    places = torch.arange(-reach - far, reach + far, dtype=torch.float64) * step + step / 2
    slope = values_and_slopes(function, places)[1]
    here = slope[far : far + 2 * reach]
    density = torch.exp(-(places[far : far + 2 * reach] / spread).square() / 2)
    density /= density.sum()
    shifts = torch.arange(-far, far + 1, dtype=torch.float64)
    weights = torch.exp(-(shifts * step / sigma).square() / 2)
    weights /= weights.sum()
    moved = slope.unfold(0, 2 * reach, 1)  # row j is f' at x + (j − far)·step
    total = torch.zeros((), dtype=torch.float64)
    for weight, row in zip(weights, moved, strict=True):
        total += weight * (density * (row - here).square()).sum()
    return float(total)
