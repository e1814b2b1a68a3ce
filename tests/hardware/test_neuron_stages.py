"""Mismatch, loss and words: factors and shares with computed bounds, numbers against the integers of numpy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.chain import NeuronSpec, fields, matching, override, slots
from neurosim.hardware.stage import STAGES, Context
from neurosim.hardware.stages import Drop, FixedPoint, Mismatch, drop, fixed_point, mismatched
from neurosim.hardware.stages.fixed_point import fitting_step, limit_words, round_words
from neurosim.random import stream

N = 40_000
STREAM = stream(11, "layer", "slot")


def staged(spec: Any, x: Tensor, **context: Any) -> Tensor:
    return STAGES[spec.kind].apply(x, spec, {}, None, Context(STREAM, **context))


@pytest.mark.parametrize("spread", [0.05, 0.3])
def test_lognormal_factors_have_median_one_and_the_spread_of_their_logarithm(spread: float) -> None:
    logs = staged(Mismatch(spread=spread), torch.full((N,), 2.0, dtype=torch.float64)).div(2).log().numpy()
    assert abs(logs.mean()) < 5 * spread / math.sqrt(N)
    assert abs(logs.std() / spread - 1) < 5 / math.sqrt(2 * N)
    assert stats.kstest(logs / spread, "norm").pvalue > 1e-6


def test_gaussian_factors_have_mean_one_their_spread_and_a_least_value() -> None:
    x = torch.full((N,), 3.0, dtype=torch.float64)
    factors = staged(Mismatch(spread=0.1, distribution="gaussian"), x).div(3).numpy()
    assert abs(factors.mean() - 1) < 5 * 0.1 / math.sqrt(N)
    assert abs(factors.std() / 0.1 - 1) < 5 / math.sqrt(2 * N)
    wide = staged(Mismatch(spread=1.0, distribution="gaussian"), x).div(3)
    assert wide.min() == pytest.approx(0.01)
    below = stats.norm.cdf(-0.99)  # 1 + ξ < 0.01
    share = float((wide < 0.0101).double().mean())
    assert abs(share - below) < 5 * math.sqrt(below * (1 - below) / N)


def test_a_programmed_error_and_one_drawn_at_every_use_are_the_same() -> None:
    spec, x = Mismatch(spread=0.2), torch.ones(37)
    device = STAGES["mismatch"].program(spec, {}, (37,), STREAM)
    programmed = STAGES["mismatch"].apply(x, spec, {}, device, Context(STREAM))
    assert torch.equal(programmed, staged(spec, x))


def test_strength_and_silence_scale_the_mismatch() -> None:
    x = torch.ones(100)
    full, half = staged(Mismatch(spread=0.2), x), staged(Mismatch(spread=0.2), x, strength=0.5)
    torch.testing.assert_close(half, full.sqrt())
    assert torch.equal(STAGES["mismatch"].apply(x, Mismatch(spread=0.2), {}, None, Context(None)), x)
    assert torch.equal(mismatched(x, torch.zeros(100), 0.5), x)


@pytest.mark.parametrize("probability", [0.02, 0.5])
def test_the_share_of_lost_pulses_is_the_probability(probability: float) -> None:
    y = staged(Drop(probability=probability), torch.full((N,), 2.0))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    lost = float((y == 0).double().mean())
    assert abs(lost - probability) < 5 * math.sqrt(probability * (1 - probability) / N)


def test_a_lost_pulse_is_lost_for_the_gradient_as_well_and_strength_scales_the_probability() -> None:
    x = torch.ones(N, requires_grad=True)
    y = drop(x, 0.3, STREAM)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, y.detach())
    half = staged(Drop(probability=0.6), torch.ones(N), strength=0.5)
    assert torch.equal(half, y.detach())
    assert torch.equal(drop(torch.full((N,), 1.0, dtype=torch.float16), 0.3, STREAM).float(), y.detach())


WORDS = st.builds(
    FixedPoint,
    bits=st.integers(2, 16),
    range=st.sampled_from([0.25, 1.0, 8.0]),
    symmetric=st.booleans(),
    rounding=st.sampled_from(["half_even", "to_zero", "floor"]),
    overflow=st.sampled_from(["saturate", "wrap"]),
)


@given(WORDS)
def test_every_number_is_the_word_that_whole_numbers_give(spec: FixedPoint) -> None:
    assert spec.range is not None
    step = spec.range / (1 << (spec.bits - 1))
    x = np.linspace(-3 * spec.range, 3 * spec.range, 401)
    k = {"half_even": np.rint, "to_zero": np.trunc, "floor": np.floor}[spec.rounding](x / step).astype(np.int64)
    count = spec.highest - spec.lowest + 1
    words = np.clip(k, spec.lowest, spec.highest) if spec.overflow == "saturate" else (k - spec.lowest) % count + spec.lowest
    assert np.array_equal(fixed_point(torch.tensor(x), spec).numpy(), words * step)
    assert (spec.highest, spec.lowest) == ((1 << (spec.bits - 1)) - 1, -(1 << (spec.bits - 1)) + spec.symmetric)


def test_a_number_beyond_the_range_saturates_or_wraps() -> None:
    x = torch.tensor([130.0, 127.0, -129.0])
    assert limit_words(x, FixedPoint(bits=8)).tolist() == [127, 127, -128]
    assert limit_words(x, FixedPoint(bits=8, overflow="wrap")).tolist() == [-126, 127, 127]
    assert limit_words(x, FixedPoint(bits=8, symmetric=True)).tolist() == [127, 127, -127]


def test_ties_and_signs_round_as_the_name_says() -> None:
    x = torch.tensor([2.5, -2.5, 2.7, -2.7])
    assert round_words(x, "half_even").tolist() == [2, -2, 3, -3]
    assert round_words(x, "to_zero").tolist() == [2, -2, 2, -2]
    assert round_words(x, "floor").tolist() == [2, -3, 2, -3]


@given(st.floats(1e-6, 1e6), st.integers(2, 12))
def test_a_step_that_follows_the_signal_just_holds_it(largest: float, bits: int) -> None:
    spec = FixedPoint(bits=bits)
    x = torch.tensor([largest, -0.3 * largest], dtype=torch.float64)
    exact, power = float(fitting_step(x, spec.highest, "exact")), float(fitting_step(x, spec.highest))
    assert exact == pytest.approx(largest / spec.highest)
    assert math.frexp(power)[0] == 0.5
    assert power / 2 < exact * (1 + 1e-12)
    assert exact <= power * (1 + 1e-12)
    assert float(fixed_point(x, FixedPoint(bits=bits, fit="exact"))[0]) == pytest.approx(largest)


def test_signals_without_size_have_a_step_all_the_same() -> None:
    assert fixed_point(torch.zeros(3), FixedPoint(bits=8)).tolist() == [0, 0, 0]
    assert fixed_point(torch.zeros(3), FixedPoint(bits=8, fit="exact")).tolist() == [0, 0, 0]
    assert fixed_point(torch.empty(0), FixedPoint(bits=8)).shape == (0,)


def test_the_gradient_of_words_passes_inside_the_range_only() -> None:
    x = torch.tensor([0.3, -1.7, 1.7], requires_grad=True)
    for spec, expected in (
        (FixedPoint(bits=4, range=1.0), [1, 0, 0]),
        (FixedPoint(bits=4, range=1.0, overflow="wrap"), [1, 1, 1]),
        (FixedPoint(bits=4), [1, 1, 1]),
    ):
        assert torch.autograd.grad(fixed_point(x, spec).sum(), x)[0].tolist() == expected


@pytest.mark.parametrize(
    ("given_fields", "message"),
    [({"range": 3.0}, "range must be a power of two, got 3.0"), ({"range": 1.0, "fit": "exact"}, "leave one of them out")],
)
def test_words_whose_step_is_no_power_of_two_or_said_twice_are_refused(given_fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        FixedPoint(bits=8, **given_fields)


NEURONS = NeuronSpec.model_validate({"neuron": {"threshold": {"kind": "mismatch", "spread": 0.1}}})


def test_a_chain_of_neurons_is_read_and_changed_like_any_other() -> None:
    assert list(slots(NEURONS)) == ["neuron.threshold"]
    assert fields(NEURONS)["neuron.threshold.spread"] == 0.1
    assert fields(override(NEURONS, {"neuron.*.spread": 0.2}))["neuron.threshold.spread"] == 0.2
    assert list(slots(override(NEURONS, {"neuron.spikes": {"kind": "drop", "probability": 0.1}}))) == ["neuron.threshold", "neuron.spikes"]
    assert matching(NEURONS, "output.adc") == []
    with pytest.raises(ConfigError, match=r"did you mean 'neuron\.threshold"):
        override(NEURONS, {"neuron.treshold.spread": 0.2})


@pytest.mark.parametrize(
    ("slot", "stage", "message"),
    [
        ("membrane", {"kind": "noise", "distribution": "laplacian", "scale": 0.1}, "got distribution 'laplacian'"),
        ("membrane", {"kind": "noise", "distribution": "gaussian", "scale": 0.1, "scope": "device"}, "got scope 'device'"),
        ("membrane", {"kind": "drop", "probability": 0.1}, "got kind 'drop'"),
        ("words", {"kind": "quantize", "levels": 16}, "must be a fixed_point with a range, got quantize"),
        ("words", {"kind": "fixed_point", "bits": 8}, "must be a fixed_point with a range, got fixed_point without one"),
    ],
)
def test_what_acts_inside_the_step_must_be_what_the_step_can_do(slot: str, stage: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        override(NEURONS, {f"neuron.{slot}": stage})
