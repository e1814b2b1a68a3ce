"""Ranges of converters: from a sample of the signals they will see, from the size of the array, from bits.

A symmetric range is told by its end r: levels from −r to r, or from 0 to r for signals that are never negative (``signed=False``).
"""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.quantizers import Format, best_limit, least_harm

Measure = Literal["l1", "mse"]


class Code(NamedTuple):
    """Levels of a converter; equally spaced ones are fields of a ``quantize`` or ``converter`` stage: ``Quantize(**code._asdict())``."""

    levels: int | Format  #: how many, equally spaced and both ends included; or the format whose ends these are
    low: float
    high: float

    @property
    def inside(self) -> tuple[float, float]:
        """Half a step from either end: a result that is not between these is the last level, or beyond it."""
        if isinstance(self.levels, int):
            first = last = (self.high - self.low) / (self.levels - 1)
        else:
            scale, values = max(-self.low, self.high) / self.levels.largest, self.levels.values
            first, last = scale * (values[1] - values[0]), scale * (values[-1] - values[-2])
        return self.low + first / 2, self.high - last / 2

    @property
    def places(self) -> Tensor:
        """Where all levels lie, float64, ascending."""
        if isinstance(self.levels, int):
            return torch.linspace(self.low, self.high, self.levels, dtype=torch.float64)
        return torch.tensor(self.levels.values, dtype=torch.float64) * (max(-self.low, self.high) / self.levels.largest)


def sign_magnitude(bits: int, limit: float = 1.0) -> Code:
    """A sign bit and a magnitude: 2^bits − 1 levels, symmetric, with an exact 0.

    >>> sign_magnitude(3)
    Code(levels=7, low=-1.0, high=1.0)
    """
    return Code((1 << _bits(bits, 2)) - 1, -_positive("limit", limit), limit)


def unsigned(bits: int, limit: float = 1.0) -> Code:
    """Magnitudes only: 2^bits levels from an exact 0 to the limit.

    >>> unsigned(2, 3.0)
    Code(levels=4, low=0.0, high=3.0)
    """
    return Code(1 << _bits(bits, 1), 0.0, _positive("limit", limit))


def twos_complement(bits: int, limit: float = 1.0) -> Code:
    """Words of an integer type: 2^bits levels from −limit to one step below the limit, with an exact 0.

    With ``rounding="floor"`` and a limit of 2^(bits − 1) they are what a converter that counts down and saturates gives.

    >>> twos_complement(8, 128.0)
    Code(levels=256, low=-128.0, high=127.0)
    """
    _positive("limit", limit)
    return Code(1 << _bits(bits, 2), -limit, limit - limit / (1 << (bits - 1)))


def max_range(x: Tensor) -> float:
    """The largest magnitude of a sample: nothing is clipped.

    Raises:
        ConfigError: The sample is empty or not finite.
    """
    return float(_sample(x).amax())


def percentile_range(x: Tensor, share: float = 0.9999) -> float:
    """The magnitude that a share of a sample does not exceed, linear between neighbours.

    It is a quantile of |x|. That of x itself, which is sometimes taken instead, clips twice as much of a symmetric signal.

    Args:
        x: A sample of the signal, any shape.
        share: In (0, 1].

    Raises:
        ConfigError: The share is out of range; the sample is empty or not finite.

    >>> import torch
    >>> percentile_range(torch.tensor([-4.0, 1.0, 2.0, 3.0, -5.0]), 0.75)
    4.0
    """
    if not 0 < share <= 1:
        raise ConfigError(f"percentile_range: share must be in (0, 1], got {share}")
    magnitudes = _sample(x)
    place = share * (magnitudes.numel() - 1)
    below = min(math.floor(place), magnitudes.numel() - 1)
    low = float(magnitudes.kthvalue(below + 1).values)
    high = float(magnitudes.kthvalue(min(below + 2, magnitudes.numel())).values)
    return low + (place - below) * (high - low)


def best_range(x: Tensor, levels: int | Format, measure: Measure = "l1", *, signed: bool = True) -> float:
    r"""The range in which rounding and clipping together do least harm to a sample.

    .. math:: r^\ast = \arg\min_r \sum_k |x_k - Q_r(x_k)|^p, \qquad p = 1 \text{ (l1) or } 2 \text{ (mse)}

    with :math:`Q_r` the clipping to the range and rounding to the nearest of the levels. The sum has many small valleys in r: ranges
    from a hundredth of the largest magnitude up to it are tried, and smaller ones where that is the best, then ever closer ones around the
    best.

    Args:
        x: A sample of the signal, any shape; 10,000 numbers are plenty.
        levels: Of the converter, ≥ 2, both ends included; or its number format.
        measure: What harm is.
        signed: Levels from −r to r, or from 0 to r; a format says that itself.

    Returns:
        r > 0; 1 for a sample of zeros.

    Raises:
        ConfigError: ``levels`` or ``measure`` is out of its domain; the sample is empty or not finite.

    Source:
        CrossSim chooses ADC ranges by the L1 error in this way, over percentiles; L. R. Rabiner, R. W. Schafer, "Digital Processing of
        Speech Signals" (1978), chapter 5, on the balance of overload and granular noise.
    """
    if isinstance(levels, int) and levels < 2:
        raise ConfigError(f"best_range: levels must be ≥ 2, got {levels}")
    if measure not in ("l1", "mse"):
        raise ConfigError(f"best_range: measure must be l1 or mse, got {measure!r}")
    most = max_range(x)
    if most == 0:
        return 1.0
    values = x.detach().double().flatten()
    if isinstance(levels, Format):
        return best_limit(values, levels, measure)
    return least_harm(lambda limits: [range_error(values, levels, limit, measure, signed=signed) for limit in limits], most)


def range_error(x: Tensor, levels: int, limit: float, measure: Measure = "l1", *, signed: bool = True) -> float:
    """Mean of |error| (l1) or error² (mse) when a sample is rounded to that many levels in that range."""
    low = -limit if signed else 0.0
    step = (limit - low) / (levels - 1)
    error = (x.clamp(low, limit) - low).div_(step).round_().mul_(step).add_(low).sub_(x)
    return float(error.abs().mean() if measure == "l1" else error.square().mean())


def max_adc_range(rows: int, *, signed_inputs: bool, subtracted: bool) -> tuple[float, float]:
    """Ends that no sum can exceed: every input and every cell at its largest.

    Args:
        rows: Inputs of a tile.
        signed_inputs: Whether inputs go below zero.
        subtracted: Whether currents of a differential pair are subtracted before the converter.

    Returns:
        Lowest and highest level, in units of (largest input × largest conductance).

    Source:
        CrossSim 3.2, ``ADCRangeLimits.MAX`` in ``simulator/circuits/adc/iadc.py``, unsliced and balanced sliced cores.
    """
    most = float(_positive("rows", rows))
    return (-most if signed_inputs or subtracted else 0.0), most


def sliced_adc_range(rows: int, *, adc_bits: int, input_bits: int, slice_bits: int, signed_inputs: bool) -> tuple[float, float]:
    """The range of :func:`max_adc_range` for slices with an offset, moved to where steps are a whole multiple of one cell's.

    Arguments, units and source as in :func:`granular_adc_range`; ``rows`` counts as the nearest power of two (of its logarithm).
    """
    _positive("rows", rows)
    cells = 1 << _bits(slice_bits, 1)
    most = 2.0 ** round(math.log2(rows)) * cells / (cells - 1) * _input_factor(input_bits, signed_inputs)
    codes = 1 << _bits(adc_bits, 2)
    return (-most * (codes - 2) / codes, most * (codes - 2) / codes) if signed_inputs else (0.0, most * (codes - 1) / codes)


def granular_adc_range(
    *,
    adc_bits: int,
    input_bits: int,
    weight_bits: int | None = None,
    slice_bits: int | None = None,
    signed_inputs: bool,
    subtracted: bool,
) -> tuple[float, float]:
    """Ends between which one step is the least change of one cell at full input; sums beyond are clipped.

    To within a step nothing is clipped if the converter has the bits of a cell and log2(rows) more.

    Args:
        adc_bits: Of the converter.
        input_bits: Of the inputs, the sign included.
        weight_bits: Of the weights, if they are not sliced.
        slice_bits: Of one cell, if they are.
        signed_inputs, subtracted: As in :func:`max_adc_range`.

    Returns:
        Lowest and highest level, in units of (largest input × largest conductance).

    Raises:
        ConfigError: Not exactly one of ``weight_bits`` and ``slice_bits``; a number of bits out of its domain.

    Source:
        CrossSim 3.2, ``ADCRangeLimits.GRANULAR`` in ``simulator/circuits/adc/iadc.py``.

    >>> granular_adc_range(adc_bits=8, input_bits=8, slice_bits=1, signed_inputs=False, subtracted=False)
    (0.0, 256.0)
    """
    if (weight_bits is None) == (slice_bits is None):
        raise ConfigError(f"granular_adc_range: give weight_bits or slice_bits, got {weight_bits} and {slice_bits}")
    least = 2.0 ** -_bits(weight_bits, 1) if weight_bits is not None else 1 / ((1 << _bits(slice_bits or 0, 1)) - 1)
    step = least * _input_factor(input_bits, signed_inputs)
    if signed_inputs or subtracted:
        most = step * ((1 << (_bits(adc_bits, 2) - 1)) - 1)
        return -most, most
    return 0.0, step * ((1 << _bits(adc_bits, 1)) - 1)


def power_of_two_range(limit: float, rows: int) -> float:
    """The smallest rows / 2^k that is not below a limit: ranges of bit slices whose sums are then shifted, not multiplied.

    >>> power_of_two_range(5.0, 48)
    6.0
    """
    _positive("limit", limit)
    return rows / 2.0 ** math.floor(math.log2(_positive("rows", rows) / limit))


def _input_factor(input_bits: int, signed: bool) -> float:
    """Full input is the code 2^b − 1; steps are counted at one code more, so that they are whole numbers of the least input."""
    codes = 1 << (_bits(input_bits, 2) - 1 if signed else _bits(input_bits, 1))
    return codes / (codes - 1)


def _bits(bits: int, least: int) -> int:
    if not least <= bits <= 24:
        raise ConfigError(f"bits: must be from {least} to 24, got {bits}")
    return bits


def _positive(name: str, value: float) -> float:
    if not 0 < value < math.inf:
        raise ConfigError(f"{name}: must be > 0 and finite, got {value}")
    return value


def _sample(x: Tensor) -> Tensor:
    magnitudes = x.detach().abs().flatten()
    if not magnitudes.numel() or not bool(magnitudes.isfinite().all()):
        raise ConfigError(f"range: a sample needs numbers, all finite, got shape {tuple(x.shape)}")
    return magnitudes.double()
