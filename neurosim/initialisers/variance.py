r"""Second moments through a network of random weights, for any activation, by quadrature.

Weights are independent, with mean 0 and variance :math:`\sigma_w^2/n` for n inputs; then sums of many inputs are Gaussian, and their
second moment q goes from layer to layer as

.. math:: q_{\ell+1} = \sigma_w^2\,\mathrm E\big[f(\sqrt{q_\ell}\,z)^2\big] + \sigma_b^2 + \sigma_{noise}^2, \qquad z \sim N(0, 1)

What clamps a signal on hardware is part of f: :func:`limited`.

Source:
    B. Poole et al., "Exponential expressivity in deep neural networks through transient chaos", NeurIPS 2016, equation 3, for the map;
    K. He et al., "Delving deep into rectifiers", ICCV 2015, section 2.2, for both directions; C. Hewa Koneputugodage et al., "VI3NR:
    variance informed initialization for implicit neural representations", CVPR 2025, for any activation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neurosim.activations import Curve, activation, facts, identify, moments_of
from neurosim.activations.moments import gaussian_rule, value_of, values_and_slopes
from neurosim.checks import number
from neurosim.errors import ConfigError

Function = Callable[[Tensor], Tensor]


def as_function(what: object) -> Function:
    """A function of one number, in float64.

    Args:
        what: A name in :data:`neurosim.ACTIVATIONS`, a mapping with ``kind`` and parameters, a module, or a function of a tensor.

    Raises:
        ConfigError: It is none: it mixes elements, halves an axis, or has weights of its own.
    """
    if isinstance(what, str | Mapping):
        what = activation(what)
    if not isinstance(what, nn.Module):
        if not callable(what):
            raise ConfigError(f"activation: must be a name, a mapping with kind and parameters, or a function, got {what!r:.60}")
        return what
    entry = identify(what)
    if isinstance(entry, Curve):
        return facts(what)
    if entry is not None and entry.kind not in ("wrapper", "random"):
        raise ConfigError(f"activation {entry.name}: it is no function of one number (its kind is {entry.kind!r})")
    return copy.deepcopy(what).cpu().double().eval()


def limited(function: Function, input_limit: float | None = None, output_limit: float | None = None) -> Function:
    r"""What converters make of an activation between two layers.

    .. math:: g(x) = \mathrm{clip}_{i}\big(f(\mathrm{clip}_{o}(x))\big), \qquad \mathrm{clip}_c(x) = \min(\max(x, -c), c)

    Args:
        function: f.
        input_limit: i > 0, largest magnitude that the next layer's inputs are converted to; None: no limit.
        output_limit: o > 0, largest magnitude that the sums of the layer before are read as; None: no limit.

    Raises:
        ConfigError: A limit is not above 0.
    """
    for name, limit in (("input_limit", input_limit), ("output_limit", output_limit)):
        if limit is not None:
            number(f"limited: {name}", limit, gt=0)

    def clamped(x: Tensor) -> Tensor:
        read = x if output_limit is None else x.clamp(-output_limit, output_limit)
        y = value_of(function, read)
        return y if input_limit is None else y.clamp(-input_limit, input_limit)

    return clamped


def weight_variance(
    activation: object,
    fan_in: float,
    *,
    variance: float = 1.0,
    to: float | None = None,
    bias_variance: float = 0.0,
    noise: float = 0.0,
    input_limit: float | None = None,
    output_limit: float | None = None,
) -> float:
    r"""Variance of the weights of a layer whose sums are to have a given second moment.

    .. math:: \mathrm{Var}\,W = \frac{q_{out} - \sigma_b^2 - \sigma_{noise}^2}{n_{in}\,\mathrm E[f(\sqrt q\,z)^2]}

    2/n for ReLU, 2/((1 + a²) n) for a leaky one, 1/n for SELU.

    Args:
        activation: f, as for :func:`as_function`.
        fan_in: Inputs of a sum, > 0.
        variance: q of the sums that the activation is given, > 0.
        to: q_out, > 0; None: the same.
        bias_variance: σ_b², ≥ 0.
        noise: Standard deviation of what hardware adds to a sum, in units of the sum, ≥ 0.
        input_limit, output_limit: See :func:`limited`.

    Raises:
        ConfigError: A value is out of its domain, noise and bias leave nothing for the weights, or the activation gives 0 everywhere.

    >>> weight_variance("relu", 100)
    0.02
    """
    wanted = number("weight_variance: to", variance if to is None else to, gt=0)
    left = wanted - number("weight_variance: bias_variance", bias_variance, ge=0) - number("weight_variance: noise", noise, ge=0) ** 2
    if left <= 0:
        raise ConfigError(f"weight_variance: noise² and bias_variance must sum to less than {wanted:g}, got {wanted - left:g}")
    second = moments_of(limited(as_function(activation), input_limit, output_limit), variance).second
    return left / (number("weight_variance: fan_in", fan_in, gt=0) * _positive("E f²", second))


def backward_variance(
    activation: object, fan_out: float, *, variance: float = 1.0, input_limit: float | None = None, output_limit: float | None = None
) -> float:
    r"""The variance of weights that keeps the second moment of gradients.

    .. math:: \mathrm{Var}\,W = \frac{1}{n_{out}\,\mathrm E[f'(\sqrt q\,z)^2]}

    f' is the gradient that backward takes, which some activations have on purpose another one than their derivative.

    Args:
        activation: f, through which gradients go on to the layer before.
        fan_out: Sums that an input takes part in, > 0.
        variance: q of the sums that the activation is given, > 0.
        input_limit, output_limit: See :func:`limited`.

    Raises:
        ConfigError: A value is out of its domain, or the gradient is 0 everywhere.

    >>> backward_variance("relu", 100)
    0.02
    """
    slope = moments_of(limited(as_function(activation), input_limit, output_limit), variance).slope
    return 1 / (number("backward_variance: fan_out", fan_out, gt=0) * _positive("E f'²", slope))


def kumar_variance(activation: object, fan_in: float) -> float:
    r"""The variance of weights for an activation that is taken for its tangent at 0.

    .. math:: \mathrm{Var}\,W = \frac{1}{n_{in}\,f'(0)^2\,(1 + f(0)^2)}

    Its standard deviation for the sigmoid is about 3.6/√n.

    Args:
        activation: f, differentiable at 0, as for :func:`as_function`.
        fan_in: Inputs of a sum, > 0.

    Raises:
        ConfigError: The activation has no slope at 0, or differing ones on its two sides.

    Source:
        S. K. Kumar, "On weight initialization in deep neural networks", 2017 (arXiv 1704.08863).
    """
    near = torch.tensor([-1e-9, 0.0, 1e-9], dtype=torch.float64)
    values, slopes = values_and_slopes(as_function(activation), near)
    value, slope = float(values[1]), float(slopes[1])
    if slope == 0 or float((slopes - slope).abs().max()) > 1e-6 * abs(slope):
        raise ConfigError(
            f"kumar_variance: the activation must be differentiable at 0 and rise or fall there, got slopes {slopes.tolist()}"
        )
    return 1 / (number("kumar_variance: fan_in", fan_in, gt=0) * slope**2 * (1 + value**2))


def variance_map(activation: object, variance: float, *, weight: float, bias: float = 0.0, noise: float = 0.0) -> float:
    r"""The second moment q of the next layer's sums.

    .. math:: V(q) = \sigma_w^2\,\mathrm E[f(\sqrt q\,z)^2] + \sigma_b^2 + \sigma_{noise}^2

    Args:
        activation: f, as for :func:`as_function`.
        variance: q, > 0.
        weight: σ_w², the variance of a weight times the fan-in, ≥ 0.
        bias: σ_b², ≥ 0.
        noise: Standard deviation of what hardware adds to a sum, ≥ 0.

    Raises:
        ConfigError: A value is out of its domain.
    """
    second = moments_of(as_function(activation), variance).second
    kept = number("variance_map: weight", weight, ge=0) * second
    return kept + number("variance_map: bias", bias, ge=0) + number("variance_map: noise", noise, ge=0) ** 2


def variance_slope(activation: object, variance: float, *, weight: float) -> float:
    r"""How an error of q grows from layer to layer: below 1 it dies out.

    .. math:: V'(q) = \frac{\sigma_w^2}{\sqrt q}\,\mathrm E[f(\sqrt q\,z)\,f'(\sqrt q\,z)\,z]

    Args:
        activation: f, as for :func:`as_function`.
        variance: q, > 0.
        weight: σ_w², ≥ 0.

    Raises:
        ConfigError: A value is out of its domain.

    >>> round(variance_slope("relu", 1.0, weight=2.0), 6)
    1.0
    """
    width = math.sqrt(number("variance_slope: variance", variance, gt=0))
    z, weights = gaussian_rule()
    values, slopes = values_and_slopes(as_function(activation), width * z)
    return number("variance_slope: weight", weight, ge=0) * float((weights * values * slopes * z).sum()) / width


def _positive(what: str, value: Any) -> float:
    if not (math.isfinite(value) and value > 0):
        raise ConfigError(f"activation: its {what} must be finite and more than 0, got {value:g}; no weights keep a signal through it")
    return float(value)
