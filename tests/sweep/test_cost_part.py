"""Energy in a report: counted at every point of a study, shown where it is known, with the points that no other beats."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.costs import Costs
from neurosim.hardware.profile import Profile
from neurosim.plot import unbeaten

CHAIN: dict[str, Any] = {
    "weight": {"scale": {"kind": "scale"}},
    "output": {
        "noise": {"kind": "noise", "distribution": "gaussian", "scale": 0.02},
        "adc": {"kind": "quantize", "levels": 256, "low": -4, "high": 4},
    },
}
DATA = [(torch.eye(6), torch.arange(6) % 3)]
PLAN: dict[str, Any] = {"axes": {"levels": {"output.adc.levels": [4, 16, 256]}}, "chips": 3, "engine": {"kind": "serial"}}


def report(costs: dict[str, Any], **more: Any) -> ns.Report:
    profile = Profile("made", "for a test", "any", ChainSpec.model_validate(CHAIN), costs=Costs.model_validate(costs))
    torch.manual_seed(0)
    model = ns.to_analog(nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)), profile, seed=0)
    return ns.sensitivity(model, DATA, PLAN, **more)


@pytest.fixture(scope="module")
def priced() -> ns.Report:
    return report({"adc": {"walden_j": 1e-15}, "symbol_s": 1e-9, "unverified": ("cost.symbol_s",)})


def test_every_point_has_the_energy_of_its_converters(priced: ns.Report) -> None:
    points = {point["settings"]["levels"]: point for point in priced.summary()["cost"]["points"]}
    assert {levels: point["energy_j"] for levels, point in points.items()} == pytest.approx({n: 8 * n * 1e-15 for n in (4, 16, 256)})
    assert all(point["latency_s"] == pytest.approx(2e-9) for point in points.values())
    assert points[256]["value"]["value"] == priced.summary()["hardware"]["value"]["value"]


def test_points_are_unbeaten_as_defined(priced: ns.Report) -> None:
    points = priced.summary()["cost"]["points"]
    for one in points:
        better = [p for p in points if p["energy_j"] <= one["energy_j"] and p["value"]["value"] >= one["value"]["value"] and p is not one]
        assert one["unbeaten"] == (not better)
    assert unbeaten([1.0, 1.0, 2.0], [3.0, 2.0, 1.0], higher_is_better=False) == [False, True, True]


def test_every_form_of_the_report_says_it(priced: ns.Report, tmp_path: Path) -> None:
    assert "One inference on the configured hardware: 2.05 pJ, 2 ns; 2 arrays." in str(priced)
    priced.save(tmp_path / "report")
    page, text = ((tmp_path / "report" / name).read_text() for name in ("report.html", "report.md"))
    for found in (page, text):
        assert "Energy of an inference" in found
        assert "Indicative: 1 constant of the profile not verified." in found
        assert "dac, cells, laser, tuning, static" not in found  # nothing converts inputs here
    assert 'id="energy-1"' in page
    assert "| study | levels = 4 |" in text


def test_studies_beside_it_lie_in_the_same_figure(priced: ns.Report) -> None:
    other = report({"adc": {"walden_j": 3e-15}, "symbol_s": 1e-9}).results
    points = ns.Report(priced.results, {"other": other}).summary()["cost"]["points"]
    assert [point["study"] for point in points] == ["study"] * 3 + ["other"] * 3
    assert not any(point["unbeaten"] for point in points if point["study"] == "other")


def test_energy_survives_the_file(tmp_path: Path) -> None:
    found = report({"adc": {"walden_j": 1e-15}}, out=tmp_path)
    assert ns.load_results(tmp_path).meta["cost"] == found.results.meta["cost"]


def test_without_constants_there_is_no_section() -> None:
    found = report({})
    assert found.summary()["cost"] is None
    assert "One inference" not in str(found)
