"""Facts where parameters are at corners, and extrema that lie far out."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from neurosim.activations import Facts, Operations, activation, facts
from neurosim.activations.cost import Fold


@pytest.mark.parametrize("coefficients", [[0.5], [-0.75], [-0.25, 0.0, 0.0], [0.0]], ids=str)
def test_a_polynomial_without_powers_is_its_constant(coefficients: list[float]) -> None:
    told = facts("polyrelu", coefficients=coefficients)
    assert told.bounds() == (coefficients[0], coefficients[0])
    assert (told.monotone, told.smoothness, told.fold, told.operations) == (True, "smooth", "all", Operations())
    assert told.homogeneous is told.zero_preserving is (coefficients[0] == 0)
    assert told(torch.tensor([-math.inf, 0.3, math.inf])).tolist() == pytest.approx([coefficients[0]] * 3)


def test_a_polynomial_that_ends_in_zeros_is_the_shorter_one() -> None:
    x = torch.tensor([-math.inf, -1.0, 2.0, math.inf])
    for short in ([0.0, 1.0], [0.3, 0.0, -0.5]):
        one, other = facts("polyrelu", coefficients=short), facts("polyrelu", coefficients=[*short, 0.0, 0.0])
        assert torch.equal(one(x), other(x))
        assert one.bounds() == other.bounds()
        for fact in ("monotone", "smoothness", "homogeneous", "zero_preserving", "operations", "fold"):
            assert getattr(one, fact) == getattr(other, fact)
    assert facts("polyrelu", coefficients=[0.0, 1.0]).operations == facts("relu").operations


@pytest.mark.parametrize(
    ("coefficients", "fold"), [([0.0, 0.0, 2.0, 0.0], "square"), ([0.0, 0.0, 2.0, 1.0], "none"), ([0.1, 2.0], "parts")]
)
def test_a_polynomial_folds_as_its_powers_do(coefficients: list[float], fold: Fold) -> None:
    assert facts("polyrelu", coefficients=coefficients).fold == fold


@pytest.mark.parametrize("beta", [1.0, 0.1, 0.01, 1e-4, -1e-3])
def test_the_lobe_of_silu_is_found_wherever_it_lies(beta: float) -> None:
    """x·σ(βx) is silu(βx)/β, whose least value is −W(1/e)/β with Lambert's W, at βx = −1 − W(1/e)."""
    lobe = -0.27846454276107379510936
    told = facts("silu", beta=beta).bounds()
    assert told[beta < 0] == pytest.approx(lobe / beta, rel=1e-9)


def test_the_least_of_a_parabola_far_out_is_its_vertex() -> None:
    assert facts("quadratic", a=1e-4, b=-1.0, c=0.0).bounds()[0] == pytest.approx(-2500.0, rel=1e-9)  # at x = 5000
    assert facts("polyrelu", coefficients=[0.0, 1.0, -(2**-10)]).bounds()[1] == pytest.approx(256.0, rel=1e-9)  # at x = 512


@pytest.mark.parametrize("gate", ["arctan", "gelu", "silu"])
@pytest.mark.parametrize("alpha", [-0.5, -0.75, -1.0, -1.5])
def test_a_gate_mirrored_at_a_half_is_the_curve_turned_by_half_a_turn(gate: str, alpha: float) -> None:
    x = torch.linspace(-50, 50, 1001, dtype=torch.float64)
    one, other = facts("expanded_gate", alpha=alpha, gate=gate), facts("expanded_gate", alpha=-1 - alpha, gate=gate)
    torch.testing.assert_close(one(x), -other(-x))
    assert one.bounds() == pytest.approx(tuple(-end for end in reversed(other.bounds())), abs=1e-9)
    assert one.monotone == other.monotone


def test_facts_of_a_trained_unit_are_those_of_the_corner_it_has_reached() -> None:
    unit: Any = activation("expanded_gate")
    with torch.no_grad():
        unit.alpha.fill_(-0.5)
    told: Facts = facts(unit)
    assert (told.monotone, told.homogeneous, told.fold, told.operations) == (True, True, "all", Operations(multiplies=1))
    assert told.bounds() == (-math.inf, math.inf)
