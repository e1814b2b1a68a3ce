import math
from typing import Any

import numpy as np
import pytest

from neurosim.sweep.results import COLUMNS, FAILED, Baseline, LayerInfo, Results, TrialRow, columns, unpack


def made(value: float = 0.5, wall_s: float = 1.0) -> Results:
    rows = [
        TrialRow(0, "all", -1, 2**63 - 1, 0, value, 0.1, 2, 3, wall_s, bits=b"\xc0"),
        TrialRow(0, "each", 0, 1, 1, math.nan, status=FAILED, error="kaputt"),
    ]
    trials, bits = columns(rows, 1)
    axes: dict[str, list[float | int | str]] = {"leakage": [0.5, math.nan]}
    return Results(
        {"name": "x"},
        [LayerInfo("0", "Linear", 2, 3)],
        axes,
        {"leakage": {"*.leakage": [0.5, 1]}},
        trials,
        bits,
        Baseline(1.0, math.nan, 3, 3, bits[0]),
    )


def test_every_row_becomes_one_entry_of_every_column() -> None:
    trials = made().trials
    assert list(trials) == list(COLUMNS)
    assert trials["chip"].tolist() == [2**63 - 1, 1]
    assert trials["error"].tolist() == ["", "kaputt"]
    assert trials["scope"].tolist() == ["all", "each"]


def test_a_trial_without_hits_gets_zero_bits() -> None:
    assert made().bits.tolist() == [[0xC0], [0]]


def test_no_rows_give_empty_columns_of_the_right_width() -> None:
    trials, bits = columns([], 4)
    assert bits.shape == (0, 4)
    assert all(column.shape == (0,) for column in trials.values())


def test_unpacking_gives_the_hits_that_were_packed() -> None:
    hits = np.random.default_rng(0).random((5, 13)) < 0.5
    assert np.array_equal(unpack(np.packbits(hits, axis=-1), 13), hits)


@pytest.mark.parametrize(
    ("asked", "expected"), [({"scope": "all"}, [True, False]), ({"point": 0, "layer": 0}, [False, True]), ({}, [True, True])]
)
def test_where_selects_by_what_is_asked(asked: dict[str, Any], expected: list[bool]) -> None:
    assert made().where(**asked).tolist() == expected


def test_results_are_the_same_as_their_twin_though_they_hold_nan() -> None:
    assert made().same(made())


def test_another_number_is_another_result() -> None:
    assert not made().same(made(value=0.5000001))


def test_the_time_it_took_may_be_left_out_of_the_comparison() -> None:
    assert not made().same(made(wall_s=2.0))
    assert made().same(made(wall_s=2.0), timing=False)
