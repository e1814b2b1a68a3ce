"""What spike trains say: rates, units that never or always fire, intervals between spikes, synchrony.

Every function takes spikes ``(time, batch, *units)`` as neurons send them: 0 or 1, or counts of neurons that send several a step.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import torch
from torch import Tensor

from neurosim.errors import ConfigError

LEVEL: Final = 0.95  #: confidence of intervals unless another is asked for


class RateInterval(NamedTuple):
    """A mean rate with its confidence interval over samples; NaN where there are fewer than two."""

    value: float
    low: float
    high: float
    n: int  #: samples


def firing_rates(spikes: Tensor, dt: float | None = None) -> Tensor:
    r"""Rate of every unit: the mean over time and samples.

    .. math:: r_i = \frac{1}{T B\,\Delta t} \sum_{t,b} s_{tbi}

    Args:
        spikes: ``(time, batch, *units)``.
        dt: Step, seconds; None gives spikes per step.

    Returns:
        ``(*units)``, float64: Hz, or spikes per step; NaN where there are no steps or no samples.

    Raises:
        ConfigError: There are no axes for time and samples, or ``dt`` is not positive.

    >>> firing_rates(torch.tensor([[[0.0, 1.0]], [[0.0, 1.0]], [[1.0, 1.0]], [[0.0, 1.0]]]), dt=1e-3)
    tensor([ 250., 1000.], dtype=torch.float64)
    """
    _check("firing_rates", spikes, dt)
    return spikes.double().mean((0, 1)) / (1.0 if dt is None else dt)


def dead_units(spikes: Tensor, at_most: float = 0.0) -> Tensor:
    """Which units are as good as silent.

    Args:
        spikes: ``(time, batch, *units)``.
        at_most: The greatest share of steps, over all samples, at which a dead unit fires, 0..1; 0: it never does.

    Returns:
        ``(*units)``, bool.

    Raises:
        ConfigError: As for :func:`firing_rates`, or the share is not within 0..1.
    """
    return _active("dead_units", spikes, "at_most", at_most) <= at_most


def saturated_units(spikes: Tensor, at_least: float = 1.0) -> Tensor:
    """Which units can say no more by firing more often.

    Args:
        spikes: ``(time, batch, *units)``.
        at_least: The least share of steps, over all samples, at which a saturated unit fires, 0..1; 1: it always does.

    Returns:
        ``(*units)``, bool.

    Raises:
        ConfigError: As for :func:`firing_rates`, or the share is not within 0..1.
    """
    return _active("saturated_units", spikes, "at_least", at_least) >= at_least


def mean_rate(spikes: Tensor, dt: float | None = None, level: float = LEVEL) -> RateInterval:
    r"""Mean rate of a layer, with Student's interval over samples: others would have been drawn as these were.

    .. math:: \bar r \pm t_{B-1,(1+\mathrm{level})/2}\;\mathrm{sd}(r_b) / \sqrt B

    Args:
        spikes: ``(time, batch, *units)``.
        dt: Step, seconds; None gives spikes per step and unit.
        level: Confidence, 0..1.

    Raises:
        ConfigError: As for :func:`firing_rates`, or the confidence is not between 0 and 1.
    """
    _check("mean_rate", spikes, dt)
    return interval(spikes.double().transpose(0, 1).flatten(1).mean(1) / (1.0 if dt is None else dt), level)


def interval(values: Tensor, level: float = LEVEL) -> RateInterval:
    """The mean of one number a sample, ``(samples,)``, with Student's interval; see :func:`mean_rate`."""
    from scipy.stats import t

    if not 0 < level < 1:
        raise ConfigError(f"interval: level must be between 0 and 1, got {level!r}")
    n, mean = len(values), float(values.mean())
    half = float(t.ppf((1 + level) / 2, n - 1)) * float(values.std()) / n**0.5 if n > 1 else float("nan")
    return RateInterval(mean, mean - half, mean + half, n)


def inter_spike_intervals(spikes: Tensor, dt: float | None = None) -> Tensor:
    """Times between one spike of a unit and its next, of all units and samples; several spikes at one step count as one.

    Args:
        spikes: ``(time, batch, *units)``.
        dt: Step, seconds; None gives steps.

    Returns:
        ``(intervals,)``, float64, by sample, then by unit, then in time.

    Raises:
        ConfigError: As for :func:`firing_rates`.

    >>> inter_spike_intervals(torch.tensor([1.0, 0.0, 1.0, 1.0]).reshape(4, 1, 1))
    tensor([2., 1.], dtype=torch.float64)
    """
    _check("inter_spike_intervals", spikes, dt)
    return _intervals(spikes)[0] * (1.0 if dt is None else dt)


def interval_variation(spikes: Tensor) -> Tensor:
    r"""Coefficient of variation of the intervals between spikes: 0 for a clock, 1 for a Poisson process of low rate.

    .. math:: \mathrm{CV} = \mathrm{sd}(\mathrm{ISI}) / \mathrm{mean}(\mathrm{ISI})

    with the standard deviation of the intervals themselves (divided by their number).

    Args:
        spikes: ``(time, batch, *units)``.

    Returns:
        ``(batch, *units)``, float64; NaN for fewer than two intervals.

    Raises:
        ConfigError: As for :func:`firing_rates`.

    Source:
        W. R. Softky, C. Koch, "The highly irregular firing of cortical cells is inconsistent with temporal integration of random EPSPs",
        J. Neurosci. 13 (1993) 334–350.
    """
    _check("interval_variation", spikes, None)
    values, train = _intervals(spikes)
    trains = spikes.shape[1:].numel()
    zeros = torch.zeros(trains, dtype=torch.float64, device=spikes.device)
    count = zeros.index_add(0, train, torch.ones_like(values))
    mean = zeros.index_add(0, train, values) / count
    variance = zeros.index_add(0, train, (values - mean[train]).square()) / count
    return torch.where(count > 1, variance.sqrt() / mean, torch.nan).reshape(spikes.shape[1:])


def synchrony(signal: Tensor) -> Tensor:
    r"""How much of the fluctuation of units is common to them: 1 where all do the same, about 1/√N where N units are independent.

    .. math:: \chi^2 = \frac{\mathrm{var}_t\big(\frac1N \sum_i x_i\big)}{\frac1N \sum_i \mathrm{var}_t(x_i)}

    Args:
        signal: Membranes, or spikes smoothed over time, ``(time, batch, *units)``. For spikes as they are, only those at the same step
            count as common.

    Returns:
        χ of every sample, ``(batch,)``, float64; NaN where nothing fluctuates.

    Raises:
        ConfigError: There are no axes for time, samples and units.

    Source:
        D. Golomb, "Neuronal synchrony measures", Scholarpedia 2(1):1347 (2007), doi:10.4249/scholarpedia.1347.
    """
    _check("synchrony", signal, None)
    if signal.dim() < 3:
        raise ConfigError(f"synchrony: must be given several units, (time, batch, *units), got shape {tuple(signal.shape)}")
    x = signal.double().flatten(2)
    common, own = x.mean(2).var(0, correction=0), x.var(0, correction=0).mean(1)
    return torch.where(own > 0, common / own, torch.nan).sqrt()


def _intervals(spikes: Tensor) -> tuple[Tensor, Tensor]:
    """All intervals in steps, and the train (sample and unit) of each."""
    train, time = spikes.flatten(1).T.nonzero(as_tuple=True)
    same = train[1:] == train[:-1]
    return (time[1:] - time[:-1])[same].double(), train[1:][same]


def _active(where: str, spikes: Tensor, name: str, share: float) -> Tensor:
    """The share of steps at which each unit fires."""
    _check(where, spikes, None)
    if not 0 <= share <= 1:
        raise ConfigError(f"{where}: {name} must be a share of steps, 0 to 1, got {share!r}")
    return (spikes != 0).double().mean((0, 1))


def _check(where: str, spikes: object, dt: float | None) -> None:
    if not isinstance(spikes, Tensor) or spikes.dim() < 2:
        got = f"shape {tuple(spikes.shape)}" if isinstance(spikes, Tensor) else type(spikes).__name__
        raise ConfigError(f"{where}: must be a tensor (time, batch, *units), got {got}")
    if dt is not None and not 0 < dt < float("inf"):
        raise ConfigError(f"{where}: dt must be more than 0 seconds and finite, got {dt!r}")
