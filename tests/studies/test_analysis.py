"""What the numbers of a study say, against closed forms, NumPy and SciPy."""

from __future__ import annotations

import itertools
import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from neurosim.studies import analysis
from neurosim.studies.digest import digest
from neurosim.sweep.statistics import mean_interval
from tests.studies.tables import ACCURACY, result

DRAW = np.random.default_rng(7)
SEEDS = 12


def planted() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Three factors whose effects and one interaction are known, on seeds that differ by much."""
    a, b = np.array([0.3, -0.1, -0.2]), np.array([0.5, -0.5])
    together = np.array([[0.1, -0.1], [0.0, 0.0], [-0.1, 0.1]])  # rows and columns sum to 0
    seeds = DRAW.normal(0, 10, SEEDS)
    values = 2 + a[:, None, None, None] + b[None, :, None, None] + together[:, :, None, None] + np.zeros((1, 1, 4, 1)) + seeds
    return values, a, b, together


def test_planted_effects_are_found_exactly_whatever_the_seeds_are() -> None:
    values, a, b, together = planted()
    for factor, wanted in ((0, a), (1, b), (2, np.zeros(4))):
        found = analysis.main_effects(values, factor)
        assert found is not None
        assert [one.value for one in found.effects] == pytest.approx(wanted, abs=1e-12)
        assert not any(one.known for one in found.effects if one.value)  # seeds shift all levels alike: nothing says how effects spread
        assert (found.combinations, found.seeds) == (values[..., 0].size // len(wanted), SEEDS)
    found_together = analysis.interaction(values, 0, 1)
    assert found_together is not None
    assert np.array([[one.value for one in row] for row in found_together.terms]) == pytest.approx(together, abs=1e-12)
    nothing = analysis.interaction(values, 0, 2)
    assert nothing is not None
    assert np.array([[one.value for one in row] for row in nothing.terms]) == pytest.approx(np.zeros((3, 4)), abs=1e-12)


def test_means_are_those_of_numpy_and_intervals_those_over_seeds() -> None:
    values = DRAW.normal(0, 1, (3, 2, 4, SEEDS))
    found = analysis.main_effects(values, 1)
    assert found is not None
    for level in range(2):
        by_seed = values[:, level].mean(axis=(0, 1))
        assert found.means[level].value == pytest.approx(by_seed.mean())
        effect = mean_interval(by_seed - values.mean(axis=(0, 1, 2)))
        assert found.effects[level][:4] == pytest.approx(effect[:4])


def test_a_comparison_is_the_paired_t_test() -> None:
    values = DRAW.normal(0, 1, (2, SEEDS)) + DRAW.normal(0, 5, SEEDS)
    (one,) = analysis.comparisons(values, 0)
    expected = stats.ttest_rel(values[1], values[0]).confidence_interval(0.95)
    assert one.difference.method == "t"
    assert one.difference[:3] == pytest.approx(((values[1] - values[0]).mean(), expected.low, expected.high))
    unpaired = stats.ttest_ind(values[1], values[0]).confidence_interval(0.95)
    assert one.difference.high - one.difference.low < 0.7 * (unpaired.high - unpaired.low)


def test_every_pair_of_levels_is_compared_on_the_average_and_at_every_setting() -> None:
    values = DRAW.normal(0, 1, (3, 2, 5))
    found = list(analysis.comparisons(values, 0))
    assert [(one.level, one.against, one.at) for one in found] == [
        (level, against, at) for against, level in ((0, 1), (0, 2), (1, 2)) for at in (None, (0,), (1,))
    ]
    for one in found:
        own = values[one.level] - values[one.against]
        expected = own.mean(axis=0) if one.at is None else own[one.at]
        assert one.difference[:4] == pytest.approx(mean_interval(expected)[:4])


def test_the_spread_and_interval_of_a_cell_are_those_of_its_runs() -> None:
    values = DRAW.normal(0, 1, (2, 3, SEEDS))
    for cell in analysis.cells(values):
        assert cell.mean == mean_interval(values[cell.place])
        assert cell.sd == pytest.approx(values[cell.place].std(ddof=1))


def test_a_cell_that_lacks_a_run_has_a_mean_and_no_interval_and_so_have_the_effects_it_is_part_of() -> None:
    values = DRAW.normal(0, 1, (2, 3, 4))
    values[0, 1, 2] = np.nan
    (cell,) = [one for one in analysis.cells(values) if one.place == (0, 1)]
    assert cell.mean.value == pytest.approx(np.nanmean(values[0, 1]))
    assert not cell.mean.known
    found = analysis.main_effects(values, 0)
    assert found is not None
    assert found.seeds == 3
    assert found.means[0].value == pytest.approx(values[0][:, [0, 1, 3]].mean())
    assert not any(one.known for one in found.means[:1] + found.effects)
    assert found.means[1].known


def test_effects_are_averaged_over_those_settings_alone_that_every_level_has() -> None:
    values = DRAW.normal(0, 1, (2, 3, 4))
    values[0, 1] = np.nan  # a combination that was excluded
    found = analysis.main_effects(values, 0)
    assert found is not None
    assert found.combinations == 2
    for level in range(2):
        assert found.means[level] == mean_interval(values[level][[0, 2]].mean(axis=0))
    assert analysis.interaction(values, 0, 1) is None
    assert len(analysis.cells(values)) == 5
    of_columns = analysis.main_effects(values, 1)
    assert of_columns is not None
    assert of_columns.combinations == 1


def test_nothing_is_said_of_factors_that_never_met() -> None:
    values = np.full((2, 2, 3), np.nan)
    values[0, 0], values[1, 1] = 1.0, 2.0
    assert analysis.main_effects(values, 0) is None
    assert analysis.interaction(values, 0, 1) is None
    assert list(analysis.comparisons(values, 0)) == []


def test_the_table_is_in_the_order_of_the_factors_and_cut_to_what_a_share_can_be() -> None:
    values = np.array([[[0.99, 1.0, 0.98], [0.5, 0.6, 0.7]]])
    rows = result(values).table()
    assert [list(row.levels.values()) for row in rows] == [["factor0-0", "factor1-0"], ["factor0-0", "factor1-1"]]
    assert rows[0].high == 1.0 < mean_interval(values[0, 0]).high
    assert (rows[1].mean, rows[1].sd, rows[1].runs) == (pytest.approx(0.6), pytest.approx(0.1), 3)


def test_a_run_that_diverged_counts_what_the_study_says() -> None:
    values = np.array([[0.9, np.nan, 0.8]])
    (without,) = result(values).table()
    assert (without.runs, without.mean, math.isnan(without.low)) == (2, pytest.approx(0.85), True)
    guessing: Any = ACCURACY._replace(diverged=0.1)
    (counted,) = result(values, metrics=(guessing,)).table()
    assert (counted.runs, counted.mean) == (3, pytest.approx(0.6))


def test_the_same_number_at_every_seed_has_no_interval_wherever_it_stands() -> None:
    values = np.array([[[0.9, 0.9], [0.7, 0.7]], [[0.4, 0.4], [0.6, 0.6]]])
    assert not any(cell.mean.known for cell in analysis.cells(values))
    effects, together = analysis.main_effects(values, 0), analysis.interaction(values, 0, 1)
    assert effects is not None
    assert together is not None
    assert [one.value for one in effects.effects] == pytest.approx([0.15, -0.15])
    assert not any(one.known for one in (*effects.means, *effects.effects, *itertools.chain(*together.terms)))
    (metric,) = digest(result(values))["metrics"]
    assert [term["low"] for row in metric["interactions"][0]["terms"] for term in row] == [None] * 4  # figures hatch what has no interval
    assert [cell.mean[1:3] for cell in analysis.cells(np.zeros((1, 3)))] == [(0.0, 0.0)]


def test_a_factor_of_one_level_has_no_effect_and_no_interaction() -> None:
    (metric,) = digest(result(np.array([[[0.9, 0.8], [0.7, 0.75]]])))["metrics"]
    assert [len(one["rows"]) for one in metric["effects"]] == [0, 2]
    assert metric["interactions"][0]["terms"] == []
    assert metric["pairs"][0]["means"][0][0]["value"] == pytest.approx(0.85)


def test_the_same_difference_at_every_seed_proves_nothing_unless_it_is_none() -> None:
    (one,) = [row for row in analysis.comparisons(np.array([[0.950, 0.940], [0.953, 0.943]]), 0) if row.at is None]
    assert one.difference.value == pytest.approx(0.003)
    assert not one.difference.known
    (same,) = [row for row in analysis.comparisons(np.array([[0.5, 0.6], [0.5, 0.6]]), 0) if row.at is None]
    assert (same.difference.low, same.difference.high) == (0.0, 0.0)


def test_rounding_is_nothing_and_small_numbers_that_differ_are_no_constant() -> None:
    one = np.array([0.912, 0.934, 0.901])
    table = np.stack([one, one + 1e-17, one])[:, None] * np.ones((1, 2, 1))
    found = analysis.main_effects(table, 0)
    assert found is not None
    assert all(abs(one.low) < 1e-9 and abs(one.high) < 1e-9 for one in found.effects)
    small = np.array([[3.89e-16, 6.66e-16, 4.1e-16]])
    assert analysis.cells(small)[0].mean.low < 4.8e-16 < analysis.cells(small)[0].mean.high
    assert math.isnan(analysis.cells(np.array([[0.5, 0.5, 0.5]]))[0].mean.low)
