"""Statistics of signals of any length, batch by batch: moments, covariance, effective rank. All sums are kept in float64."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError


class Moments(NamedTuple):
    """Sums of powers of the distance from the mean, of every channel."""

    n: int  #: numbers of each channel
    mean: Tensor  #: (channels,), float64; so are the others
    m2: Tensor  #: Σ (x − mean)²
    m3: Tensor  #: Σ (x − mean)³
    m4: Tensor  #: Σ (x − mean)⁴

    def merge(self, other: Moments) -> Moments:
        """Those of both together."""
        count = self.n + other.n
        mean = self.mean + (other.mean - self.mean) * (other.n / count)
        sums = (a + b for a, b in zip(_about(self, mean), _about(other, mean), strict=True))
        return Moments(count, mean, *sums)

    @property
    def variance(self) -> Tensor:
        """Of every channel, over its numbers (population)."""
        return self.m2 / self.n

    def pooled(self) -> Moments:
        """Those of all channels together, as one channel."""
        mean = self.mean.mean()
        return Moments(self.n * len(self.mean), mean, *(sums.sum() for sums in _about(self, mean)))

    @property
    def excess_kurtosis(self) -> Tensor:
        r"""How heavy the tails are; 0 for a Gaussian, NaN for a constant.

        .. math:: \frac{\frac1n \sum (x - \bar x)^4}{\left(\frac1n \sum (x - \bar x)^2\right)^2} - 3
        """
        return torch.where(self.m2 > 0, self.n * self.m4 / self.m2.square() - 3, torch.nan)


def moments(rows: Tensor) -> Moments:
    """Those of ``(numbers, channels)``, at least one number.

    Source:
        P. Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order statistical moments", Sandia
        National Laboratories report SAND2008-6212 (2008), for their sums over parts.

    >>> moments(torch.tensor([[1.0], [3.0]])).variance
    tensor([1.], dtype=torch.float64)
    """
    x = rows.double()
    mean = x.mean(0)
    d = x - mean
    square = d * d
    return Moments(len(x), mean, square.sum(0), (square * d).sum(0), (square * square).sum(0))


class Covariance(NamedTuple):
    """Sums of products of the distances from the means."""

    n: int  #: numbers of each channel
    mean: Tensor  #: (channels,), float64
    products: Tensor  #: (channels, channels), float64

    def merge(self, other: Covariance) -> Covariance:
        """Those of both together."""
        count, apart = self.n + other.n, other.mean - self.mean
        between = apart.outer(apart) * (self.n * other.n / count)
        return Covariance(count, self.mean + apart * (other.n / count), self.products + other.products + between)

    @property
    def effective_rank(self) -> float:
        """:func:`effective_rank` of the numbers about their means."""
        if not bool(self.products.isfinite().all()):
            return math.nan
        return rank_of_spectrum(torch.linalg.eigvalsh(self.products).clamp(min=0).sqrt())


def covariance(rows: Tensor) -> Covariance:
    """That of ``(numbers, channels)``, at least one number."""
    x = rows.double()
    d = x - x.mean(0)
    return Covariance(len(x), x.mean(0), d.T @ d)


def effective_rank(features: Tensor, *, center: bool = False) -> float:
    r"""How many directions features really use: the exponential of the entropy of their singular values.

    .. math:: \exp\Big(-\sum_i p_i \ln p_i\Big), \qquad p_i = \sigma_i \Big/ \sum_j \sigma_j

    Args:
        features: ``(samples, features)``, finite.
        center: Look at them about their mean, which otherwise is a direction itself.

    Returns:
        From 1 to the rank; 0 where there is nothing but zeros.

    Raises:
        ConfigError: It is no such matrix, is empty, or a number is not finite.

    Source:
        O. Roy, M. Vetterli, "The effective rank: a measure of effective dimensionality", EUSIPCO 2007, definition 1.

    >>> round(effective_rank(torch.eye(5)), 4), round(effective_rank(torch.ones(5, 5)), 4)
    (5.0, 1.0)
    """
    _check_matrix(features)
    x = features.detach().double()
    return rank_of_spectrum(torch.linalg.svdvals(x - x.mean(0) if center else x))


def rank_of_spectrum(sizes: Tensor) -> float:
    """The exponential of the entropy of sizes ≥ 0, as shares of their sum; 0 if all are 0."""
    total = sizes.sum()
    if not bool(total > 0):
        return 0.0
    return float(torch.special.entr(sizes / total).sum().exp())


def _check_matrix(features: Any) -> None:
    if not isinstance(features, Tensor) or features.dim() != 2 or not features.numel():
        got = f"shape {tuple(features.shape)}" if isinstance(features, Tensor) else type(features).__name__
        raise ConfigError(f"effective_rank: features must be a matrix (samples, features), got {got}")
    if features.is_complex() or not bool(features.isfinite().all()):
        raise ConfigError("effective_rank: features must be real and finite, some are not")


def _about(moments: Moments, centre: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The sums of powers of the distance from ``centre``."""
    n, apart = moments.n, moments.mean - centre
    m3 = moments.m3 + 3 * apart * moments.m2 + n * apart**3
    m4 = moments.m4 + 4 * apart * moments.m3 + 6 * apart**2 * moments.m2 + n * apart**4
    return moments.m2 + n * apart**2, m3, m4
