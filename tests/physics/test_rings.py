"""Rings and banks of rings against closed forms, a sum over all paths of the light, and recorded numbers of another library."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.optimize import brentq
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.ring_bank import Bank, bank_weights, detunings_alone, detunings_together, remaining, thermal_matrix
from neurosim.hardware.rings import Ring, dropped, inverse, log_slope, lorentzian, phase_for, through
from neurosim.random import stream

LIKE = torch.empty(0, dtype=torch.float64)
PHASES = [0.0, 0.01, 0.05, 0.1, 0.5, 1.0, math.pi / 2, math.pi]
#: all-pass rings of pytorch-onn: a, r, transmission at PHASES, line width (nm), quality
RECORDED = {
    "high": (0.987, 0.99, [0.01721, 0.17191, 0.82665, 0.95003, 0.99786, 0.99943, 0.99974, 0.99987], 0.2359, 6524),
    "medium": (0.925, 0.93, [0.00128, 0.00566, 0.10033, 0.30650, 0.91525, 0.97593, 0.98879, 0.99436], 1.536, 1002),
    "low": (0.845, 0.85, [0.00031, 0.00122, 0.02242, 0.08320, 0.68908, 0.89272, 0.94765, 0.97312], 3.389, 454),
}


def make_ring(coupling: float = 0.98, round_trip: float = 0.999, drop: float | None = None) -> Ring:
    return Ring(5e-6, 1550e-9, 4.2, round_trip, coupling, coupling if drop is None else drop)


def make_bank(channels: int = 6, spacing: float = 4.0, ring: Ring | None = None) -> Bank:
    """``spacing`` in line widths."""
    ring = ring or make_ring()
    return Bank(ring, channels, spacing * ring.fwhm_m, 0.05 * ring.fwhm_m, 0.5 * spacing * ring.fwhm_m)


def drawn(bank: Bank, *shape: int) -> Tensor:
    """Detunings anywhere in the bank's range."""
    share = stream(5, "detunings").uniform((*shape, bank.channels), like=LIKE)
    return bank.low_m + (bank.high_m - bank.low_m) * share


@pytest.mark.parametrize("name", RECORDED)
def test_an_all_pass_ring_transmits_what_another_library_recorded(name: str) -> None:
    a, r, recorded, width, quality = RECORDED[name]
    ring = Ring(5e-6, 1538.739e-9, 2.35316, a, r)
    assert through(torch.tensor(PHASES, dtype=torch.float64), a, r).tolist() == pytest.approx(recorded, abs=5.1e-6)
    assert 1e9 * ring.fsr_m == pytest.approx(32.03, abs=5e-3)
    assert 1e9 * ring.fwhm_m == pytest.approx(width, rel=3e-4)
    assert ring.quality == pytest.approx(quality, abs=0.6)
    assert ring.finesse == pytest.approx(ring.fsr_m / ring.fwhm_m)
    assert ring.efficiency == 0


def test_the_stable_form_is_the_textbook_form() -> None:
    phase = torch.linspace(-7, 7, 141, dtype=torch.float64)
    a, r1, r2 = 0.9, 0.8, 0.7
    cosine = torch.cos(phase)
    below = 1 - 2 * r1 * r2 * a * cosine + (r1 * r2 * a) ** 2
    torch.testing.assert_close(through(phase, a, r1, r2), (r2**2 * a**2 - 2 * r1 * r2 * a * cosine + r1**2) / below, rtol=1e-13, atol=1e-15)
    torch.testing.assert_close(dropped(phase, a, r1, r2), (1 - r1**2) * (1 - r2**2) * a / below, rtol=1e-13, atol=0)


def test_the_textbook_form_is_what_a_circulating_field_sums_up_to() -> None:
    a, r1, r2, phase = 0.93, 0.85, 0.75, 0.7
    k1, k2 = math.sqrt(1 - r1**2), math.sqrt(1 - r2**2)
    trips = (a * r1 * r2 * np.exp(1j * phase)) ** np.arange(400)
    bus = r1 - k1**2 * r2 * a * np.exp(1j * phase) * trips.sum()
    drop = -k1 * k2 * math.sqrt(a) * np.exp(0.5j * phase) * trips.sum()
    here = torch.tensor(phase, dtype=torch.float64)
    assert through(here, a, r1, r2).item() == pytest.approx(abs(bus) ** 2, rel=1e-12)
    assert dropped(here, a, r1, r2).item() == pytest.approx(abs(drop) ** 2, rel=1e-12)


def test_a_ring_without_loss_keeps_all_light_and_one_with_loss_drops_a_fixed_share() -> None:
    at = torch.linspace(0, 2e-9, 50, dtype=torch.float64)
    ring = make_ring(round_trip=1.0, drop=0.95)
    assert ring.efficiency == pytest.approx(1.0)
    torch.testing.assert_close(ring.through(at) + ring.dropped(at), torch.ones_like(at))
    lossy = make_ring(round_trip=0.97)
    torch.testing.assert_close(lossy.dropped(at), lossy.efficiency * (1 - lossy.through(at)), rtol=1e-12, atol=0)


@pytest.mark.parametrize("coupling", [0.9, 0.98, 0.995])
def test_the_line_is_as_wide_at_half_height_as_the_formula_says(coupling: float) -> None:
    ring = make_ring(coupling)
    peak = ring.dropped(LIKE.new_zeros(())).item()
    half = brentq(lambda at: ring.dropped(LIKE.new_tensor(at)).item() - peak / 2, 0, ring.fsr_m / 2, xtol=1e-20)
    assert 2 * half == pytest.approx(ring.fwhm_m, rel=(1 - ring.loop) ** 2 / (20 * ring.loop))  # asin(u) = u + u³/6, u² = (1 - x)²/4x


def test_next_to_a_resonance_the_line_is_lorentzian() -> None:
    ring = make_ring(0.99)
    at = torch.linspace(-2 * ring.fwhm_m, 2 * ring.fwhm_m, 81, dtype=torch.float64)
    line = ring.dropped(LIKE.new_zeros(())) * lorentzian(at, ring.fwhm_m)
    worst = (math.pi * 2 * ring.fwhm_m / ring.fsr_m) ** 2 / 3  # sin² u = u² (1 - u²/3 + …)
    assert ((ring.dropped(at) - line) / line).abs().max() < worst
    assert ((ring.dropped(at) - line) / line).abs().max() > worst / 4


def test_a_transmission_is_inverted_over_the_whole_range() -> None:
    phase = torch.linspace(0.0, math.pi, 300, dtype=torch.float64)
    for a, r, *_ in RECORDED.values():
        torch.testing.assert_close(
            phase_for(through(phase, a, r), a, r), phase, rtol=0, atol=4e-6
        )  # ends of infinite slope: a root of rounding
    ring = make_ring(0.9)
    at = torch.linspace(1e-12, 0.5 * ring.fsr_m, 100, dtype=torch.float64)
    torch.testing.assert_close(ring.detuning_for(ring.weight(at)), at, rtol=1e-6, atol=0)
    assert phase_for(torch.empty(0), 0.9, 0.9).shape == (0,)


def test_what_a_ring_cannot_transmit_is_an_error_and_not_clipped() -> None:
    a, r, recorded, *_ = RECORDED["low"]
    low, high = recorded[0], recorded[-1]
    with pytest.raises(ConfigError, match=r"must be in \[0\.000314.*, 0\.9731.*\], which is what it reaches, got 0\.5 to 0\.98"):
        phase_for(torch.tensor([0.5, 0.98]), a, r)
    assert phase_for(torch.tensor((high + low) / 2), a, r).item() < math.pi / 2 < phase_for(torch.tensor(0.96), a, r).item()
    ring = make_ring(0.9, round_trip=0.98)
    least, most = ring.weight_range()
    assert -1 < least < 0 < most < 1
    for value in (least - 1e-3, most + 1e-3, math.nan):
        with pytest.raises(ConfigError, match=f"weights must be in \\[{least:.6g}, {most:.6g}\\]"):
            ring.detuning_for(torch.tensor([0.0, value]))


def test_gradients_of_a_ring_equal_finite_differences() -> None:
    ring = make_ring(0.95)
    phase = torch.tensor([-1.3, 0.02, 0.3, 2.0], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda p: through(p, 0.99, 0.9, 0.8), (phase,))
    torch.autograd.gradcheck(lambda p: dropped(p, 0.99, 0.9, 0.8), (phase,))
    power = torch.tensor([0.3, 0.6, 0.95], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda t: inverse(t, 0.99, 0.9, 0.8), (power,))
    (slope,) = torch.autograd.grad(through(phase, 0.99, 0.9, 0.8).log().sum(), phase)
    torch.testing.assert_close(log_slope(phase, 0.99, 0.9, 0.8), slope)
    weight = torch.tensor([0.4, -0.2], dtype=torch.float64, requires_grad=True)
    torch.autograd.gradcheck(lambda w: 1e9 * ring.detuning_for(w), (weight,))


@pytest.mark.parametrize(("field", "value"), [("radius_m", 0.0), ("group_index", math.nan), ("round_trip", 1.1), ("coupling_drop", 0.0)])
def test_a_ring_out_of_its_domain_is_an_error(field: str, value: float) -> None:
    numbers = {"radius_m": 5e-6, "wavelength_m": 1.55e-6, "group_index": 4.2, "round_trip": 0.99, "coupling_bus": 0.9, field: value}
    with pytest.raises(ConfigError, match=f"ring: {field} must be in"):
        Ring(**numbers)
    with pytest.raises(ConfigError, match="coupling_bus < 1, got 1"):
        Ring(**{**numbers, field: 0.5, "coupling_bus": 1.0})


# --- banks -----------------------------------------------------------------------------------------------------------------------------


def test_the_weights_of_a_bank_are_the_sum_over_all_paths_of_the_light() -> None:
    bank = make_bank(5, 2.5, make_ring(0.97, 0.98, drop=0.96))
    ring, detuning = bank.ring, drawn(bank, 7)
    for row in detuning:
        wanted_p, wanted_w = [], []
        for j in range(5):
            left, into_drop = 1.0, 0.0
            for k in range(5):
                at = (j - k) * bank.spacing_m - row[k]
                into_drop += ring.dropped(at).item() * left
                left *= ring.through(at).item()
            wanted_p.append(left)
            wanted_w.append(into_drop - left)
        assert remaining(row, ring, bank.spacing_m).tolist() == pytest.approx(wanted_p, rel=1e-11)
        assert bank_weights(row, ring, bank.spacing_m).tolist() == pytest.approx(wanted_w, abs=1e-12)


def test_a_ring_without_company_has_the_weight_of_a_single_ring() -> None:
    ring = make_ring()
    at = torch.linspace(0, 1e-9, 9, dtype=torch.float64)
    torch.testing.assert_close(bank_weights(at.unsqueeze(-1), ring, 1e-9).squeeze(-1), ring.weight(at))
    torch.testing.assert_close(detunings_alone(ring.weight(at[1:]), ring), at[1:])


def test_a_neighbour_takes_the_lorentzian_share_of_a_channel() -> None:
    ring = make_ring(0.99, 1.0)
    spacing = 5 * ring.fwhm_m
    far = 0.5 * ring.fsr_m  # where channel 1's own ring takes next to nothing
    taken = 1 - remaining(torch.tensor([0.0, far], dtype=torch.float64), ring, spacing)[1].item()
    own = 1 - ring.through(LIKE.new_tensor(far)).item()
    share = 1 / (1 + (2 * spacing / ring.fwhm_m) ** 2)
    assert taken == pytest.approx(share, rel=own / share + 0.01)


def test_other_rings_can_only_raise_a_weight() -> None:
    bank = make_bank(4, 2.0)
    detuning = drawn(bank, 50)
    assert (bank_weights(detuning, bank.ring, bank.spacing_m) > bank.ring.weight(detuning)).all()


def test_all_weights_within_the_limits_can_be_set_wherever_the_others_stand() -> None:
    bank = make_bank(6, 2.2)
    low, high = bank.limits()
    ends = torch.tensor([bank.low_m, bank.high_m], dtype=torch.float64)
    corners = ends[torch.cartesian_prod(*[torch.arange(2)] * 6)]
    weights = bank_weights(corners, bank.ring, bank.spacing_m)
    at_low, at_high = corners == bank.high_m, corners == bank.low_m
    assert weights[at_low].max() == pytest.approx(low, abs=1e-9)  # the worst corner is the limit: it is not too strict either
    assert weights[at_high].min() >= high
    assert bank.scale() == min(-low, high)
    assert bank.limits(alone=True) == pytest.approx(bank.ring.weight_range(bank.low_m, bank.high_m))
    assert bank.scale(alone=True) > bank.scale()


@pytest.mark.parametrize("spacing", [2.0, 3.0, 8.0])
@pytest.mark.parametrize("coupling", [0.95, 0.99])
def test_rings_set_together_give_every_weight_at_once(coupling: float, spacing: float) -> None:
    ring = make_ring(coupling)
    bank = make_bank(min(12, int(ring.finesse / spacing)), spacing, ring)
    weight = bank.scale() * (2 * stream(1, "weights").uniform((400, bank.channels), like=LIKE) - 1)
    weight[:100] = bank.scale() * weight[:100].sign()
    detuning = detunings_together(weight, bank)
    slack = 1e-6 * (bank.high_m - bank.low_m)
    assert detuning.min() > bank.low_m - slack
    assert detuning.max() < bank.high_m + slack
    torch.testing.assert_close(bank_weights(detuning, ring, bank.spacing_m), weight, rtol=0, atol=1e-9)
    fewer = detunings_together(weight[:, :3], bank)  # the last bus of a row: the same full scale is within reach
    torch.testing.assert_close(bank_weights(fewer, ring, bank.spacing_m), weight[:, :3], rtol=0, atol=1e-9)
    single = detunings_together(weight.float(), bank)
    torch.testing.assert_close(bank_weights(single, ring, bank.spacing_m), weight.float(), rtol=0, atol=2e-6)


def test_the_gradient_of_rings_set_together_is_that_of_the_exact_solution() -> None:
    bank = make_bank(4, 2.5)
    weight = bank.scale() * torch.tensor([[0.9, -0.8, 0.1, 0.5], [-1.0, 1.0, -1.0, 0.3]], dtype=torch.float64)
    weight.requires_grad_()
    torch.autograd.gradcheck(lambda w: 1e9 * detunings_together(w, bank), (weight,), atol=1e-7)
    jacobian = torch.autograd.functional.jacobian(lambda w: bank_weights(detunings_together(w, bank), bank.ring, bank.spacing_m), weight[0])
    torch.testing.assert_close(jacobian, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-9)


def test_gradients_of_a_bank_equal_finite_differences() -> None:
    bank = make_bank(3)
    detuning = (1e9 * drawn(bank, 2)).requires_grad_()
    torch.autograd.gradcheck(lambda d: bank_weights(1e-9 * d, bank.ring, bank.spacing_m), (detuning,))


def test_heat_decays_along_the_row() -> None:
    heat = thermal_matrix(4, 0.3, 20e-6, 40e-6)
    assert heat.diagonal().tolist() == [1.0] * 4
    assert torch.equal(heat, heat.T)
    assert heat[0].tolist() == pytest.approx([1.0, 0.3 * math.exp(-0.5), 0.3 * math.exp(-1), 0.3 * math.exp(-1.5)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"channels": 0}, "channels must be at least 1, got 0"),
        ({"channels": 500}, "500 channels must fit into the free spectral range of 18.21 nm, got a spacing of 1 nm"),
        ({"low_m": 0.0}, "detunings must rise from above 0 to below the spacing"),
        ({"high_m": 1e-9}, "detunings must rise"),
        ({"ring": Ring(5e-6, 1550e-9, 4.2, 0.99, 0.98)}, "need a drop waveguide, coupling_drop < 1, got 1"),
    ],
)
def test_a_bank_out_of_its_domain_is_an_error(changes: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"ring": make_ring(), "channels": 4, "spacing_m": 1e-9, "low_m": 1e-11, "high_m": 5e-10, **changes}
    with pytest.raises(ConfigError, match=message):
        Bank(**given)  # type: ignore[arg-type]  # on purpose


def test_a_bank_that_reaches_one_sign_only_says_what_would_help() -> None:
    with pytest.raises(ConfigError, match=r"both signs .* got weights from 0\.\d+ to 0\.\d+; try wider spacing"):
        make_bank(6, 1.5).scale()
    with pytest.raises(ConfigError, match=r"got weights from -0\.\d+ to -0\.\d+; try rings that drop more"):
        make_bank(4, 6.0, make_ring(0.99, 0.95)).scale()
