"""What a report says is what the statistics say, at the points it says it speaks of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from neurosim.sweep.report import Report
from neurosim.sweep.results import Results, Scope, unpack
from neurosim.sweep.slices import line, reference_point, settings, table
from neurosim.sweep.statistics import accuracy_interval, mean_interval, wilson
from neurosim.sweep.summary import judge, summarise
from tests.sweep.report_studies import study

GRID: dict[str, list[Any]] = {"leakage": [0.0, 0.2, 0.5], "precision": [4, 16, 64]}


def values_at(results: Results, point: int, scope: Scope = "all", layer: int = -1) -> np.ndarray:
    found: np.ndarray = results.trials["value"][results.where(point=point, scope=scope, layer=layer)]
    return found


def test_the_headline_is_the_statistics_of_the_nominal_point() -> None:
    results = study(GRID)
    summary = Report(results).summary()
    (row,) = [row for row in summarise(results) if (row.point, row.scope) == (results.meta["nominal_point"], "all")]
    assert row.value_over_samples is not None
    assert row.drop.over_samples is not None
    assert row.share is not None
    hardware = summary["hardware"]
    assert hardware["nominal"]
    assert hardware["value"] == row.value._asdict()
    assert hardware["value_over_samples"] == row.value_over_samples._asdict()
    assert hardware["drop"] == row.drop.over_chips._asdict()
    assert hardware["drop_over_samples"] == row.drop.over_samples._asdict()
    assert hardware["yield"] == row.share._asdict()
    assert hardware["value"]["value"] == pytest.approx(values_at(results, row.point).mean())


def test_the_digital_model_has_an_interval_over_test_samples() -> None:
    results = study()
    expected = accuracy_interval(unpack(results.baseline.bits, results.baseline.n_total))
    assert Report(results).summary()["digital"]["over_samples"] == expected._asdict()


@pytest.mark.parametrize("limit", [0.0, 0.01, 0.03, 0.045, 0.2])
@pytest.mark.parametrize("target", [None, 0.8, 0.95])
@pytest.mark.parametrize("chips", [1, 3, 25])
def test_the_parts_of_the_verdict_add_up_to_the_verdict(limit: float, target: float | None, chips: int) -> None:
    accept = {"drop_at_most": limit} if target is None else {"drop_at_most": limit, "yield_at_least": target}
    results = study({"leakage": [0.2]}, scopes=["all"], chips=chips, accept=accept)
    report = Report(results)
    found = report.summary()["verdict"]
    parts = [found["drop"], *([found["yield"]] if target is not None else [])]
    expected = "FAIL" if "bad" in parts else "NOT PROVEN" if "open" in parts else "PASS"
    assert report.verdict == found["word"] == judge(results).word == expected


def test_a_missing_trial_proves_nothing_good() -> None:
    loose = {"drop_at_most": 0.5, "yield_at_least": 0.5}
    assert Report(study(accept=loose)).verdict == "PASS"
    report = Report(study(accept=loose, fail=lambda row: "boom" if (row.point, row.chip) == (2, 103) else ""))
    assert report.verdict == "NOT PROVEN"
    assert report.summary()["verdict"]["drop"] == "open"


def test_a_curve_holds_the_other_axes_at_the_configured_hardware() -> None:
    results = study(GRID, nominal={"leakage": 0.2, "precision": 64})
    curve, other = Report(results).summary()["curves"]
    assert (curve["axis"], curve["held"]) == ("leakage", {"precision": 64})
    assert (other["axis"], other["held"]) == ("precision", {"leakage": 0.2})
    rows = curve["series"][0]["rows"]
    assert [row["x"] for row in rows] == GRID["leakage"]
    assert [row["settings"] for row in rows] == [{"leakage": x, "precision": 64} for x in GRID["leakage"]]
    assert [row["value"]["value"] for row in rows] == pytest.approx([values_at(results, row["point"]).mean() for row in rows])


def test_a_grid_beside_the_configured_hardware_is_shown_at_its_nearest_line() -> None:
    results = study(GRID, nominal={"leakage": 0.4, "precision": 20})
    found = line(results, "leakage")
    assert found is not None
    assert found.held == {"precision": 16}
    point = reference_point(results)
    assert point is not None
    assert settings(results, point) == {"leakage": 0.5, "precision": 16}
    summary = Report(results).summary()
    assert not summary["hardware"]["nominal"]
    assert summary["verdict"]["word"] == "NOT PROVEN"
    assert any("not among the points measured" in note for note in summary["notes"])


def test_axes_varied_one_at_a_time_make_curves_and_no_table() -> None:
    results = study(GRID, cross=True)
    summary = Report(results).summary()
    assert [len(curve["series"][0]["rows"]) for curve in summary["curves"]] == [3, 3]
    assert summary["tables"] == []


def test_a_grid_makes_a_table_of_every_pair_of_axes() -> None:
    results = study({**GRID, "levels": [9, 33]}, chips=2, scopes=["all"])
    tables = Report(results).summary()["tables"]
    assert [entry["axes"] for entry in tables] == [["leakage", "precision"], ["leakage", "levels"], ["precision", "levels"]]
    first = tables[0]
    assert first["held"] == {"levels": 33}
    for y, row in zip(first["values"][1], first["cells"], strict=True):
        for x, cell in zip(first["values"][0], row, strict=True):
            assert cell["settings"] == {"leakage": x, "precision": y, "levels": 33}


def test_a_nominal_point_beside_the_grid_adds_no_empty_row_to_the_table() -> None:
    grid = study(GRID, scopes=["all"])
    extra = {axis: [0.3 if axis == "leakage" else 10, *values] for axis, values in grid.axes.items()}
    trials = {**grid.trials, "point": grid.trials["point"] + 1}
    results = Results({**grid.meta, "nominal_point": 0}, grid.layers, extra, {}, trials, grid.bits, grid.baseline)
    found = table(results, "leakage", "precision")
    assert found is not None
    assert found.values == (GRID["leakage"], GRID["precision"])
    along = line(results, "leakage")
    assert along is not None
    assert [extra["leakage"][point] for point in along.points] == GRID["leakage"]


def test_a_configured_value_that_is_no_single_number_is_left_off_a_numeric_axis() -> None:
    axes = {"leakage": ["configured", 0.5, 0.1]}
    results = study(axes, answer=lambda values, scope, layer, chip: 0.02, nominal={"leakage": "configured"})
    found = line(results, "leakage")
    assert found is not None
    assert [results.axes["leakage"][point] for point in found.points] == [0.1, 0.5]


def test_words_on_an_axis_keep_the_order_of_the_plan() -> None:
    results = study({"device": ["pcm", "mzi", "mrr"]}, answer=lambda values, scope, layer, chip: 0.02)
    found = line(results, "device")
    assert found is not None
    assert [results.axes["device"][point] for point in found.points] == ["pcm", "mzi", "mrr"]


def test_the_gain_of_an_ideal_layer_is_paired_chip_by_chip() -> None:
    results = study()
    layers = Report(results).summary()["layers"]
    point = results.meta["nominal_point"]
    for index, row in enumerate(layers["rows"]):
        won = values_at(results, point, "all_but_one", index) - values_at(results, point)
        assert row["gain"] == mean_interval(won)._asdict()
        assert row["alone"]["value"] == pytest.approx(results.baseline.value - values_at(results, point, "each", index).mean())


def test_layers_looked_at_elsewhere_than_at_the_nominal_point_say_where() -> None:
    results = study(layers_at=4)
    layers = Report(results).summary()["layers"]
    assert layers["settings"] == {"leakage": 0.5}
    assert not layers["nominal"]


def test_one_kind_of_layer_scope_is_enough() -> None:
    rows = Report(study(scopes=["all", "each"])).summary()["layers"]["rows"]
    assert all(row["gain"] is None and row["alone"] is not None for row in rows)
    assert Report(study(scopes=["all"])).summary()["layers"] is None


def test_where_a_chip_failed_the_mean_is_over_the_others_without_an_interval() -> None:
    results = study(fail=lambda row: "boom" if (row.point, row.scope, row.chip) == (2, "all", 104) else "")
    cell = Report(results).summary()["hardware"]
    good = values_at(results, 2)[np.isfinite(values_at(results, 2))]
    assert (cell["chips"], cell["finished"], cell["unfinished_trials"]) == (25, 24, 1)
    assert cell["value"]["value"] == pytest.approx(good.mean())
    assert (cell["value"]["low"], cell["value"]["high"]) == (None, None)
    assert cell["side"] == "open"


def test_the_share_of_chips_counts_those_at_least_as_good() -> None:
    results = study()
    values = values_at(results, results.meta["nominal_point"])
    for step in Report(results).summary()["chips"]["series"][0]["steps"]:
        assert step["share"] == wilson(int(np.sum(values >= step["value"])), 25)._asdict()


def test_the_share_of_chips_counts_those_at_most_as_bad_where_less_is_better() -> None:
    results = study(metric="loss")
    values = values_at(results, results.meta["nominal_point"])
    steps = Report(results).summary()["chips"]["series"][0]["steps"]
    assert [step["value"] for step in steps] == sorted(step["value"] for step in steps)
    for step in steps:
        assert step["share"]["value"] == np.mean(values <= step["value"])


def test_the_worst_chips_come_first_a_failed_one_before_all_and_each_names_its_command() -> None:
    results = study(fail=lambda row: "boom" if row.chip == 104 and row.scope == "all" else "", rerun="again --chip {chip} {nope} %s")
    worst = Report(results).summary()["chips"]["worst"]
    assert worst[0]["value"] is None
    values = [entry["value"] for entry in worst[1:]]
    assert values == sorted(values)
    everyone = values_at(results, results.meta["nominal_point"])
    assert values == sorted(everyone[np.isfinite(everyone)].tolist())[:4]
    assert [entry["command"] for entry in worst] == [f"again --chip {entry['chip']} {{nope}} %s" for entry in worst]


def test_failures_are_counted_grouped_and_placed() -> None:
    def fail(row: Any) -> str:
        return {101: "worker died", 102: "nan"}.get(row.chip, "") if row.scope == "each" and row.layer == 1 else ""

    results = study(fail=fail, drop_row=lambda row: row.point == 4 and row.scope == "all" and row.chip > 110)
    failures = Report(results).summary()["failures"]
    assert (failures["planned"], failures["stored"], failures["missing"]) == (275, 261, 14)
    assert (failures["failed"], failures["non_finite"], failures["finished"]) == (1, 1, 259)
    assert {error["text"]: error["trials"] for error in failures["errors"]} == {"worker died": 1, "the outputs were not finite": 1}
    first = {error["text"]: error["first"] for error in failures["errors"]}["worker died"]
    assert first == {"settings": {"leakage": 0.2}, "scope": "each", "layer": "fc2", "chip": 101, "read": 0}
    assert failures["gaps"] == [{"settings": {"leakage": 0.5}, "scope": "all", "layer": None, "trials": 11, "of": 25}]


def test_a_point_that_was_never_reached_is_a_gap() -> None:
    results = study(scopes=["all"], drop_row=lambda row: row.point == 3)
    gaps = Report(results).summary()["failures"]["gaps"]
    assert [(gap["settings"], gap["trials"]) for gap in gaps] == [({"leakage": 0.35}, 0)]


def test_other_studies_are_compared_at_the_same_settings() -> None:
    results = study(GRID)
    other = study(GRID, nominal={"leakage": 0.0, "precision": 4}, answer=lambda values, scope, layer, chip: 0.1)
    summary = Report(results, {"other": other}).summary()
    held = [[series["held"] for series in curve["series"]] for curve in summary["curves"]]
    assert held == [[{"precision": 16}] * 2, [{"leakage": 0.2}] * 2]
    (compared,) = summary["compare"]
    assert compared["name"] == "other"
    assert compared["verdict"]["word"] == judge(other).word
    assert compared["hardware"]["settings"] == {"leakage": 0.0, "precision": 4}


def test_a_study_of_one_point_without_axes_has_a_verdict_and_no_curve() -> None:
    summary = Report(study({}, scopes=["all"], answer=lambda values, scope, layer, chip: 0.001 * chip)).summary()
    assert summary["hardware"]["settings"] == {}
    assert (summary["curves"], summary["tables"], summary["layers"]) == ([], [], None)
    assert math.isfinite(summary["hardware"]["value"]["value"])


def test_a_metric_made_of_hits_is_a_fraction_whatever_its_name() -> None:
    hits = study(chips=2)
    named = Results(
        {**hits.meta, "metric": "mine"}, *(getattr(hits, name) for name in ("layers", "axes", "keys", "trials", "bits", "baseline"))
    )
    assert "mine 9" in str(Report(named))
    assert " % [" in str(Report(named))
    assert "%" not in str(Report(study(chips=2, metric="loss"))).splitlines()[0].split("yield")[0]


def test_chips_without_frozen_errors_are_called_what_they_are() -> None:
    assert any("read noise alone" in note for note in Report(study(device_errors=False)).summary()["notes"])
    assert not any("read noise alone" in note for note in Report(study(device_errors=True)).summary()["notes"])
