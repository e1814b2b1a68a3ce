"""The optical link against the formulas of its noise, their limits, and a worked example."""

from __future__ import annotations

import copy
import math
import pickle
from contextlib import nullcontext
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import constants, stats

from neurosim.errors import ConfigError
from neurosim.hardware.budget import link_budget
from neurosim.hardware.leakage import enob, leakage_from, snr_db
from neurosim.hardware.link import BOLTZMANN_J_PER_K, ELECTRON_C, Link, ratio, rin_variance, shot_variance, thermal_variance
from neurosim.hardware.resolution import Resolution

#: 1 A/W, 10 GHz, 50 ohm, 300 K, -145 dB/Hz: power (W), shot, thermal, RIN (A), SNR (dB), ENOB (below 0: None)
EXAMPLE = [
    (1e-6, 57e-9, 1.82e-6, 5.6e-9, -5.2, None),
    (1e-5, 179e-9, 1.82e-6, 56e-9, 14.8, 0.66),
    (1e-4, 566e-9, 1.82e-6, 562e-9, 34.0, 3.86),
    (1e-3, 1.79e-6, 1.82e-6, 5.62e-6, 44.2, 5.55),
]


def make(**changes: Any) -> Link:
    return Link(**{"responsivity_a_per_w": 1.0, "bandwidth_hz": 10e9, "load_ohm": 50.0, "rin_db_per_hz": -145.0, **changes})


@pytest.mark.parametrize(("power", "shot", "thermal", "rin", "snr", "bits"), EXAMPLE)
def test_the_worked_example_comes_out(power: float, shot: float, thermal: float, rin: float, snr: float, bits: float | None) -> None:
    budget = link_budget(make(), power)
    assert budget.shot_a == pytest.approx(shot, rel=0.01)
    assert budget.thermal_a == pytest.approx(thermal, rel=0.003)
    assert budget.rin_a == pytest.approx(rin, rel=0.01)
    assert budget.snr_db == pytest.approx(snr, abs=0.05)
    if bits is None:
        assert budget.enob < 0
    else:
        assert budget.enob == pytest.approx(bits, abs=0.005)


def test_constants_and_variances_are_those_of_physics() -> None:
    assert constants.e == ELECTRON_C
    assert constants.k == BOLTZMANN_J_PER_K
    assert shot_variance(1e-3, 1e9) == pytest.approx(2 * constants.e * 1e6)
    assert thermal_variance(300, 50, 1e9) == pytest.approx(4 * constants.k * 300 * 1e9 / 50)
    assert rin_variance(2.0, -150.0, 1e9) == pytest.approx(4 * 1e-6)
    assert rin_variance(2.0, None, 1e9) == 0
    assert ratio(3.0) == pytest.approx(1.9953, abs=1e-4)


def test_shot_noise_is_that_of_counted_photons() -> None:
    """In half a period of the bandwidth arrive N electrons, and σ is 1/√N."""
    link = make(rin_db_per_hz=None, load_ohm=1e12)
    electrons = 1e-3 / constants.e / (2 * link.bandwidth_hz)
    assert link.resolution(1e-3).sigma == pytest.approx(electrons**-0.5, rel=1e-4)


def test_the_noise_of_the_source_caps_the_resolution_whatever_the_power() -> None:
    link = make()
    assert link.limit.snr_db == pytest.approx(145 - 10 * math.log10(10e9))
    assert link.limit.enob == pytest.approx(5.68, abs=5e-3)
    values = [link.resolution(10.0**at).enob for at in range(-6, 4)]
    assert values == sorted(values)
    assert values[-1] < link.limit.enob < values[-1] + 0.001
    assert make(rin_db_per_hz=None).limit.enob == math.inf


def test_each_noise_rules_where_its_law_says() -> None:
    """SNR grows by 20 dB a decade under thermal noise, by 10 under shot noise, not at all under that of the source."""
    cases = {20.0: (make(rin_db_per_hz=None), 1e-7), 10.0: (make(rin_db_per_hz=None), 1e3), 0.0: (make(), 1e3)}
    for slope, (link, power) in cases.items():
        assert link.resolution(10 * power).snr_db - link.resolution(power).snr_db == pytest.approx(slope, abs=0.02)


LINKS = st.builds(
    Link,
    responsivity_a_per_w=st.floats(0.1, 1.2),
    bandwidth_hz=st.floats(1e6, 1e11),
    load_ohm=st.floats(10, 1e6),
    kelvin=st.floats(4, 400),
    rin_db_per_hz=st.none() | st.floats(-170, -120),
    dark_current_a=st.floats(0, 1e-6),
    extinction_ratio_db=st.none() | st.floats(1, 40),
    losses_db=st.dictionaries(st.sampled_from(["coupler", "modulator", "mesh"]), st.floats(0, 10)),
    balanced=st.booleans(),
)


@settings(max_examples=80, deadline=None)
@given(LINKS, st.floats(-6, 1))
def test_power_and_resolution_are_inverse(link: Link, exponent: float) -> None:
    power = 10.0**exponent
    found = link.resolution(power)
    if found.sigma**2 > 1.000001 * link.limit.sigma**2:  # nearer to the limit the power is no longer told by what it gives
        excess = found.sigma**2 / (found.sigma**2 - link.limit.sigma**2)
        assert link.power_for(found) == pytest.approx(power, rel=1e-13 * excess + 1e-9)
        bits = Resolution.from_enob(found.enob, link.span)
        assert link.resolution(link.power_for(bits)).enob == pytest.approx(found.enob, abs=1e-7)
    with pytest.raises(ConfigError, match="this link reaches no more than") if link.rin_db_per_hz is not None else nullcontext():
        link.power_for(Resolution(0.999 * link.limit.sigma or 1e-3, link.span))


def test_what_no_power_gives_is_refused_with_what_can_be_had() -> None:
    with pytest.raises(ConfigError, match=r"no more than 5\.68. effective bits \(SNR 45 dB\) at any power, got a demand for 8 "):
        make().power_for(Resolution.from_enob(8.0, 1))
    weak = make(saturation_a=1e-4)
    assert weak.power_for(Resolution.from_enob(3.8, 1)) < 1e-4
    with pytest.raises(
        ConfigError, match=r"no more than 3\.86 effective bits .* before the detector saturates at 0\.0001 A, got a demand for 4 "
    ):
        weak.power_for(Resolution.from_enob(4.0, 1))
    with pytest.raises(ConfigError, match="must be of signals with span 1, got span 2"):
        make().power_for(Resolution(0.1))


def test_losses_and_extinction_take_what_they_should() -> None:
    plain, lossy = make(), make(losses_db={"coupler": 2.0, "modulator": 1.0})
    assert lossy.transmission == pytest.approx(ratio(-3))
    assert lossy.resolution(1e-3 / lossy.transmission).sigma == pytest.approx(plain.resolution(1e-3).sigma)
    assert make(extinction_ratio_db=10.0).resolution(1e-3).sigma == pytest.approx(plain.resolution(1e-3).sigma / 0.9)
    assert make(extinction_ratio_db=10.0).limit.sigma == pytest.approx(plain.limit.sigma / 0.9)


def test_a_balanced_pair_has_twice_the_range_and_twice_the_dark_current() -> None:
    one, pair = (make(balanced=balanced, dark_current_a=1e-5) for balanced in (False, True))
    assert (one.span, pair.span) == (1, 2)
    assert pair.variances(1e-4)[0] - one.variances(1e-4)[0] == pytest.approx(shot_variance(1e-5, 10e9))
    quiet = make(balanced=True)
    assert quiet.resolution(1e-4).enob == pytest.approx(make().resolution(1e-4).enob + 1)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("responsivity_a_per_w", 0.0),
        ("bandwidth_hz", math.inf),
        ("load_ohm", -50.0),
        ("kelvin", 0.0),
        ("dark_current_a", -1e-9),
        ("extinction_ratio_db", 0.0),
        ("rin_db_per_hz", math.nan),
        ("losses_db", {"modulator": -3.0}),
        ("saturation_a", 0.0),
    ],
)
def test_a_link_out_of_its_domain_is_an_error(field: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"link: {field}.* must be a finite number"):
        make(**{field: value})
    with pytest.raises(ConfigError, match="power_w must be a finite number > 0, got 0"):
        make().resolution(0.0)
    with pytest.raises(ConfigError, match="saturation_a must exceed the dark current"):
        make(saturation_a=1e-9, dark_current_a=1e-6)


def test_a_link_does_not_change_with_the_mapping_it_was_given() -> None:
    losses = {"modulator": 3.0}
    link = make(losses_db=losses)
    losses["modulator"] = 0.0
    assert link.losses_db == {"modulator": 3.0}
    assert copy.deepcopy(link) == pickle.loads(pickle.dumps(link)) == link


# --- currencies ------------------------------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(st.floats(1e-5, 10.0), st.sampled_from([1.0, 2.0]))
def test_every_currency_leads_back_to_the_same_noise(sigma: float, span: float) -> None:
    noise = Resolution(sigma, span)
    assert Resolution.from_enob(noise.enob, span).sigma == pytest.approx(sigma)
    assert Resolution.from_snr_db(noise.snr_db, span).sigma == pytest.approx(sigma)
    precision = 0.5 / sigma
    assert Resolution.from_leakage(noise.leakage(precision), precision, span).sigma == pytest.approx(sigma)
    assert noise.sine_snr_db == pytest.approx(20 * math.log10(2) * noise.enob + 10 * math.log10(1.5))


def test_signals_of_both_signs_have_the_numbers_of_the_leakage_page() -> None:
    for sigma in (0.004, 0.046331, 0.3):
        assert Resolution(sigma).enob == pytest.approx(enob(sigma))
        assert Resolution(sigma).sine_snr_db == pytest.approx(snr_db(sigma))
        assert Resolution(sigma).leakage(16) == leakage_from("gaussian", sigma, 16)


def test_the_effective_bits_are_those_of_the_converter_with_that_noise() -> None:
    """An ideal converter of b bits over the span makes an error of a uniform distribution one step wide."""
    for bits, span in ((4, 1.0), (8, 2.0)):
        assert Resolution(float(stats.uniform(scale=span / 2**bits).std()), span).enob == pytest.approx(bits)


def test_no_noise_is_infinite_resolution_and_nonsense_an_error() -> None:
    silent = Resolution(0.0)
    assert silent.enob == silent.snr_db == silent.sine_snr_db == math.inf
    assert silent.leakage(16) == 0
    with pytest.raises(ConfigError, match="sigma must be a finite number >= 0, got nan"):
        Resolution(math.nan)
    with pytest.raises(ConfigError, match="span must be 1 "):
        Resolution(0.1, 3.0)
    with pytest.raises(ConfigError, match=r"enob must be in \[-300, 300\], got 2000"):
        Resolution.from_enob(2000.0)
    with pytest.raises(ConfigError, match="snr_db must be in"):
        Resolution.from_snr_db(math.nan)


# --- budget ----------------------------------------------------------------------------------------------------------------------------


def test_a_budget_follows_the_light_from_point_to_point() -> None:
    link = make(losses_db={"coupler": 3.0, "modulator": 7.0}, extinction_ratio_db=20.0, dark_current_a=1e-6, responsivity_a_per_w=0.5)
    budget = link_budget(link, 10e-3)
    assert [name for name, _ in budget.points_w] == ["source", "after coupler", "after modulator"]
    assert [power for _, power in budget.points_w] == pytest.approx([10e-3, 10e-3 * ratio(-3), 1e-3])
    assert budget.power_w == 10e-3
    assert budget.dark_w == pytest.approx(1e-5)
    assert budget.current_a == pytest.approx(0.5e-3 + 1e-6)
    assert budget.swing_a == pytest.approx(0.495e-3)
    assert budget.sigma == pytest.approx(math.hypot(budget.shot_a, budget.thermal_a, budget.rin_a) / budget.swing_a)
    assert budget.limit == link.limit
    assert not budget.saturates
    assert link_budget(make(saturation_a=1e-3), 1.01e-3).saturates


def test_a_table_says_all_of_it() -> None:
    link = make(losses_db={"modulator": 10.0}, extinction_ratio_db=20.0, saturation_a=1e-4, rin_db_per_hz=None)
    lines = dict(line.split("  ", 1) for line in str(link_budget(link, 10e-3)).splitlines())
    table = {name.strip(): text.strip() for name, text in lines.items()}
    assert table["power: after modulator"] == "1 mW (0.0 dBm)"
    assert table["dark state at the detector"] == "10 uW"
    assert table["current, bright"] == "1 mA (saturated)"
    assert table["noise: source (RIN)"] == table["limit of more power"] == "none"
    assert table["resolution"].endswith("effective bits")
