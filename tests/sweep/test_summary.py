import math
from typing import Any

import numpy as np
import pytest

from neurosim.config import SensitivityConfig
from neurosim.sweep.results import FAILED, NON_FINITE, OK, Baseline, LayerInfo, Results, Scope, TrialRow, columns
from neurosim.sweep.statistics import Drop, Interval, mean_interval, wilson
from neurosim.sweep.summary import judge, summarise, summarise_one, verdict

N = 40
REFERENCE = np.arange(N) < 38


def trial(chip: int, lost: int, *, read: int = 0, scope: Scope = "all", layer: int = -1, point: int = 0, status: int = OK) -> TrialRow:
    hits = REFERENCE & (np.arange(N) >= lost)
    value = float(hits.mean()) if status == OK else math.nan
    return TrialRow(point, scope, layer, chip, read, value, 0.1, int(hits.sum()), N, 0.01, status, bits=np.packbits(hits).tobytes())


def study(rows: list[TrialRow], *, hits: bool = True, **meta: Any) -> Results:
    trials, bits = columns(rows, N // 8 if hits else 0)
    base = Baseline(float(REFERENCE.mean()), 0.05, int(REFERENCE.sum()), N, np.packbits(REFERENCE) if hits else np.zeros(0, np.uint8))
    return Results({"nominal_point": 0, **meta}, [LayerInfo("a", "Linear", 1, 1)], {}, {}, trials, bits, base)


def test_every_point_scope_and_layer_has_one_row_in_order() -> None:
    cells: list[tuple[int, Scope, int]] = [(0, "all", -1), (0, "each", 0), (0, "all_but_one", 0), (1, "all", -1)]
    rows = [trial(chip, 1, point=p, scope=s, layer=k) for chip in (1, 2) for p, s, k in reversed(cells)]
    assert [(row.point, row.scope, row.layer) for row in summarise(study(rows))] == cells


def test_reads_are_averaged_within_a_chip_before_anything_else() -> None:
    row = summarise_one(study([trial(5, 0), trial(5, 4, read=1), trial(6, 2)]), 0, "all", -1)
    assert row.chips.tolist() == [5, 6]
    assert row.values.tolist() == pytest.approx([36 / 40, 36 / 40])


def test_the_drop_is_against_the_digital_model_over_chips_and_over_samples() -> None:
    lost = [1, 2, 3, 4, 5, 1, 2, 3, 4, 5]
    row = summarise_one(study([trial(chip, k) for chip, k in enumerate(lost)]), 0, "all", -1)
    assert row.drop.over_chips == mean_interval(np.array([REFERENCE.mean() - (REFERENCE & (np.arange(N) >= k)).mean() for k in lost]))
    assert row.drop.over_samples is not None
    assert row.drop.over_samples.value == pytest.approx(row.drop.value)
    assert row.drop.over_samples.n == N


def test_a_single_run_has_wilsons_interval_over_samples_and_none_over_chips() -> None:
    row = summarise_one(study([trial(0, 3)]), 0, "all", -1)
    assert row.value_over_samples == wilson(35, N)
    assert not row.value.known


def test_where_less_is_better_a_larger_value_is_a_positive_drop() -> None:
    rows = [trial(chip, 0)._replace(value=1.2, bits=b"") for chip in range(3)]
    row = summarise_one(study(rows, hits=False, higher_is_better=False), 0, "all", -1)
    assert row.drop.value == pytest.approx(1.2 - REFERENCE.mean())
    assert row.drop.over_samples is None
    assert row.value_over_samples is None


@pytest.mark.parametrize("status", [FAILED, NON_FINITE])
def test_a_trial_that_did_not_finish_leaves_no_mean_and_counts_as_a_bad_chip(status: int) -> None:
    rows = [trial(chip, 0) for chip in range(4)] + [trial(9, 0, status=status)]
    row = summarise_one(study(rows, accept={"drop_at_most": 0.1}), 0, "all", -1)
    assert row.unfinished == 1
    assert not row.value.known
    assert row.share == wilson(4, 5)


def test_a_point_where_everything_failed_has_no_intervals() -> None:
    row = summarise_one(study([trial(chip, 0, status=FAILED) for chip in range(3)]), 0, "all", -1)
    assert row.unfinished == 3
    assert row.value_over_samples is None


def test_without_acceptance_there_is_no_yield() -> None:
    assert summarise_one(study([trial(0, 0), trial(1, 1)]), 0, "all", -1).share is None


@pytest.mark.parametrize(("lost", "word"), [([0, 1] * 20, "PASS"), ([20, 21] * 20, "FAIL"), ([3, 6] * 20, "NOT PROVEN")])
def test_a_study_is_judged_at_the_configured_hardware(lost: list[int], word: str) -> None:
    rows = [trial(chip, k) for chip, k in enumerate(lost)] + [trial(0, 30, point=1)]
    assert judge(study(rows, accept={"drop_at_most": 0.15, "yield_at_least": 0.9})).word == word


def test_without_the_configured_hardware_nothing_is_judged() -> None:
    assert judge(study([trial(0, 0)], nominal_point=None, accept={"drop_at_most": 0.1})).word == "NOT PROVEN"


def drop(low: float, high: float, *, samples: tuple[float, float] | None = None) -> Drop:
    over_samples = Interval((low + high) / 2, *samples, 100, "t") if samples is not None else None
    return Drop(Interval((low + high) / 2, low, high, 25, "t"), over_samples)


GOOD, BAD, OPEN = (0.001, 0.01), (0.03, 0.05), (0.01, 0.03)


@pytest.mark.parametrize(
    ("over_chips", "over_samples", "word"),
    [
        (GOOD, None, "PASS"),
        (BAD, None, "FAIL"),
        (OPEN, None, "NOT PROVEN"),
        (GOOD, GOOD, "PASS"),
        (GOOD, OPEN, "NOT PROVEN"),
        (OPEN, GOOD, "NOT PROVEN"),
        (BAD, BAD, "FAIL"),
        (BAD, OPEN, "NOT PROVEN"),
        ((0.001, 0.02), None, "PASS"),
        ((0.02, 0.03), None, "NOT PROVEN"),
    ],
)
def test_a_drop_passes_only_if_the_whole_interval_holds_and_fails_only_if_none_of_it_does(
    over_chips: tuple[float, float], over_samples: tuple[float, float] | None, word: str
) -> None:
    found = verdict({"drop_at_most": 0.02}, drop(*over_chips, samples=over_samples))
    assert found.word == word
    assert found.reason.endswith(".")


@pytest.mark.parametrize(
    ("good", "chips", "word", "reason"),
    [
        (40, 40, "PASS", "40 of 40 chips stay within 0.02"),
        (20, 40, "FAIL", "below 0.9"),
        (37, 40, "NOT PROVEN", "not wholly on one side of 0.9"),
        (25, 25, "NOT PROVEN", "25 chips can prove 0.8668 at most, 0.9 needs 35"),
        (1, 1, "NOT PROVEN", "1 of 1 chip stays within 0.02"),
    ],
)
def test_a_yield_is_judged_by_its_whole_interval_and_by_what_the_chips_can_prove(good: int, chips: int, word: str, reason: str) -> None:
    found = verdict({"drop_at_most": 0.02, "yield_at_least": 0.9}, drop(*GOOD), wilson(good, chips))
    assert found.word == word
    assert reason in found.reason


def test_the_default_study_can_prove_what_it_is_asked_to() -> None:
    default = SensitivityConfig()
    assert isinstance(default.chips, int)
    accept = default.accept.model_dump()
    assert verdict(accept, drop(*GOOD), wilson(default.chips, default.chips)).word == "PASS"
    assert verdict(accept, drop(*GOOD), wilson(default.chips - 1, default.chips)).word == "NOT PROVEN"


def test_one_violated_acceptance_fails_whatever_the_other_says() -> None:
    assert verdict({"drop_at_most": 0.02, "yield_at_least": 0.9}, drop(*OPEN), wilson(1, 40)).word == "FAIL"
    assert verdict({"drop_at_most": 0.02, "yield_at_least": 0.9}, drop(*BAD), wilson(37, 40)).word == "FAIL"


def test_trials_that_did_not_finish_forbid_a_pass_but_not_a_fail() -> None:
    assert verdict({"drop_at_most": 0.02}, drop(*GOOD), unfinished=1).word == "NOT PROVEN"
    assert verdict({"drop_at_most": 0.02}, drop(*BAD), unfinished=1).word == "FAIL"


@pytest.mark.parametrize("accept", [None, {}, {"drop_at_most": None, "yield_at_least": 0.9}])
def test_without_an_accepted_drop_nothing_is_proven(accept: dict[str, Any] | None) -> None:
    assert verdict(accept, drop(*GOOD)) == ("NOT PROVEN", "No acceptance was set.")


def test_one_chip_proves_nothing_about_others() -> None:
    found = verdict({"drop_at_most": 0.02}, Drop(mean_interval([0.001]), None))
    assert found.word == "NOT PROVEN"
    assert "one chip says nothing about others" in found.reason
