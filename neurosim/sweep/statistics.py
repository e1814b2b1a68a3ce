"""Intervals: how far a finite number of chips and of test samples can be trusted.

Two variances are different things and are never mixed here: chips (another chip has other errors) and test samples (other images would
have been other images). Every function is pure; whatever resamples takes its seed as an argument.
"""

from __future__ import annotations

import math
import warnings
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL: Final = 0.95  #: confidence of every interval unless another is asked for
RESAMPLES: Final = 4999  #: bootstrap resamples: the 2.5 % quantile then has a standard error of 0.2 %
FEW: Final = 10  #: below this many discordant samples the normal approximation and the bootstrap both fail
ROUNDING: Final = 1e-9  #: a drop of 0.97 - 0.95 counts as 0.02

Floats = NDArray[np.float64]


class Interval(NamedTuple):
    """An estimate with its confidence interval; ``low`` and ``high`` are NaN where ``n`` allows none."""

    value: float
    low: float
    high: float
    n: int
    method: str  #: ``t``, ``bca``, ``t+bca``, ``wilson``, ``mover``, ``constant`` or ``none``

    @property
    def known(self) -> bool:
        """Whether there is an interval at all."""
        return not (math.isnan(self.low) or math.isnan(self.high))

    def within(self, low: float, high: float) -> Interval:
        """The same, cut to the range the quantity can have (an accuracy is in 0..1)."""
        return self._replace(low=max(self.low, low), high=min(self.high, high)) if self.known else self


class Drop(NamedTuple):
    """How much worse than the digital model, on the same samples; positive is worse."""

    over_chips: Interval
    over_samples: Interval | None  #: ``None`` where the metric is not made of hits

    @property
    def value(self) -> float:
        """The mean drop."""
        return self.over_chips.value


def mean_interval(values: ArrayLike, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Confidence interval of a mean.

    Student's t where it can be trusted: n ≥ 10 and n ≥ 25 G₁² with G₁ the sample skewness (Cochran's rule); the BCa bootstrap for larger
    skewed samples. Below 10 the bootstrap alone covers too seldom (about 80 % instead of 95 % at n = 5), so both are made and the wider
    end is taken on each side.

    Args:
        values: One number per independent repeat, (n,).
        level: Confidence, 0..1.
        seed: Seed of the resampling.

    Returns:
        The mean and its interval; none for n < 2, the mean itself where all values are equal.

    Source:
        W. G. Cochran, Sampling Techniques, 3rd ed. 1977, §2.15; B. Efron, J. Am. Stat. Assoc. 82 (1987) 171,
        doi:10.1080/01621459.1987.10478410.
    """
    x = np.asarray(values, dtype=np.float64)
    n = len(x)
    mean = float(x.mean()) if n else math.nan
    if n < 2 or not np.isfinite(x).all():
        return Interval(mean, math.nan, math.nan, n, "none")
    if np.ptp(x) <= ROUNDING * max(1.0, float(np.abs(x).max())):
        return Interval(mean, mean, mean, n, "constant")
    student = _student(x, level)
    if n < 3 or (n >= FEW and n >= 25 * _skewness(x) ** 2):
        return Interval(mean, *student, n, "t")
    bca = _bca(x, level, seed)
    if not all(map(math.isfinite, bca)):
        return Interval(mean, *student, n, "t")
    if n >= FEW:
        return Interval(mean, *bca, n, "bca")
    return Interval(mean, min(student[0], bca[0]), max(student[1], bca[1]), n, "t+bca")


def wilson(good: float, n: int, *, level: float = LEVEL) -> Interval:
    """Wilson's score interval of a proportion.

    Args:
        good: How many, 0..n; may be a fraction where each of the ``n`` is a mean of repeats, and is then conservative.
        n: Out of how many.
        level: Confidence, 0..1.

    Source:
        E. B. Wilson, J. Am. Stat. Assoc. 22 (1927) 209, doi:10.1080/01621459.1927.10502953.
    """
    if n == 0:
        return Interval(math.nan, math.nan, math.nan, 0, "none")
    z, p = _z(level), good / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    low = 0.0 if good == 0 else centre - half
    high = 1.0 if good == n else centre + half
    return Interval(p, low, high, n, "wilson")


def accuracy_interval(hits: ArrayLike, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Interval of an accuracy over test samples, the chips held as they are.

    Args:
        hits: Share of chips that got each sample right, (samples,); 0 and 1 only for a single run, whose interval is Wilson's.
        level: Confidence, 0..1.
        seed: Seed of the resampling, where there is any.
    """
    p = np.asarray(hits, dtype=np.float64)
    single_run = bool(np.isin(p, (0.0, 1.0)).all())
    if single_run or min(np.count_nonzero(p < 1), np.count_nonzero(p > 0)) < FEW:
        return wilson(float(p.sum()), len(p), level=level)
    return mean_interval(p, level=level, seed=seed).within(0.0, 1.0)


def drop_over_samples(reference: ArrayLike, hits: ArrayLike, *, level: float = LEVEL, seed: int = 0) -> Interval:
    """Paired interval of an accuracy drop over test samples, the chips held as they are.

    The mean of ``reference - hits`` over samples, by `mean_interval`. Fewer than 10 discordant samples (none at all, often) tell
    a bootstrap too little; then lost and won samples each get Wilson's interval, joined by the method of variance estimates recovery.

    Args:
        reference: Hits of the digital model, (samples,), 0 or 1.
        hits: Share of chips that got each sample right, (samples,).
        level: Confidence, 0..1.
        seed: Seed of the resampling.

    Source:
        R. G. Newcombe, Stat. Med. 17 (1998) 2635; G. Y. Zou, A. Donner, Stat. Med. 27 (2008) 1693, doi:10.1002/sim.3095.
    """
    lost = np.asarray(reference, dtype=np.float64) - np.asarray(hits, dtype=np.float64)
    if np.count_nonzero(lost) >= FEW:
        return mean_interval(lost, level=level, seed=seed)
    n = len(lost)
    a = wilson(float(lost.clip(min=0).sum()), n, level=level)
    b = wilson(float((-lost).clip(min=0).sum()), n, level=level)
    if not a.known:
        return a
    correlation = -math.sqrt(a.value * b.value / ((1 - a.value) * (1 - b.value))) if a.value < 1 and b.value < 1 else 0.0
    below, above = _joined(a.value - a.low, b.high - b.value, correlation), _joined(a.high - a.value, b.value - b.low, correlation)
    drop = a.value - b.value
    return Interval(drop, drop - below, drop + above, n, "mover")


def mcnemar(reference: ArrayLike, hits: ArrayLike) -> float:
    """Exact McNemar test of one run against the digital model: the probability of so lopsided a change were both equally good.

    Args:
        reference: Hits of the digital model, (samples,), 0 or 1.
        hits: Hits of the run, (samples,), 0 or 1.

    Returns:
        Two-sided p; 1 where no sample changed.

    Source:
        Q. McNemar, Psychometrika 12 (1947) 153, doi:10.1007/BF02295996, with exact binomial tails.
    """
    from scipy.stats import binomtest

    before, after = np.asarray(reference, dtype=bool), np.asarray(hits, dtype=bool)
    lost, won = int(np.sum(before & ~after)), int(np.sum(after & ~before))
    return float(binomtest(lost, lost + won, 0.5).pvalue) if lost + won else 1.0


def by_chip(chips: ArrayLike, values: ArrayLike) -> tuple[NDArray[np.uint64], Floats]:
    """Average the reads within each chip: the first of the two levels.

    Args:
        chips: Chip of every trial, (trials,).
        values: Something of every trial, (trials, ...).

    Returns:
        The chips, ascending, (n,), and their means, (n, ...).
    """
    seeds, index, count = np.unique(np.asarray(chips, dtype=np.uint64), return_inverse=True, return_counts=True)
    v = np.asarray(values, dtype=np.float64)
    total = np.zeros((len(seeds), *v.shape[1:]))
    np.add.at(total, index, v)
    return seeds, total / count.reshape(-1, *[1] * (v.ndim - 1))


def yield_interval(drops: ArrayLike, limit: float, *, level: float = LEVEL) -> Interval:
    """Share of chips whose drop is at most ``limit``, with Wilson's interval; a chip without a number is a bad chip."""
    d = np.asarray(drops, dtype=np.float64)
    return wilson(int(np.sum(d <= limit + ROUNDING)), len(d), level=level)


def provable_yield(n: int, *, level: float = LEVEL) -> float:
    """The largest yield that ``n`` chips can prove: what remains if every one of them is good.

    >>> round(provable_yield(25), 3)
    0.867
    """
    return wilson(n, n, level=level).low


def chips_needed(target: float, *, level: float = LEVEL) -> int | None:
    """The fewest chips, all of them good, that prove a yield of ``target``; ``None`` for a target of 1, which no number proves.

    >>> chips_needed(0.9)
    35
    """
    z = _z(level)
    return math.ceil(target * z * z / (1 - target) - ROUNDING) if target < 1 else None


def _joined(a: float, b: float, correlation: float) -> float:
    return math.sqrt(max(a * a + b * b - 2 * correlation * a * b, 0.0))


def _z(level: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + level / 2))


def _student(x: Floats, level: float) -> tuple[float, float]:
    from scipy.special import stdtrit

    n = len(x)
    half = float(stdtrit(n - 1, 0.5 + level / 2)) * float(x.std(ddof=1)) / math.sqrt(n)
    return float(x.mean()) - half, float(x.mean()) + half


def _skewness(x: Floats) -> float:
    n, d = len(x), x - x.mean()
    g1 = float((d**3).mean() / (d**2).mean() ** 1.5)
    return g1 * math.sqrt(n * (n - 1)) / (n - 2)


def _bca(x: Floats, level: float, seed: int) -> tuple[float, float]:
    from scipy.stats import bootstrap

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate sample gives NaN, which the caller asks about
        found = bootstrap(
            (x,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=max(1, 4_000_000 // len(x)),
            confidence_level=level,
            method="BCa",
            rng=np.random.default_rng(seed),
        ).confidence_interval
    return float(found.low), float(found.high)
