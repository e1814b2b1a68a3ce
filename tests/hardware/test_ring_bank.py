"""The stage that holds a matrix in banks of rings: what it implements, and each error against its closed form."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from scipy import stats
from torch import Tensor

from neurosim.hardware.ring_bank import bank_weights, detunings_alone, detunings_together, thermal_matrix
from neurosim.hardware.stage import STAGES, Context
from neurosim.hardware.stages import RingBank, ring_matrix
from neurosim.random import stream

RING: dict[str, Any] = {
    "radius_m": 5e-6,
    "wavelength_m": 1550e-9,
    "group_index": 4.2,
    "round_trip": 0.999,
    "coupling_bus": 0.98,
    "coupling_drop": 0.98,
    "channels": 8,
    "spacing_m": 1.0e-9,
}
STREAM = stream(3, "layer", "array.mesh", "device")


def make(**changes: Any) -> RingBank:
    return RingBank(**{**RING, **changes})


def wanted(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return 2 * stream(1, "w").uniform(shape, like=torch.empty(0, dtype=dtype)) - 1


def apply(x: Tensor, spec: RingBank, kelvin: float = 300.0, strength: float = 1.0, silent: bool = False) -> Tensor:
    """The stage, programmed for the shape of the matrix."""
    stage = STAGES["ring_bank"]
    device = stage.program(spec, {}, x.shape, STREAM)
    return stage.apply(x, spec, {}, device, Context(None if silent else STREAM, kelvin=kelvin, strength=strength))


def physical(detuning: Tensor, spec: RingBank) -> Tensor:
    return bank_weights(detuning, spec.bank.ring, spec.spacing_m) / spec.full_scale


@pytest.mark.parametrize("inputs", [1, 5, 8, 16, 21])
def test_calibrated_banks_implement_the_matrix_whatever_its_width(inputs: int) -> None:
    w = wanted(2, 3, inputs)
    w[0, 0] = 1.0
    w[1, 1] = -1.0
    torch.testing.assert_close(apply(w, make()), w, rtol=0, atol=1e-9)
    torch.testing.assert_close(apply(w.float(), make()), w.float(), rtol=0, atol=5e-6)


def test_rings_set_as_if_alone_disturb_each_other_within_a_bus_only() -> None:
    spec = make(calibrate=False, channels=3)
    w = wanted(4, 7)
    y = apply(w, spec)
    for first in (0, 3, 6):
        bus = w[:, first : first + 3]
        torch.testing.assert_close(y[:, first : first + 3], physical(detunings_alone(bus * spec.full_scale, spec.bank.ring), spec))
    assert (y[:, :6] - w[:, :6]).min() > 0.001  # other rings raise every weight
    torch.testing.assert_close(y[:, 6:], w[:, 6:])


def test_crosstalk_falls_with_the_square_of_the_spacing() -> None:
    w = wanted(20, 2)
    error = [(apply(w, make(calibrate=False, channels=2, spacing_m=at, detuning_max_m=3e-10)) - w).mean().item() for at in (2e-9, 4e-9)]
    assert 3.2 < error[0] / error[1] < 5.5  # 4, were the detunings nothing against the spacing


def test_a_row_with_fewer_rings_reaches_full_scale_too() -> None:
    w = torch.tensor([[1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0], [-1.0] * 9], dtype=torch.float64)
    torch.testing.assert_close(apply(w, make(spacing_m=0.7e-9)), w, rtol=0, atol=1e-9)


def test_what_lies_beyond_the_reach_of_the_heaters_stays_at_its_end() -> None:
    spec = make(channels=1)
    low, high = (limit / spec.full_scale for limit in spec.bank.limits())
    assert low == pytest.approx(-1)
    assert high > 1
    x = torch.tensor([[-1.5], [0.0], [high + 0.5]], dtype=torch.float64, requires_grad=True)
    y = apply(x, spec)
    assert y.flatten().tolist() == pytest.approx([low, 0.0, high], abs=1e-9)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert grad.flatten().tolist() == pytest.approx([0.0, 1.0, 0.0], abs=1e-7)


def test_offsets_are_frozen_scaled_at_use_and_silent_without_noise() -> None:
    spec = make(offset_sigma_m=2e-12)
    w = wanted(3, 11)
    device = STAGES["ring_bank"].program(spec, {}, w.shape, STREAM)
    assert device.standard.shape == w.shape
    exact = ring_matrix(w, spec, offset_m=2e-12 * device.standard)
    torch.testing.assert_close(apply(w, spec), exact)
    torch.testing.assert_close(apply(w, spec, strength=0.5), ring_matrix(w, spec, offset_m=1e-12 * device.standard))
    assert not torch.allclose(exact, w, atol=1e-4)
    torch.testing.assert_close(apply(w, spec, silent=True), w, rtol=0, atol=1e-9)


def test_offsets_of_every_scope_have_their_standard_deviation() -> None:
    w, shift = torch.zeros(4000, 1, dtype=torch.float64), 1e-13
    slope = (apply(w[:1], make(channels=1, drift_m_per_kelvin=shift), kelvin=301.0) - w[:1]).item() / shift
    for scope in ("device", "read"):
        y = apply(w, make(channels=1, offset_sigma_m=1e-13, scope=scope))
        measured = (y.var() * (len(w) - 1) / (slope * 1e-13) ** 2).item()
        assert stats.chi2.ppf(1e-4, len(w) - 1) < measured < stats.chi2.ppf(1 - 1e-4, len(w) - 1)
    assert STAGES["ring_bank"].program(make(offset_sigma_m=1e-13, scope="read"), {}, (4, 1), STREAM) is None
    assert STAGES["ring_bank"].program(make(), {}, (4, 1), STREAM) is None


def test_temperature_moves_all_resonances_alike() -> None:
    spec = make(drift_m_per_kelvin=75e-12, reference_kelvin=310.0)
    w = wanted(4, 8)
    torch.testing.assert_close(apply(w, spec, kelvin=310.0), w, rtol=0, atol=1e-9)
    warmer = physical(detunings_together(w * spec.full_scale, spec.bank) + 2 * 75e-12, spec)
    torch.testing.assert_close(apply(w, spec, kelvin=312.0), warmer)
    torch.testing.assert_close(apply(w, spec, kelvin=312.0, silent=True), warmer)
    assert (warmer - w).abs().max() > 0.3


def test_heaters_stand_on_their_steps() -> None:
    w = wanted(6, 8)
    spec = make(tuning_bits=4)
    low, high = spec.bank.low_m, spec.bank.high_m
    detuning = detunings_together(w * spec.full_scale, spec.bank)
    step = (high - low) / 15
    nearest = low + ((detuning - low) / step).round() * step
    torch.testing.assert_close(apply(w, spec), physical(nearest, spec))
    errors = [(apply(w, make(tuning_bits=bits)) - w).square().mean().sqrt().item() for bits in (6, 10)]
    assert 8 < errors[0] / errors[1] < 32  # 16 for steps that are small against the line
    gradient = torch.autograd.functional.jacobian(lambda v: apply(v, make(tuning_bits=16)), w[:1, :3])
    torch.testing.assert_close(gradient.reshape(3, 3), torch.eye(3, dtype=torch.float64), rtol=0, atol=1e-2)


def test_heat_of_other_rings_moves_a_ring_unless_it_is_known() -> None:
    heat: dict[str, Any] = {"thermal_crosstalk": 0.1, "pitch_m": 30e-6, "thermal_length_m": 60e-6}
    w = wanted(4, 8)
    torch.testing.assert_close(apply(w, make(**heat)), w, rtol=0, atol=1e-9)
    spec = make(calibrate=False, **heat)
    moved = detunings_alone(w * spec.full_scale, spec.bank.ring) @ thermal_matrix(8, 0.1, 30e-6, 60e-6)
    torch.testing.assert_close(apply(w, spec), physical(moved, spec))
    near, far = (
        (apply(w, make(calibrate=False, **{**heat, "pitch_m": pitch})) - apply(w, make(calibrate=False))).norm() for pitch in (3e-5, 1e-3)
    )
    assert far < 1e-3 * near
    rounded = apply(w, make(tuning_bits=5, **heat))  # a step of one heater is a step of its neighbours too
    assert 0 < (rounded - w).abs().max() < 0.5


def test_the_gradient_is_the_true_derivative_or_one() -> None:
    errors: dict[str, Any] = {"offset_sigma_m": 5e-12, "drift_m_per_kelvin": 10e-12, "thermal_crosstalk": 0.05, "channels": 3}
    x = (0.9 * wanted(2, 4)).requires_grad_()
    for calibrate in (True, False):
        torch.autograd.gradcheck(lambda v, c=calibrate: apply(v, make(calibrate=c, **errors), kelvin=301.0), (x,), atol=1e-6)
    y = apply(x, make(grad="ste", **errors), kelvin=301.0)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(grad, torch.ones_like(x))
    torch.testing.assert_close(y, apply(x, make(**errors), kelvin=301.0))


def test_the_ends_of_the_range_can_be_given() -> None:
    default = make()
    assert default.bank.low_m == pytest.approx(default.bank.ring.fwhm_m / 20)
    assert default.bank.high_m == pytest.approx(0.5e-9)
    wider = make(detuning_min_m=1e-12, detuning_max_m=0.6e-9)
    assert (wider.bank.low_m, wider.bank.high_m) == (1e-12, 0.6e-9)
    assert wider.bank.limits()[1] > default.bank.limits()[1]


@pytest.mark.parametrize("field", ["radius_m", "wavelength_m", "group_index", "round_trip", "coupling_bus", "coupling_drop"])
def test_every_number_of_the_ring_shapes_its_line(field: str) -> None:
    ring, other = make().bank.ring, make(**{field: RING[field] * 0.99}).bank.ring
    assert getattr(ring, field) == RING[field]
    assert other.fwhm_m != pytest.approx(ring.fwhm_m, rel=1e-3)


def test_a_spec_that_cannot_work_says_why() -> None:
    with pytest.raises(ValidationError, match="both signs of a weight must be reachable"):
        make(spacing_m=0.35e-9)
    with pytest.raises(ValidationError, match="must fit into the free spectral range"):
        make(channels=40)
    with pytest.raises(ValidationError, match=r"less than its own heater does, got 1\.27"):
        make(thermal_crosstalk=0.5, thermal_length_m=1e-4)
    assert make(thermal_crosstalk=0.5, thermal_length_m=1e-4, calibrate=False).full_scale > 0


def test_a_bank_is_described_in_a_line() -> None:
    spec = make(tuning_bits=8, offset_sigma_m=5e-12, drift_m_per_kelvin=75e-12, thermal_crosstalk=0.01)
    text = STAGES["ring_bank"].describe(spec)
    assert text.startswith("banks of 8 rings (Q 6458, line 0.24 nm) 1 nm apart, set knowing of each other, ")
    assert text.endswith(
        "full scale at a weight of 0.741, 8-bit heaters, resonances off by σ = 5 pm, drift 75 pm/K, thermal crosstalk 0.01"
    )


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # torch's tracer does it itself
def test_a_spec_survives_copies_and_a_compiler() -> None:
    spec = make(offset_sigma_m=5e-12, tuning_bits=8)
    assert copy.deepcopy(spec) == pickle.loads(pickle.dumps(spec)) == spec
    w, offset = wanted(3, 6, dtype=torch.float32), 1e-12 * wanted(3, 6, dtype=torch.float32)
    compiled = torch.compile(lambda v: ring_matrix(v, spec, offset_m=offset), fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(w), ring_matrix(w, spec, offset_m=offset), rtol=0, atol=1e-6)
    chips = torch.stack([offset, -offset])
    batched = torch.func.vmap(lambda o: ring_matrix(w, spec, offset_m=o))(chips)
    torch.testing.assert_close(batched, torch.stack([ring_matrix(w, spec, offset_m=o) for o in chips]), rtol=0, atol=1e-5)
