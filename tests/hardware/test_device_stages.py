"""Deviation, drift, phase-change memory, stuck devices and temperature: every field, modes, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from neurosim.hardware.devices import Logarithmic, Polynomial
from neurosim.hardware.stage import STAGES, Context, Spec
from neurosim.hardware.stages import Deviation, Drift, Pcm, Stuck, Temperature
from neurosim.random import stream
from tests.hardware.cells import DAY, HOUR, YEAR, cell, draws, run

G = 10e-6
FLAT = Polynomial(coefficients=(1e-6,))
NU = Logarithmic(slope=-0.02, offset=0.05, low=0.01, high=0.2)
PCM: dict[str, Any] = {
    "g_ref_siemens": G,
    "sigma": {"kind": "polynomial", "coefficients": [2e-7, 1e-7]},
    "exponent": NU,
    "spread": {"kind": "polynomial", "coefficients": [0.02, -0.01]},
    "read": {"kind": "power", "factor": 0.01, "exponent": -0.5, "high": 0.2},
    "t0_s": 20.0,
    "read_s": 1e-6,
}
SPECS: dict[str, Spec] = {
    "deviation": Deviation(g_ref_siemens=G, sigma=FLAT, shift=Polynomial(coefficients=(0.0, 1e-7))),
    "deviation, read noise": Deviation(g_ref_siemens=G, sigma=Polynomial(coefficients=(0.0, 1e-8)), read_s=1e-6, scope="hold"),
    "drift": Drift(g_ref_siemens=G, exponent=NU, spread=Polynomial(coefficients=(0.0, 0.05)), t0_s=20.0),
    "pcm": Pcm.model_validate(PCM),
    "stuck": Stuck(at_low=0.2, at_high=0.1, missing=0.1, low_siemens=1e-6, high_siemens=2e-5),
    "temperature": Temperature(temperature_coefficient_per_kelvin=0.002, activation_ev=0.05, spread=0.1),
}
EACH = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)


def changed(spec: Spec, **fields: Any) -> Spec:
    """A specification with some fields changed, validated again."""
    return type(spec).model_validate(spec.model_dump() | fields)


def levels(n: int = 12, dtype: torch.dtype = torch.float64) -> Tensor:
    """Conductances inside of the range, none at a limit."""
    return torch.linspace(3e-6, 18e-6, n, dtype=dtype).reshape(3, -1)


# --- all of them -----------------------------------------------------------------------------------------------------------------------


@EACH
def test_without_noise_a_stage_does_what_it_does_on_average_and_repeats_it(spec: Spec) -> None:
    x = levels()
    quiet = run(spec, x, noisy=False, seconds=DAY, kelvin=330.0)
    assert torch.equal(quiet, run(spec, x, noisy=False, seed=2, seconds=DAY, kelvin=330.0))
    assert torch.equal(quiet, run(spec, x, strength=0.0, seconds=DAY, kelvin=330.0))
    assert not torch.equal(quiet, run(spec, x, seconds=DAY, kelvin=330.0))
    moves = spec.kind in ("drift", "pcm", "temperature") or getattr(spec, "shift", None) is not None
    assert torch.equal(quiet, x) != moves


@EACH
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_types_are_kept_and_a_device_that_conducts_nothing_stays_a_number(spec: Spec, dtype: torch.dtype) -> None:
    x = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    y = run(spec, x, seconds=DAY, kelvin=330.0)
    (grad,) = torch.autograd.grad(y.sum(), x)
    assert y.dtype == dtype
    assert y.isfinite().all()
    assert (y >= 0).all()
    assert grad.isfinite().all()


@EACH
def test_float32_and_float64_agree(spec: Spec) -> None:
    x = levels()
    frozen = spec if getattr(spec, "scope", "device") == "device" else changed(spec, scope="hold")
    single, double = (run(frozen, x.to(dtype), seconds=DAY, kelvin=330.0).double() for dtype in (torch.float32, torch.float64))
    assert torch.allclose(single, double, rtol=1e-4, atol=1e-9)


@EACH
def test_the_gradient_is_the_derivative_of_the_noisy_conductance(spec: Spec) -> None:
    unit = 1e-6  # finite differences need numbers near 1
    x = (levels() / unit).requires_grad_()
    torch.autograd.gradcheck(lambda x: run(spec, x * unit, seconds=DAY, kelvin=330.0) / unit, (x,))


@pytest.mark.parametrize("spec", [one for one in SPECS.values() if "grad" in type(one).model_fields], ids=lambda spec: spec.kind)
def test_a_straight_through_gradient_is_one_everywhere(spec: Spec) -> None:
    x = levels().requires_grad_()
    straight = changed(spec, grad="ste")
    y = run(straight, x, seconds=DAY)
    assert torch.equal(y, run(spec, x, seconds=DAY))
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], torch.ones_like(x))


@EACH
def test_a_chip_is_its_seed_and_does_not_change_between_uses(spec: Spec) -> None:
    frozen = spec if getattr(spec, "scope", "device") == "device" else changed(spec, **_quiet(spec))
    x, stage = levels(), STAGES[spec.kind]
    device = stage.program(frozen, {}, x.shape, stream(1, "chip"))
    first, second = (stage.apply(x, frozen, {}, device, Context(stream(5, "use", draw=draw), DAY, 330.0)) for draw in (0, 1))
    other = stage.apply(x, frozen, {}, stage.program(frozen, {}, x.shape, stream(2, "chip")), Context(stream(5, "use"), DAY, 330.0))
    assert torch.equal(first, second)
    if stage.random(frozen):
        assert not torch.equal(first, other)


def _quiet(spec: Spec) -> dict[str, Any]:
    return {"read_scale": 0.0} if spec.kind == "pcm" else {"scale": 0.0}


@EACH
def test_a_stage_compiles_into_one_graph(spec: Spec) -> None:
    stage, x = STAGES[spec.kind], levels(dtype=torch.float32)
    device, context = stage.program(spec, {}, x.shape, stream(1, "chip")), Context(stream(5, "use"), DAY, 330.0)

    def apply(x: Tensor) -> Tensor:
        return stage.apply(x, spec, {}, device, context)

    compiled = torch.compile(apply, fullgraph=True, backend="aot_eager")
    assert torch.allclose(compiled(x), apply(x), rtol=1e-6)


# --- deviation -------------------------------------------------------------------------------------------------------------------------


def test_strength_and_scale_multiply_the_random_part_alone() -> None:
    spec, x = SPECS["deviation"], levels()
    quiet = run(spec, x, noisy=False)
    full, half = run(spec, x) - quiet, run(spec, x, strength=0.5) - quiet
    assert torch.allclose(half, full / 2, rtol=1e-9)
    assert torch.allclose(run(changed(spec, scale=2.0), x) - quiet, 2 * full, rtol=1e-9)


def test_a_uniform_deviation_has_its_standard_deviation_and_ends() -> None:
    n = 100_000
    y = draws(Deviation(g_ref_siemens=G, sigma=FLAT, distribution="uniform"), G, n) - G
    assert float(y.abs().max()) <= math.sqrt(3) * 1e-6
    assert abs(float(y.std()) / 1e-6 - 1) < 5 * math.sqrt((1.8 - 1) / 4 / n)


def test_conductances_stay_between_the_limits_of_the_device() -> None:
    y = draws(Deviation(g_ref_siemens=G, sigma=FLAT, scale=5.0, low_siemens=8e-6, high_siemens=11e-6), G)
    assert (float(y.min()), float(y.max())) == (8e-6, 11e-6)
    free = draws(Deviation(g_ref_siemens=G, sigma=FLAT, scale=50.0, low_siemens=None), G)
    assert float(free.min()) < 0


def test_a_read_time_makes_noise_grow_as_flicker_noise() -> None:
    spec, x = SPECS["deviation, read noise"], levels()
    early, late = (run(spec, x, seconds=seconds) - x for seconds in (1.0, 1e6))
    assert torch.allclose(late / early, torch.full_like(x, math.sqrt(math.log(1e12 / 2) / math.log(1e6 / 2))), rtol=1e-5)
    assert torch.equal(run(spec, x, seconds=0.0), x)  # before one read is over there is no noise to average


def test_a_negative_fit_counts_as_no_deviation() -> None:
    spec = Deviation(g_ref_siemens=G, sigma=Polynomial(coefficients=(1e-6, -2e-6)))
    assert torch.equal(draws(spec, G), torch.full((20_000,), G, dtype=torch.float64))


def test_a_proportional_deviation_redrawn_for_every_batch_multiplies_each_cell() -> None:
    """NeuroSim's variation: G (1 + v ξ)."""
    spec = Deviation(g_ref_siemens=G, sigma=Polynomial(coefficients=(0.0, 0.1 * G)), scope="batch", low_siemens=None)
    xi = (run(spec, levels()) / levels() - 1) / 0.1
    source = stream(1, "cell", "deviation")
    assert torch.allclose(xi, source.normal(xi.shape, like=xi), atol=1e-9)


@pytest.mark.parametrize(
    ("kind", "fields", "message"),
    [
        ("deviation", {"g_ref_siemens": G}, "give sigma, shift or both"),
        (
            "deviation",
            {"g_ref_siemens": G, "sigma": FLAT, "low_siemens": 2.0, "high_siemens": 1.0},
            "low_siemens must be below high_siemens",
        ),
        ("deviation", {"g_ref_siemens": 0.0, "sigma": FLAT}, "greater than 0"),
        ("drift", {"g_ref_siemens": G, "exponent": NU, "t0_s": 0.0}, "greater than 0"),
        ("pcm", PCM | {"scope": "device"}, "'hold', 'batch' or 'read'"),
        ("stuck", {"at_low": 0.6, "missing": 0.6}, "together be at most 1, got 1.2"),
        ("stuck", {"at_high": 0.1}, "need high_siemens"),
        ("temperature", {}, "give temperature_coefficient_per_kelvin, activation_ev or both"),
    ],
)
def test_specifications_that_do_not_hold_are_refused(kind: str, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        STAGES[kind].spec.model_validate(fields)


# --- drift and phase-change memory -----------------------------------------------------------------------------------------------------


def test_drift_falls_with_its_mean_exponent_without_noise_and_spreads_with_it() -> None:
    spec, n, factor = SPECS["drift"], 50_000, math.log((HOUR + 20.0) / 20.0)
    x = torch.full((n,), G, dtype=torch.float64)
    assert torch.allclose(run(spec, x, noisy=False, seconds=HOUR), x * math.exp(-0.05 * factor), rtol=1e-12)
    assert torch.allclose(run(changed(spec, scale=2.0), x, noisy=False, seconds=HOUR), x * math.exp(-0.1 * factor), rtol=1e-12)
    assert torch.equal(run(spec, x), x)  # right after programming
    nu = -(run(changed(spec, spread={"kind": "polynomial", "coefficients": [0.005]}), x, seconds=HOUR) / x).log() / factor
    assert abs(float(nu.mean()) - 0.05) < 5 * 0.005 / math.sqrt(n)
    assert abs(float(nu.std()) / 0.005 - 1) < 5 / math.sqrt(2 * n)
    half = -(run(changed(spec, spread={"kind": "polynomial", "coefficients": [0.005]}), x, seconds=HOUR, strength=0.5) / x).log() / factor
    assert torch.allclose(half - 0.05, (nu - 0.05) / 2, atol=1e-9)


def test_drift_without_a_spread_needs_nothing_frozen() -> None:
    spec = Drift(g_ref_siemens=G, exponent=NU, t0_s=20.0)
    assert STAGES["drift"].program(spec, {}, (3,), stream(0, "x")) is None
    assert not STAGES["drift"].random(spec)
    assert torch.equal(run(spec, levels(), seconds=DAY), run(spec, levels(), seconds=DAY, noisy=False))


def test_each_multiplier_of_phase_change_memory_switches_its_part() -> None:
    spec, x = SPECS["pcm"], levels()
    off = {"sigma_scale": 0.0, "drift_scale": 0.0, "read_scale": 0.0}
    assert torch.equal(run(changed(spec, **off), x, seconds=DAY), x)
    programmed = run(changed(spec, **off | {"sigma_scale": 1.0}), x, seconds=DAY)
    twice = run(changed(spec, **off | {"sigma_scale": 2.0}), x, seconds=DAY)
    assert torch.allclose(twice - x, 2 * (programmed - x))
    fallen = run(changed(spec, **off | {"drift_scale": 1.0}), x, seconds=DAY)
    faster = run(changed(spec, **off | {"drift_scale": 2.0}), x, seconds=DAY)
    assert torch.allclose((faster / x).log(), 2 * (fallen / x).log())
    read = run(changed(spec, **off | {"read_scale": 1.0}), x, seconds=DAY)
    assert torch.allclose(run(changed(spec, **off | {"read_scale": 2.0}), x, seconds=DAY) - x, 2 * (read - x))
    assert not torch.equal(read, x)


def test_phase_change_memory_is_what_separate_stages_do_to_an_exact_target() -> None:
    """With nothing to remember, one stage and three agree: programming without error, drift, no read noise."""
    whole = Pcm.model_validate(PCM | {"sigma_scale": 0.0, "read_scale": 0.0})
    alone = Drift(g_ref_siemens=G, exponent=PCM["exponent"], spread=PCM["spread"], t0_s=20.0)
    x, source = levels(), stream(3, "chip")
    frozen = STAGES["pcm"].program(whole, {}, x.shape, source)
    exponents = STAGES["drift"].device
    assert exponents is not None
    context = Context(source, DAY)
    one = STAGES["pcm"].apply(x, whole, {}, frozen, context)
    assert torch.allclose(one, STAGES["drift"].apply(x, alone, {}, exponents(frozen.exponent), context), rtol=1e-12)


def test_the_drift_of_separate_stages_follows_the_programmed_conductance_and_differs_by_little() -> None:
    """The price of stages that remember nothing, for the phase-change memory of the shipped numbers after a year."""
    whole = cell("pcm_inmemory")["programming"].model_copy(update={"read_scale": 0.0})
    fields = whole.model_dump()
    written = Deviation(g_ref_siemens=25e-6, sigma=fields["sigma"])
    falls = Drift(g_ref_siemens=25e-6, exponent=fields["exponent"], spread=fields["spread"], t0_s=20.0)
    n = 20_000
    for micro in (2.5, 12.5):
        one = draws(whole, micro * 1e-6, n, seconds=YEAR)
        two = run(falls, draws(written, micro * 1e-6, n), seconds=YEAR)
        noise = 5 * float(one.std() / one.mean()) * math.sqrt(2 / n)
        assert abs(float(two.mean() / one.mean()) - 1) < 0.01 + noise
        assert abs(float(two.std() / one.std()) - 1) < 0.03 + 5 * math.sqrt(1.5 / n)


# --- stuck and temperature -------------------------------------------------------------------------------------------------------------


def test_the_shares_of_stuck_devices_are_those_of_the_specification() -> None:
    n = 200_000
    spec = Stuck(at_low=0.05, at_high=0.02, missing=0.01, low_siemens=1e-6, high_siemens=25e-6)
    assert spec.yield_ == pytest.approx(0.92)
    y = draws(spec, G, n)
    for value, share in ((1e-6, 0.05), (25e-6, 0.02), (0.0, 0.01), (G, 0.92)):
        assert abs(float((y == value).double().mean()) - share) < 5 * math.sqrt(share * (1 - share) / n)
    ramped = draws(spec, G, n, strength=0.5)
    assert abs(float((ramped != G).double().mean()) - 0.04) < 5 * math.sqrt(0.04 * 0.96 / n)


def test_no_gradient_passes_a_stuck_device() -> None:
    x = levels().requires_grad_()
    y = run(SPECS["stuck"], x)
    assert torch.equal(torch.autograd.grad(y.sum(), x)[0], (y == x).double())


def test_temperature_changes_conductances_by_its_coefficient_and_activation_energy() -> None:
    x = levels()
    linear = Temperature(temperature_coefficient_per_kelvin=0.002, reference_kelvin=290.0)
    assert torch.allclose(run(linear, x, kelvin=300.0), 1.02 * x, rtol=1e-12)
    assert torch.equal(run(linear, x, kelvin=290.0), x)
    thermal = Temperature(activation_ev=0.2)
    boltzmann = 8.617333262e-5  # eV/K, CODATA 2018
    factor = math.exp(-0.2 / boltzmann * (1 / 350 - 1 / 300))
    assert torch.allclose(run(thermal, x, kelvin=350.0), factor * x, rtol=1e-8)
    assert (run(linear, x, kelvin=1.0) >= 0).all()


def test_devices_differ_in_their_temperature_coefficient_by_the_spread() -> None:
    n = 50_000
    spec = Temperature(temperature_coefficient_per_kelvin=0.002, spread=0.1)
    own = (draws(spec, G, n, kelvin=350.0) / G - 1) / 50
    assert abs(float(own.mean()) - 0.002) < 5 * 0.0002 / math.sqrt(n)
    assert abs(float(own.std()) / 0.0002 - 1) < 5 / math.sqrt(2 * n)
