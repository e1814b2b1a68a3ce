r"""First weights for activations that are mostly 0.

Units with a threshold τ are 0 with a probability s that τ sets. On the edge of chaos, with second moment 1,

.. math:: \sigma_w^2 = \frac{1}{\mathrm E[f'(z)^2]}, \qquad \sigma_b^2 = 1 - \sigma_w^2\,\mathrm E[f(z)^2]

gradients keep their size, and so do sums, as long as errors of their second moment do not grow: without a clip the slope V'(1) of the
variance map is exactly 1, which is why deep networks of such units do not train; with a clip at m it is

.. math:: V'(1) = 1 - \frac{m\,\varphi(\tau + m)}{\Phi(\tau + m) - \Phi(\tau)} < 1

Source:
    I. Price et al., "Deep neural network initialization with sparsity inducing activations", ICLR 2024.
"""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Final, NamedTuple

from neurosim.activations import threshold_of
from neurosim.checks import number, one_of
from neurosim.errors import ConfigError

#: whether an activation with a threshold has two tails
SPARSE: Final = {"shifted_relu": False, "crelu": False, "soft_threshold": True, "cst": True}
_CLIPPED: Final = ("crelu", "cst")
_NORMAL: Final = NormalDist()


class SparseInit(NamedTuple):
    """What :func:`sparse_init` gives."""

    tau: float  #: threshold of the activation
    weight_variance: float  #: σ_w², the variance of a weight times the fan-in
    bias_variance: float  #: σ_b²
    slope: float  #: V'(1) of the variance map


def sparse_init(activation: str, sparsity: float, m: float | None = None) -> SparseInit:
    """Threshold and variances for a share of zeros, on the edge of chaos with second moment 1, in closed form.

    Args:
        activation: ``shifted_relu``, ``soft_threshold``, or with a clip ``crelu``, ``cst``.
        sparsity: s, share of zeros, in 0 … 1; of units with one tail at least ½, where their threshold is 0.
        m: Where the clip is, above the threshold, > 0; None: without.

    Raises:
        ConfigError: There is no such activation, a number is out of its domain, or m does not belong to the activation.

    >>> round(sparse_init("crelu", 0.85, m=1.0).slope, 3), sparse_init("shifted_relu", 0.85).slope
    (0.612, 1.0)
    """
    name = one_of("sparse_init.activation", activation, tuple(SPARSE))
    if (m is None) == (name in _CLIPPED):
        raise ConfigError(f"sparse_init.m: must be given for crelu and cst and for no other, got {m!r} for {name}")
    tau = not_negative("sparse_init.sparsity", sparsity, threshold_of(sparsity, symmetric=SPARSE[name]))
    tails = 2 if SPARSE[name] else 1
    end = math.inf if m is None else tau + number("sparse_init.m", m, gt=0)
    inside, beyond = _between(tau, end), 0.0 if m is None else _NORMAL.cdf(-end)
    at_end = 0.0 if m is None else _NORMAL.pdf(end)
    height = 0.0 if m is None else float(m)
    # ∫ (z − τ)² φ over τ … τ + m, by parts, and m² over what lies beyond
    second = (1 + tau**2) * inside - tau * _NORMAL.pdf(tau) + (tau - height) * at_end + height**2 * beyond
    weight = 1 / (tails * inside)
    bias = max(1 - weight * tails * second, 0.0)  # of thresholds of at least 0 it is negative by rounding alone
    return SparseInit(tau, weight, bias, 1 - height * at_end / inside)


def not_negative(where: str, sparsity: float, tau: float) -> float:
    """A threshold, if activations take it.

    Raises:
        ConfigError: It is negative: units with one tail are 0 as often as that only above ½.
    """
    if tau < 0:
        raise ConfigError(f"{where}: must be at least the share of zeros at threshold 0, got {sparsity:g}, with threshold {tau:.4g}")
    return tau


def _between(low: float, high: float) -> float:
    """Φ(high) − Φ(low), of the upper tail where both lie in it."""
    return _NORMAL.cdf(-low) - (0.0 if math.isinf(high) else _NORMAL.cdf(-high))
