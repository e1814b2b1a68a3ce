"""Which range a number format is given: the largest magnitude, the best one, or powers of two of one another."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Literal

import torch
from torch import Tensor

from neurosim.checks import one_of, whole
from neurosim.errors import ConfigError
from neurosim.quantizers.formats import Format, number_format
from neurosim.quantizers.rounding import fake_quantize

Measure = Literal["mse", "l1"]
_CANDIDATES: Final = 128  #: limits that are tried at once
_ROUNDS: Final = 4  #: times that the search closes in on the best of them
_DECADES: Final = 9  #: how far down it looks where the best is the lowest


def least_harm(harm: Callable[[list[float]], list[float]], most: float) -> float:
    """Where a function with many small valleys is least, in (0, most): tried all over, then ever closer around the best.

    All over is from a hundredth of the upper end on. Where that very place is the best, as when few numbers are far larger than all others,
    the search goes on further down, around the decade below which the function rises again.

    Args:
        harm: The function, of many arguments at once.
        most: Upper end, > 0.
    """
    least = most / 100
    low, high, best, rounds = least, most, most, 0
    while rounds < _ROUNDS:
        tried = [*torch.linspace(low, high, _CANDIDATES, dtype=torch.float64).tolist(), best]
        found = harm(tried)
        best = tried[min(range(len(found)), key=found.__getitem__)]
        width = 2 * (high - low) / (_CANDIDATES - 1)
        low, high, rounds = max(best - width, least), min(best + width, most), rounds + 1
        if best == least == most / 100:
            further = [least * 10.0**-decade for decade in range(_DECADES)]
            found = harm(further)
            at = min(range(_DECADES - 1), key=found.__getitem__)
            if found[at] < found[at + 1]:
                low = least = further[at + 1]
                high, rounds = further[at - 1] if at else high, 0
    return best


class _Sorted:
    """A sample with its sums from the smallest number on: the error of a format is then a sum over its numbers, not over the sample."""

    def __init__(self, values: Tensor) -> None:
        self.x = values.sort().values
        zero = self.x.new_zeros(1)
        self.sums = [torch.cat([zero, (self.x**power).cumsum(0)]) for power in (0, 1, 2)]

    def errors(self, form: Format, limits: list[float], measure: Measure) -> list[float]:
        """:func:`rounding_error` for each of the limits."""
        values = self.x.new_tensor(form.values)
        edges = torch.stack([values[:-1], (values[:-1] + values[1:]) / 2], 1).flatten()  # v0, border, v1, border, …
        scale = self.x.new_tensor(limits).unsqueeze(1) / form.largest
        at = torch.searchsorted(self.x, scale * torch.cat([edges, values[-1:]]))
        at = torch.cat([at.new_zeros(len(limits), 1), at, at.new_full((len(limits), 1), len(self.x))], 1)
        count, first, second = (one[at].diff(dim=1) for one in self.sums)  # of what lies below v0, from v0 to the border, on to v1, …
        level = scale * values.repeat_interleave(2)
        if measure == "l1":
            above = torch.arange(2 * len(values), device=values.device) % 2 * 2 - 1
            error = above * (first - level * count)
        else:
            error = second - 2 * level * first + level.square() * count
        found: list[float] = (error.sum(1) / len(self.x)).tolist()
        return found


def rounding_error(x: Tensor, form: str | Format, limit: float, measure: Measure = "mse") -> float:
    """Mean of error² (mse) or |error| (l1) when a sample is rounded to a format with that limit."""
    one_of("rounding_error: measure", measure, ("mse", "l1"))
    error = fake_quantize(x.detach(), form, limit).sub_(x.detach())
    return float(error.square().mean() if measure == "mse" else error.abs().mean())


def best_limit(x: Tensor, form: str | Format, measure: Measure = "mse") -> float:
    r"""The limit with which clipping and rounding together do least harm to a sample.

    .. math:: r^\ast = \arg\min_r \sum_k |x_k - Q_r(x_k)|^p, \qquad p = 2 \text{ (mse) or } 1 \text{ (l1)}

    Args:
        x: A sample, any shape.
        form: The format, or its name.
        measure: What harm is.

    Returns:
        r > 0, at most the largest magnitude; 1 for a sample of zeros.

    Raises:
        ConfigError: The sample is empty or not finite, or a name is unknown.

    >>> round(best_limit(torch.linspace(-1, 1, 1001), "int4"), 2)
    0.93
    """
    one_of("best_limit: measure", measure, ("mse", "l1"))
    if not isinstance(x, Tensor):
        raise ConfigError(f"best_limit: a sample must be a tensor, got {x!r:.60}")
    form = number_format(form)
    values = x.detach().double().flatten()
    if not len(values) or not bool(values.isfinite().all()):
        raise ConfigError(f"best_limit: a sample needs numbers, all finite, got shape {tuple(x.shape)}")
    most = float(values.abs().amax())
    ordered = _Sorted(values)
    return least_harm(lambda limits: ordered.errors(form, limits, measure), most) if most else 1.0


def sqnr_db(x: Tensor, form: str | Format, limit: float | Tensor) -> float:
    r"""Power of a signal over that of its error, :math:`10 \log_{10} \sum x^2 / \sum (x - Q(x))^2`, dB.

    >>> round(sqnr_db(torch.linspace(-1, 1, 1001), "int4", 14 / 15), 1)
    23.5
    """
    signal = x.detach().double()
    error = signal - fake_quantize(signal, form, limit)
    ratio = float(signal.square().sum() / error.square().sum())
    return 10 * math.log10(ratio) if ratio < math.inf else math.inf


def channel_limits(x: Tensor, axis: int | None = None, block: int | None = None) -> Tensor:
    """The largest magnitude of the whole tensor, of each channel, or of each block of neighbours, in a shape that broadcasts.

    Args:
        x: Any shape, not empty.
        axis: That of the channels; None for one limit.
        block: So many neighbours have a limit of their own; they count through all axes but the first, and fill them.

    Raises:
        ConfigError: There is no such axis, blocks do not fit, or there are no numbers.

    >>> channel_limits(torch.tensor([[1.0, -2.0], [0.5, 0.25]]), 0).tolist()
    [[2.0], [0.5]]
    """
    magnitudes = x.detach().abs()
    if not x.numel():
        raise ConfigError(f"channel_limits: a tensor needs numbers, got shape {tuple(x.shape)}")
    if block is not None:
        row = math.prod(x.shape[1:])
        if axis is not None or whole("channel_limits: block", block, 1) > row or row % block:
            raise ConfigError(f"channel_limits: blocks of {block}, without an axis, must fill rows of {row}, got axis {axis}")
        each = magnitudes.reshape(-1, block).amax(1, keepdim=True)
        return each.expand(-1, block).reshape(x.shape)
    if axis is None:
        return magnitudes.amax()
    if not -x.dim() <= axis < x.dim():
        raise ConfigError(f"channel_limits: axis must be one of a tensor of shape {tuple(x.shape)}, got {axis}")
    others = [one for one in range(x.dim()) if one != axis % x.dim()]
    return magnitudes.amax(others, keepdim=True) if others else magnitudes


def shift_limits(limits: Tensor, groups: int) -> Tensor:
    r"""Limits of channels that are powers of two of one another: a product of codes is brought to a common scale by a shift.

    .. math:: r'_c = r_{\max}\,2^{-g_c}, \qquad g_c = \min(\lfloor \log_2 (r_{\max} / r_c) \rfloor,\ G - 1)

    A limit is never below that of its channel, and less than twice as large unless the last group has to hold it.

    Args:
        limits: Largest magnitudes of the channels, any shape, ≥ 0.
        groups: G, ≥ 1: one group has the same limit for all.

    Returns:
        Same shape; 0 where all are 0.

    Raises:
        ConfigError: ``groups`` is out of its domain, or there are no limits.

    Source:
        W. Guo et al., "Towards accurate and efficient sub-8-bit integer training", arXiv 2411.10948 (2024), section 3 (ShiftQuant).

    >>> shift_limits(torch.tensor([8.0, 3.0, 0.1]), 4).tolist()
    [8.0, 4.0, 1.0]
    """
    whole("shift_limits: groups", groups, 1)
    if not limits.numel():
        raise ConfigError(f"shift_limits: there must be limits, got shape {tuple(limits.shape)}")
    most = limits.detach().amax()
    (top, high), (fraction, exponent) = torch.frexp(most), torch.frexp(limits.detach())
    shift = high - exponent - (top < fraction).int()  # ⌊log₂⌋ of the ratio, exact, also of one that is no number of the type
    shift = torch.where(limits > 0, shift, groups - 1).clamp(0, groups - 1)
    return most * torch.ldexp(torch.ones_like(limits), -shift)
