r"""Noise strength in three currencies: scale, leakage and precision.

A signal in [−1, 1] is quantised to the levels ``k / p`` (``p`` = precision, the number of steps per unit), noise of some scale is added,
and the sum is quantised again. *Leakage* is the probability that the level has changed. Any two of the three quantities give the third:

=============  ===============================================  =======================================================
distribution   leakage of (scale, p)                            scale is
=============  ===============================================  =======================================================
gaussian       :math:`1 - \mathrm{erf}(1 / (2\sqrt2\,\sigma p))`  the standard deviation σ
laplacian      :math:`\exp(-1 / (2 p b))`                         the parameter b; the standard deviation is √2 b
uniform        :math:`1 - \min(1, 1 / (p v))`                     the full width v; the standard deviation is v / √12
poisson        see :func:`poisson_leakage`                        counts per unit and per step: λ = scale · p counts at |x| = 1
=============  ===============================================  =======================================================

The first three hold for a level with two neighbours. After a clamp to [−1, 1] the two outermost levels err inwards only, and a uniform
signal on [−1, 1] has the error rate L (1 − 1/(4p)).

Source:
    N. Shah, N. Youngblood, "AnalogVNN: A fully modular framework for modeling and optimizing photonic neural networks",
    APL Machine Learning 1, 026116 (2023), doi 10.1063/5.0134156; the formulas follow from the definition above.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist
from typing import Literal

from neurosim.errors import ConfigError

Distribution = Literal["gaussian", "laplacian", "uniform", "poisson"]

_LARGEST = 2.0**40  #: bound of every search for a scale or a precision


def scale_from(distribution: Distribution, leakage: float, precision: float) -> float:
    """The noise scale at which that share of symbols changes its level.

    Args:
        distribution: Which noise.
        leakage: Probability in [0, 1); for ``poisson`` that at full scale, in (0, 1). 0 means no noise at all (a uniform width of 1/p would
            leak nothing either).
        precision: Steps per unit, > 0.

    Returns:
        The scale, in units of the signal (for ``poisson``: counts per unit and step).

    Raises:
        ConfigError: An argument is out of its domain, or no scale gives that leakage.

    >>> round(scale_from("gaussian", 0.5, 16), 6), round(scale_from("laplacian", 0.5, 16), 6), scale_from("uniform", 0.5, 16)
    (0.046331, 0.045084, 0.125)
    """
    _check(leakage=leakage, precision=precision)
    if distribution == "poisson":
        return _solve("scale", lambda scale: poisson_leakage(scale, precision), leakage, 1.0 / precision)
    if leakage == 0:
        return 0.0
    if distribution == "gaussian":
        return -1.0 / (2.0 * precision * NormalDist().inv_cdf(leakage / 2.0))
    if distribution == "laplacian":
        return -1.0 / (2.0 * precision * math.log(leakage))
    return 1.0 / ((1.0 - leakage) * precision)


def leakage_from(distribution: Distribution, scale: float, precision: float) -> float:
    """The share of symbols that change their level; arguments as in :func:`scale_from`.

    >>> round(leakage_from("gaussian", 0.046331, 16), 5)
    0.5
    """
    _check(scale=scale, precision=precision)
    if distribution == "poisson":
        return poisson_leakage(scale, precision)
    if scale == 0:
        return 0.0
    if distribution == "gaussian":
        return math.erfc(1.0 / (2.0 * math.sqrt(2.0) * scale * precision))
    if distribution == "laplacian":
        return math.exp(-1.0 / (2.0 * precision * scale))
    return 1.0 - min(1.0, 1.0 / (precision * scale))


def precision_from(distribution: Distribution, scale: float, leakage: float) -> float:
    """The precision at which noise of that scale gives that leakage; arguments as in :func:`scale_from`, ``scale`` > 0.

    >>> round(precision_from("gaussian", 0.046331, 0.5), 3)
    16.0
    """
    _check(scale=scale, leakage=leakage)
    if scale == 0 or leakage == 0:
        raise ConfigError(
            f"noise: precision follows from scale and leakage only where both are positive, got scale {scale} and leakage {leakage}"
        )
    if distribution == "poisson":
        return _solve("precision", lambda precision: poisson_leakage(scale, precision), leakage, max(1.0, 1.0 / scale))
    # in all three formulas scale and precision enter as their product only, so that their roles can be exchanged
    return scale_from(distribution, leakage, scale)


def poisson_leakage(scale: float, precision: float) -> float:
    r"""The probability that a full-scale symbol changes its level under counting noise.

    .. math:: L = 1 - \left[Q(\lambda(1 + \tfrac1{2p}) + 1, \lambda) - Q(\lambda(1 - \tfrac1{2p}) + 1, \lambda)\right], \qquad \lambda =
    s\,p

    where ``Q`` is the regularised upper incomplete gamma function, the Poisson distribution continued to real counts, which makes L smooth
    in λ.

    Args:
        scale: Counts per unit and step, s > 0.
        precision: Steps per unit, p > 0.

    Source:
        The ``max_leakage`` of AnalogVNN 1.0.8; its own solver for the scale raises, ours brackets and bisects.
    """
    from scipy.special import gammaincc

    rate, half = scale * precision, 0.5 / precision
    if rate <= 0:
        return 1.0
    return float(1.0 - (gammaincc(rate * (1.0 + half) + 1.0, rate) - gammaincc(max(rate * (1.0 - half), -1.0) + 1.0, rate)))


def equivalent_sigma(distribution: Distribution, scale: float, precision: float = 1.0) -> float:
    """The standard deviation of the noise at full scale, in units of the signal.

    >>> round(equivalent_sigma("uniform", 0.12), 6)
    0.034641
    """
    factors = {"gaussian": scale, "laplacian": math.sqrt(2.0) * scale, "uniform": scale / math.sqrt(12.0)}
    if distribution in factors:
        return factors[distribution]
    return math.inf if scale * precision <= 0 else 1.0 / math.sqrt(scale * precision)


def enob(sigma: float) -> float:
    r"""Effective number of bits of a signal in [−1, 1] under noise of that standard deviation: :math:`\log_2(2 / (\sigma\sqrt{12}))`.

    >>> round(enob(0.046331), 2)
    3.64
    """
    return math.inf if sigma == 0 else math.log2(2.0 / (sigma * math.sqrt(12.0)))


def snr_db(sigma: float) -> float:
    r"""Signal-to-noise ratio of a full-scale sine in [−1, 1], dB: :math:`10 \log_{10}(0.5 / \sigma^2)`."""
    return math.inf if sigma == 0 else 10.0 * math.log10(0.5 / sigma**2)


def _check(scale: float = 0.0, leakage: float = 0.0, precision: float = 1.0) -> None:
    if not (math.isfinite(scale) and scale >= 0):
        raise ConfigError(f"noise: scale must be a finite number >= 0, got {scale}")
    if not 0 <= leakage < 1:
        raise ConfigError(f"noise: leakage is a probability and must be in [0, 1), got {leakage}")
    if not (math.isfinite(precision) and precision > 0):
        raise ConfigError(f"noise: precision must be a finite number > 0, got {precision}")


def _solve(what: str, leakage_at: Callable[[float], float], leakage: float, low: float) -> float:
    """Where the rising or falling curve ``leakage_at`` takes the value ``leakage``, for an argument of at least ``low``."""
    from scipy.optimize import brentq

    at_low, high = leakage_at(low) - leakage, 2.0 * low
    while high < _LARGEST and (leakage_at(high) - leakage) * at_low > 0:
        high *= 2.0
    if at_low == 0:
        return low
    if high >= _LARGEST:
        limit = leakage_at(low)
        raise ConfigError(f"noise: no {what} of at least {low:g} gives poisson noise a leakage of {leakage}; at {low:g} it is {limit:.4g}")
    return float(brentq(lambda at: leakage_at(at) - leakage, low, high, xtol=1e-12, rtol=1e-12))
