"""Units of which only the largest of a vector are on: by sorting, or by mean and deviation alone."""

from __future__ import annotations

import math
from statistics import NormalDist

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neurosim.activations.axis import axis_of
from neurosim.activations.cost import Cost, Operations
from neurosim.activations.declare import layer
from neurosim.checks import number, whole
from neurosim.errors import ConfigError


def top_k(x: Tensor, share: float, axis: int = -1) -> Tensor:
    r"""ReLU of the k largest elements of a vector, 0 elsewhere.

    .. math:: y_i = \max(0, x_i) \text{ for the } k \text{ largest } x_i, \quad k = \max(1, \mathrm{round}(\rho d))

    Of equal elements so many stay that k are on.

    Args:
        x: Any shape.
        share: ρ, in 0 … 1, without 0.
        axis: That of the vectors, of d elements.

    Raises:
        ConfigError: The share is out of its domain, or there is no such axis.

    Source:
        Z. Li et al., "The lazy neuron phenomenon: on emergence of activation sparsity in transformers", ICLR 2023, section 4: top-k after
        the ReLU of transformers.

    >>> top_k(torch.tensor([3.0, -1.0, 1.0, 2.0]), 0.5)
    tensor([3., 0., 0., 2.])
    """
    length = x.shape[axis_of("top_k", x, axis)] if x.dim() else 1
    kept = max(1, round(_share("top_k: share", share) * length))
    if kept >= length:
        return F.relu(x)
    at = x.topk(kept, dim=axis).indices
    return torch.zeros_like(x).scatter(axis, at, F.relu(x.gather(axis, at)))


def statistical_top_k(x: Tensor, share: float, axis: int = -1) -> Tensor:
    r"""About the k largest elements of a vector, above a threshold from its mean and deviation: no sorting.

    .. math:: \theta = \mu + \sigma\,\Phi^{-1}(1 - \rho), \qquad y = \max(x - \theta, 0)

    Of a Gaussian vector a share of ρ is on, of others about that. The deviation is that of the vector, divided by d, as in the published
    model (Gemma 3n).

    Args:
        x: Any shape.
        share: ρ = k/d, in 0 … 1, without both ends.
        axis: That of the vectors.

    Raises:
        ConfigError: The share is out of its domain, there is no such axis, or ``x`` is not floating point.

    Source:
        C. You et al., "Spark Transformer: reactivating sparsity in transformer FFN and attention", 2025: statistical top-k.

    >>> statistical_top_k(torch.tensor([-1.0, 0.0, 1.0, 4.0]), 0.5)
    tensor([0., 0., 0., 3.])
    """
    return _above(x, _quantile("statistical_top_k: share", share), axis)


def _quantile(where: str, share: object) -> float:
    """Φ⁻¹(1 − ρ)."""
    return NormalDist().inv_cdf(1 - number(where, share, gt=0, lt=1))


def _above(x: Tensor, quantile: float, axis: int) -> Tensor:
    """What lies above the mean by so many deviations."""
    axis_of("statistical_top_k", x, axis)
    if not x.is_floating_point():
        raise ConfigError(f"statistical_top_k: x must be floating point, got {x.dtype}")
    wide = x.float() if x.dtype.itemsize < 4 else x
    variance = wide.var(axis, correction=0, keepdim=True)
    deviation = torch.where(variance > 0, variance, 1).sqrt() * (variance > 0)  # the root has no slope at 0
    threshold = wide.mean(axis, keepdim=True) + deviation * quantile
    return F.relu(wide - threshold).to(x.dtype)


def _share(where: str, share: object) -> float:
    found = number(where, share, gt=0)
    if found > 1:
        raise ConfigError(f"{where}: must be at most 1, got {found:g}")
    return found


class _Share(nn.Module):
    """A share of a vector, and the axis of the vectors."""

    def __init__(self, share: float = 0.1, axis: int = -1) -> None:
        super().__init__()
        name = type(self).__name__
        self.share, self.axis = _share(f"{name}.share", share), whole(f"{name}.axis", axis, -8, 8)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"share={self.share:g}, axis={self.axis}"


@layer(
    "top_k",
    "max(0, x) of the k largest, else 0",
    "vector",
    cost=Cost(Operations(comparisons=3)),
    speed="the largest of every vector must be found",
    hardware="a winner-take-all circuit or a sort; at most a share of the lines is driven, whatever the input",
    cite=("lazy_neuron",),
    bounds=(0.0, math.inf),
    homogeneous=True,
    zero_preserving=True,
)
class TopK(_Share):
    """:func:`top_k` with its settings.

    Args:
        share: k/d, in 0 … 1, without 0.
        axis: That of the vectors; 1 is the channels of a batch of images.
    """

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        return top_k(x, self.share, self.axis)


@layer(
    "statistical_top_k",
    "max(0, x − θ), θ = µ + σ·Φ⁻¹(1 − k/d)",
    "vector",
    cost=Cost(Operations(adds=4, multiplies=1, comparisons=1), Operations(adds=1, multiplies=3, square_roots=1)),
    speed="a deviation and a mean of every vector come first, each a pass over memory",
    hardware="mean and deviation of the currents set one common threshold for comparators: no sort",
    cite=("spark",),
    bounds=(0.0, math.inf),
    homogeneous=True,
    zero_preserving=True,
)
class StatisticalTopK(_Share):
    """:func:`statistical_top_k` with its settings.

    Args:
        share: k/d, in 0 … 1, without both ends.
        axis: That of the vectors; 1 is the channels of a batch of images.
    """

    def __init__(self, share: float = 0.1, axis: int = -1) -> None:
        super().__init__(share, axis)
        self._at = _quantile("StatisticalTopK.share", share)

    def forward(self, x: Tensor) -> Tensor:
        """The activation."""
        return _above(x, self._at, self.axis)
