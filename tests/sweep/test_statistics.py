import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from neurosim.sweep.statistics import (
    FEW,
    Interval,
    accuracy_interval,
    by_chip,
    chips_needed,
    drop_over_samples,
    mcnemar,
    mean_interval,
    provable_yield,
    wilson,
    yield_interval,
)

Z2 = 1.959963984540054**2
Draw = Callable[[np.random.Generator, int], NDArray[np.float64]]


def normal(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return rng.normal(size=n)


def exponential(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    return rng.exponential(size=n) - 1.0


def test_a_mean_of_many_even_values_has_the_t_interval() -> None:
    x = 0.9 + 0.01 * stats.norm.ppf((np.arange(25) + 0.5) / 25)  # no skewness
    found = mean_interval(x)
    low, high = stats.t.interval(0.95, 24, x.mean(), stats.sem(x))
    assert found.method == "t"
    assert found[:4] == (pytest.approx(x.mean()), pytest.approx(low), pytest.approx(high), 25)


def test_a_mean_of_skewed_values_has_the_bootstrap_interval() -> None:
    x = np.append(np.zeros(20), [1.0, 8.0])
    assert 25 * stats.skew(x, bias=False) ** 2 > len(x)  # Cochran's rule asks for more values
    expected = stats.bootstrap((x,), np.mean, n_resamples=4999, method="BCa", rng=np.random.default_rng(3)).confidence_interval
    found = mean_interval(x, seed=3)
    assert found.method == "bca"
    assert (found.low, found.high) == (pytest.approx(expected.low), pytest.approx(expected.high))
    assert found.high - found.value > found.value - found.low  # it reaches out to the long tail


def test_few_values_get_the_wider_of_t_and_bootstrap() -> None:
    x = np.array([0.90, 0.91, 0.95, 0.96, 0.97])
    low, high = stats.t.interval(0.95, 4, x.mean(), stats.sem(x))
    found = mean_interval(x)
    assert found.method == "t+bca"
    assert found.low <= low
    assert found.high >= high


def test_two_values_have_the_t_interval() -> None:
    low, high = stats.t.interval(0.95, 1, 0.5, stats.sem([0.4, 0.6]))
    assert mean_interval([0.4, 0.6])[1:3] == (pytest.approx(low), pytest.approx(high))


@pytest.mark.parametrize("values", [[], [0.5], [0.5, math.nan, 0.6], [0.5, math.inf]])
def test_nothing_is_claimed_from_one_value_or_from_values_that_are_none(values: list[float]) -> None:
    found = mean_interval(values)
    assert not found.known
    assert found.method == "none"


def test_equal_values_are_their_own_interval() -> None:
    assert mean_interval([0.3] * 7)[1:] == (pytest.approx(0.3), pytest.approx(0.3), 7, "constant")


def test_resampling_depends_on_its_seed_and_on_nothing_else() -> None:
    x = np.append(np.zeros(20), [1.0, 8.0])
    assert mean_interval(x, seed=1) == mean_interval(x, seed=1)
    assert mean_interval(x, seed=1) != mean_interval(x, seed=2)


@pytest.mark.parametrize(
    ("draw", "n", "repeats", "at_least"),
    [
        (normal, 12, 1000, 0.93),
        (normal, 5, 250, 0.95),
        (exponential, 30, 250, 0.88),
    ],  # Cochran's rule now and then takes a normal sample for skewed
)
def test_the_interval_of_a_mean_covers_the_truth_as_often_as_it_says(draw: Draw, n: int, repeats: int, at_least: float) -> None:
    """A true coverage of ``at_least`` would fall below the bound once in a million."""
    rng = np.random.default_rng(n)
    found = [mean_interval(draw(rng, n), seed=i) for i in range(repeats)]
    covered = sum(interval.low <= 0.0 <= interval.high for interval in found)
    assert covered >= stats.binom.ppf(1e-6, repeats, at_least)
    assert covered < repeats  # an interval that never misses says nothing


@pytest.mark.parametrize("n", [1, 7, 25, 360])
def test_a_proportion_has_wilsons_interval(n: int) -> None:
    for good in {0, 1, n // 3, n - 1, n}:
        expected = stats.binomtest(good, n).proportion_ci(0.9, "wilson")
        assert wilson(good, n, level=0.9)[:3] == (good / n, pytest.approx(expected.low, abs=1e-12), pytest.approx(expected.high, abs=1e-12))


def test_no_trials_have_no_proportion() -> None:
    assert not wilson(0, 0).known


def test_an_interval_can_be_cut_to_the_range_of_its_quantity() -> None:
    assert Interval(0.99, 0.97, 1.01, 5, "t").within(0.0, 1.0)[1:3] == (0.97, 1.0)
    assert not mean_interval([0.5]).within(0.0, 1.0).known


def test_the_accuracy_of_one_run_has_wilsons_interval() -> None:
    hits = np.arange(100) < 93
    assert accuracy_interval(hits) == wilson(93, 100)


def test_the_mean_accuracy_of_many_chips_varies_less_over_samples_than_that_of_one() -> None:
    hits = 0.5 + 0.5 * np.random.default_rng(0).random(200)
    many, one = accuracy_interval(hits), wilson(float(hits.sum()), 200)
    assert many.value == pytest.approx(one.value)
    assert many.high - many.low < one.high - one.low


def test_an_accuracy_near_one_keeps_room_below_it() -> None:
    hits = np.ones(100)
    hits[:3] = 0.5
    assert accuracy_interval(hits) == wilson(98.5, 100)


def test_without_a_changed_sample_the_drop_may_still_be_as_large_as_wilson_says() -> None:
    n, hits = 360, np.ones(360)
    bound = Z2 / (n + Z2)
    assert drop_over_samples(hits, hits)[:4] == (0.0, pytest.approx(-bound), pytest.approx(bound), n)


def test_few_lost_samples_of_one_run_give_wilsons_upper_end_and_a_little_more() -> None:
    reference, hits = np.ones(200), np.arange(200) >= 5
    found, lost, won = drop_over_samples(reference, hits), wilson(5, 200), wilson(0, 200)
    assert found.method == "mover"
    assert found.value == pytest.approx(5 / 200)
    assert found.high == pytest.approx(lost.high)
    assert found.low == pytest.approx(lost.value - math.hypot(lost.value - lost.low, won.high))


def test_many_changed_samples_give_the_interval_of_their_mean() -> None:
    rng = np.random.default_rng(5)
    reference, hits = rng.random(300) < 0.95, rng.random(300) < 0.8
    found = drop_over_samples(reference, hits, seed=2)
    assert found == mean_interval(reference.astype(float) - hits.astype(float), seed=2)


def test_swapping_the_two_models_turns_the_drop_around() -> None:
    reference, hits = np.arange(100) >= 2, np.arange(100) >= 6
    one, other = drop_over_samples(reference, hits), drop_over_samples(hits, reference)
    assert (one.value, one.low, one.high) == (pytest.approx(-other.value), pytest.approx(-other.high), pytest.approx(-other.low))


def test_the_paired_interval_covers_the_true_drop() -> None:
    """Exact coverage, summed over every outcome: lost and won samples are two cells of a multinomial."""
    n, p_lost, p_won, total, covered = 60, 0.05, 0.02, 0.0, 0.0
    for lost in range(FEW):
        for won in range(FEW - lost):
            reference, hits = np.zeros(n), np.zeros(n)
            reference[:lost], hits[lost : lost + won] = 1, 1
            weight = float(stats.multinomial.pmf([lost, won, n - lost - won], n, [p_lost, p_won, 1 - p_lost - p_won]))
            interval = drop_over_samples(reference, hits)
            total += weight
            covered += weight * (interval.low <= p_lost - p_won <= interval.high)
    assert total > 0.97  # hardly ever ten or more change
    assert covered / total >= 0.95


def test_mcnemar_is_the_exact_binomial_tail() -> None:
    before, after = np.repeat([True, False, True], [8, 1, 50]), np.repeat([False, True, True], [8, 1, 50])
    assert mcnemar(before, after) == pytest.approx(2 * (1 + 9) / 2**9)  # 8 lost, 1 won


def test_mcnemar_of_two_equal_runs_finds_nothing() -> None:
    assert mcnemar(np.ones(5), np.ones(5)) == 1.0


def test_reads_are_averaged_within_each_chip() -> None:
    chips, means = by_chip([7, 3, 7, 7], [1.0, 5.0, 2.0, 6.0])
    assert (chips.tolist(), means.tolist()) == ([3, 7], [5.0, 3.0])


def test_reads_of_vectors_are_averaged_element_by_element() -> None:
    assert by_chip([1, 1, 0], [[0, 1], [1, 1], [0, 0]])[1].tolist() == [[0.0, 0.0], [0.5, 1.0]]


def test_many_reads_of_few_chips_are_not_many_chips() -> None:
    rng = np.random.default_rng(0)
    spread = np.repeat(rng.normal(size=12), 100) + 0.01 * rng.normal(size=1200)
    found = mean_interval(by_chip(np.repeat(np.arange(12), 100), spread)[1])
    assert found.n == 12
    assert found.high - found.low > 10 * (mean_interval(spread).high - mean_interval(spread).low) / math.sqrt(100)


def test_a_chip_exactly_at_the_limit_is_good_and_one_without_a_number_is_bad() -> None:
    assert yield_interval([0.97 - 0.95, 0.021, math.nan, -0.5], 0.02) == wilson(2, 4)


@pytest.mark.parametrize("n", [25, 59, 100])
def test_even_if_every_chip_is_good_only_so_much_yield_is_proven(n: int) -> None:
    assert provable_yield(n) == pytest.approx(n / (n + Z2))


@pytest.mark.parametrize("target", [0.5, 0.8, 0.9, 0.95, 0.99])
def test_the_chips_needed_for_a_yield_are_the_fewest_that_prove_it(target: float) -> None:
    n = chips_needed(target)
    assert n is not None
    assert provable_yield(n) >= target > provable_yield(n - 1)


def test_no_number_of_chips_proves_that_all_are_good() -> None:
    assert chips_needed(1.0) is None


def test_more_confidence_needs_a_wider_interval() -> None:
    x = np.random.default_rng(0).exponential(size=30)
    for make in (lambda level: mean_interval(x, level=level), lambda level: wilson(7, 30, level=level)):
        widths = [make(level).high - make(level).low for level in (0.5, 0.9, 0.99)]
        assert all(a < b for a, b in pairwise(widths))
