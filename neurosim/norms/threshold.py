"""The threshold that a norm before a comparison comes to, exact to the last bit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

import torch
from torch import Tensor

from neurosim.norms.time_norm import normalize

_ORDERED: Final = {torch.float32: torch.int32, torch.float64: torch.int64}


class Comparison(NamedTuple):
    """``σ · (u − θ) ≥ 0``, or ``> 0`` where the comparison is strict."""

    threshold: Tensor  #: θ; ∞ where nothing fires, −∞ where everything does
    sign: Tensor  #: σ, 1 or −1


def fold_threshold(mean: Tensor, scale: Tensor, shift: Tensor, threshold: Tensor, sign: Tensor, strict: bool) -> Comparison:
    r"""The comparison of a membrane that stands for one of its normalised value.

    .. math:: \sigma\,(m - \theta) \ge 0 \iff \tilde\sigma\,(u - \tilde\theta) \ge 0, \qquad m = (u - \mu)\,k + \beta,
        \quad \tilde\sigma = \sigma\,\mathrm{sgn}\,k, \quad \tilde\theta = (\theta - \beta)/k + \mu

    The formula holds for real numbers. Here the threshold is searched: rounding is monotone, so that the left side, as it is computed in
    floating point, changes once on the way from the smallest number to the largest, and bisection finds the neighbours between which it
    does. The two sides then agree for every finite u, and not only up to rounding.

    Args:
        mean, scale, shift: μ, k and β of :func:`~neurosim.norms.time_norm.normalize`, float32 or float64, finite.
        threshold: θ; ±∞ allowed.
        sign: σ, 1 or −1.
        strict: Whether the comparisons are > instead of ≥.

    Shapes:
        All broadcast to each other; so does the result.

    >>> one = torch.ones(())
    >>> fold_threshold(0 * one, torch.tensor([2.0, -2.0, 0.0]), 0 * one, 4 * one, one, strict=False)
    Comparison(threshold=tensor([ 2., -2., inf]), sign=tensor([ 1., -1.,  1.]))
    """
    shape = (mean + scale + shift + threshold + sign).shape
    mean, scale, shift, threshold, sign = (value.expand(shape) for value in (mean, scale, shift, threshold, sign))

    def fires(u: Tensor) -> Tensor:
        m = torch.where(scale == 0, shift, normalize(u, mean, scale, shift))  # 0 · inf, of a u − μ too large, is NaN
        z = sign * (m - threshold)
        return z > 0 if strict else z >= 0

    largest = torch.full_like(mean, torch.finfo(mean.dtype).max)
    at_bottom, at_top = fires(-largest), fires(largest)
    rises = at_top & ~at_bottom
    below, above = _rank(-largest), _rank(largest)
    for _ in range(torch.finfo(mean.dtype).bits):
        middle = (below >> 1) + (above >> 1) + (below & above & 1)  # their mean, rounded down, without overflow
        low = fires(_number(middle, mean.dtype)) == at_bottom
        below, above = torch.where(low, middle, below), torch.where(low, above, middle)
    before, after = _number(below, mean.dtype), _number(above, mean.dtype)  # neighbours, between which the comparison changes
    found = torch.where(rises ^ strict, after, before)
    changes = at_bottom != at_top
    constant = torch.where(at_bottom, -torch.inf, torch.inf)
    return Comparison(torch.where(changes, found, constant), torch.where(changes & ~rises, -1.0, 1.0).to(mean.dtype))


def held_threshold(
    held: Callable[[Tensor], float | Tensor], mean: Tensor, scale: Tensor, shift: Tensor, threshold: float | Tensor
) -> Tensor:
    r"""The threshold of the normalised potential that there is, where the one that it folds to is not held as it is set.

    .. math:: \theta' = \mathrm{normalize}\big(\mathrm{held}((\theta - \beta)/k + \mu)\big)

    Args:
        held: What the neurons make of a threshold of their potential.
        mean, scale, shift: As for :func:`fold_threshold`.
        threshold: θ. Where it is infinite, or the scale 0, there is no threshold of the potential, and it stays.

    Returns:
        θ', with gradients.
    """
    threshold = torch.as_tensor(threshold, dtype=mean.dtype, device=mean.device)
    none = (scale == 0) | threshold.isinf()
    k = torch.where(none, 1.0, scale)
    found = held((torch.where(none, 0.0, threshold) - shift) / k + mean)
    return torch.where(none, threshold, normalize(torch.as_tensor(found), mean, k, shift))


def _rank(value: Tensor) -> Tensor:
    """Floating-point numbers as integers in the same order; both zeros are 0."""
    bits = value.contiguous().view(_ORDERED[value.dtype])
    return torch.where(bits < 0, torch.iinfo(bits.dtype).min - bits, bits)


def _number(rank: Tensor, dtype: torch.dtype) -> Tensor:
    bits = torch.where(rank < 0, torch.iinfo(rank.dtype).min - rank, rank)
    return bits.contiguous().view(dtype)
