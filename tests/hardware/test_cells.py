"""Memory cells with the numbers of their sources: against recorded draws of another library, and against the formulas as printed."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import cast

import h5py
import numpy as np
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.hardware.devices import drift_exponent, flicker
from neurosim.hardware.profile import load_profile
from neurosim.hardware.stages import Deviation, Pcm
from neurosim.random import stream
from tests.hardware.cells import DAY, FILE, HOUR, YEAR, cell, cells, draws, run

PEER = Path(__file__).parent / "data/pcm.h5"
MICRO = 1e-6
SIGMAS = 5.0  #: two-sided: one false alarm in 1.7 million comparisons


def pcm() -> Pcm:
    return cast("Pcm", cell("pcm_inmemory")["programming"])


def deviation(name: str, slot: str = "programming") -> Deviation:
    return cast("Deviation", cell(name)[slot])


def close(ours: Tensor, mean: float, std: float, count: int) -> None:
    """Whether draws agree with a mean and a standard deviation of so many other draws (0: exact), by the error of both."""
    n, variance = len(ours), max(float(ours.var()), std**2)
    kurtosis = float(((ours - ours.mean()) ** 4).mean() / ours.var(correction=0) ** 2) if variance else 0.0
    inverse = 1 / n + (1 / count if count else 0.0)
    assert abs(float(ours.mean()) - mean) <= SIGMAS * math.sqrt(variance * inverse) + 1e-6 * abs(mean)
    assert abs(float(ours.std()) - std) <= SIGMAS * math.sqrt(variance * max(kurtosis - 1, 0) / 4 * inverse) + 1e-6 * std


# --- phase-change memory ---------------------------------------------------------------------------------------------------------------


def test_phase_change_memory_has_the_means_and_deviations_of_the_peer() -> None:
    spec = pcm()
    exact = spec.model_copy(update={"sigma_scale": 0.0})
    with h5py.File(PEER) as file:
        group = file["pcm"]
        peer, count = {name: group[name][...].astype(np.float64) for name in group}, int(group.attrs["draws"])
    for at, target in enumerate(peer["g_target_uS"]):
        written = draws(spec.model_copy(update={"read_scale": 0.0}), target * MICRO) / MICRO
        close(written, peer["programmed_mean_uS"][at], peer["programmed_std_uS"][at], count)
        ratio = torch.full((20_000,), target * MICRO / spec.g_ref_siemens, dtype=torch.float64)
        nu = drift_exponent(spec.exponent(ratio), spec.spread(ratio), stream(2, "nu").normal(ratio.shape, like=ratio))
        close(nu, peer["nu_mean"][at], peer["nu_std"][at], count)
        for seconds in (25.0, HOUR, DAY, YEAR):
            read = draws(exact, target * MICRO, seconds=seconds) / MICRO
            close(read, peer[f"read_mean_uS_t{seconds:.0f}"][at], peer[f"read_std_uS_t{seconds:.0f}"][at], count)


#: target µS, σ of programming µS, mean and spread of the exponent, relative read noise; then what is left of the conductance, and the
#: relative read noise gathered, after 1 s, 1 h, 1 d and 1 y
TABLE = """
25.00 1.05538 .04900 .00800 .00880  .99761 .77513 .66352 .49695  .03687 .04193 .04476 .04961
12.50  .95271 .04900 .00800 .01381  .99761 .77513 .66352 .49695  .05785 .06579 .07024 .07784
 5.00  .60956 .04935 .01422 .02505  .99760 .77373 .66160 .49450  .10495 .11936 .12743 .14121
 2.50  .44825 .06009 .02288 .03931  .99707 .73170 .60470 .42420  .16469 .18729 .19995 .22158
 1.00  .34020 .07429 .03434 .07131  .99638 .67963 .53691 .34638  .29876 .33977 .36273 .40197
 0.00  .26348 .10000 .04500 .20000  .99513 .59461 .43295 .24001
"""


@pytest.mark.parametrize("row", TABLE.strip().splitlines(), ids=lambda row: row.split()[0])
def test_phase_change_memory_has_the_printed_table(row: str) -> None:
    target, *expected = map(float, row.split())
    spec = pcm()
    ratio = torch.tensor([target * MICRO / spec.g_ref_siemens], dtype=torch.float64)
    laws = [float(spec.sigma(ratio)) / MICRO, float(spec.exponent(ratio)), float(spec.spread(ratio)), float(spec.read(ratio))]
    times = (1.0, HOUR, DAY, YEAR)
    start = torch.tensor([max(target, 1e-9) * MICRO], dtype=torch.float64)  # of nothing, nothing falls: a trace shows by which factor
    left = [float(run(spec, start, noisy=False, seconds=seconds) / start) for seconds in times]
    gathered = [laws[3] * flicker(seconds + spec.t0_s, spec.read_s) for seconds in times]
    exact = spec.model_copy(update={"sigma_scale": 0.0, "drift_scale": 0.0})
    standard = stream(1, "cell", "pcm").normal(start.shape, like=start)
    if target:
        in_stage = [float((run(exact, start, seconds=seconds) / start - 1) / standard) for seconds in times]
        assert in_stage == pytest.approx(gathered, rel=1e-9)
    for got, printed in zip([*laws, *left, *gathered], expected, strict=False):
        assert got == pytest.approx(printed, abs=0.51e-5)


def test_exponent_and_read_noise_remember_the_target_and_what_was_programmed() -> None:
    """As the peer, and unlike three stages one after the other, whose drift would see the programming error."""
    spec = pcm()
    x = torch.full((1,), 2.5 * MICRO, dtype=torch.float64)
    quiet = spec.model_copy(update={"sigma_scale": 0.0, "read_scale": 0.0})
    off_target = spec.model_copy(update={"read_scale": 0.0})
    fallen = run(quiet, x, seconds=DAY) / run(quiet, x)
    assert torch.allclose(run(off_target, x, seconds=DAY) / run(off_target, x), fallen, rtol=1e-12)
    assert not torch.allclose(run(off_target, x), run(quiet, x), rtol=1e-2)


def hermes(g: float, devices: int) -> tuple[float, float, float, float]:
    """σ in µS, mean and spread of the exponent, read noise: the fits as published, branch by branch."""
    if devices == 2:
        sigma = 0.16603222 + 4.71806468 * g - 8.48101252 * g**2 + 4.68961419 * g**3
        spread = min(max(-0.0117 * math.log(g) - 0.0057, 0.0091), 0.04) if g < 0.3055 else -0.0118 * g * g + 0.0093 * g + 0.0073
        read = min(max(-0.0117 * math.log(g) - 0.0069, 0.015), 0.04) if g < 0.16 else 0.0069 * g**3 - 0.028 * g**2 + 0.0211 * g + 0.0123
    else:
        sigma = 0.15781817 + 2.32443916 * g - 2.16310839 * g**2 + 0.68841818 * g**3
        spread = min(max(-0.012 * math.log(g) - 0.0023, 0.0124), 0.04) if g < 0.3039 else -0.0165 * g * g + 0.0116 * g + 0.0104
        read = min(max(-0.0078 * math.log(g) + 0.0038, 0.0179), 0.04) if g < 0.1591 else 0.0664 * g**3 - 0.1352 * g**2 + 0.0768 * g + 0.0088
    mean = min(max(-0.0387 * math.log(g) - 0.0182, 0.072), 0.13) if g < 0.0945 else -0.0436 * g * g - 0.0126 * g + 0.0736
    return sigma, mean, spread, read


@pytest.mark.parametrize(("name", "devices", "g_max", "t0"), [("pcm_hermes", 2, 20.7, 300.0), ("pcm_hermes_single", 1, 10.35, 200.0)])
def test_the_chip_of_the_hermes_project_follows_its_branches(name: str, devices: int, g_max: float, t0: float) -> None:
    spec = cast("Pcm", cell(name)["programming"])
    for g in (0.001, 0.02, 0.0944, 0.0946, 0.159, 0.161, 0.3038, 0.3056, 0.5, 1.0):
        ratio = torch.tensor([g], dtype=torch.float64)
        got = [float(law(ratio)) for law in (spec.sigma, spec.exponent, spec.spread, spec.read)]
        assert [got[0] / MICRO, *got[1:]] == pytest.approx(hermes(g, devices), rel=1e-9)
    g, seconds = 0.4, HOUR
    sigma, mean, spread, read = hermes(g, devices)
    written = draws(spec.model_copy(update={"read_scale": 0.0}), g * g_max * MICRO) / MICRO
    close(written, g * g_max, sigma, 0)
    exact = spec.model_copy(update={"sigma_scale": 0.0})
    factor, growth = math.log((seconds + t0) / t0), math.log((seconds + t0 + 512e-9) / (2 * 512e-9))
    left = math.exp(-mean * factor + (spread * factor) ** 2 / 2)  # of a lognormal factor; folding of exponents is beyond 4 deviations
    square = math.exp(-2 * mean * factor + 2 * (spread * factor) ** 2) * (1 + read**2 * growth)
    target = g * g_max
    close(draws(exact, target * MICRO, seconds=seconds) / MICRO, target * left, target * math.sqrt(square - left**2), 0)


# --- resistive memory and charge traps -------------------------------------------------------------------------------------------------


def test_programming_errors_are_those_of_the_fits() -> None:
    for g in (2.0, 10.0, 24.0):
        close(draws(deviation("pcm_joshi"), g * MICRO) / MICRO, g, -0.00178767 * g**2 + 0.07585724 * g + 0.28638599, 0)
    for g in (50.0, 100.0, 225.0):
        close(draws(deviation("rram_milo"), g * MICRO) / MICRO, g, 4.782321 - 0.009107 * g, 0)


def test_the_errors_of_wan_follow_the_fit_of_each_time() -> None:
    fits = {
        1.0: (0.348, 16.030, -43.853, 45.393, -16.815),
        DAY: (0.701, 22.086, -50.773, 47.095, -16.458),
        2 * DAY: (0.782, 20.274, -43.507, 37.062, -11.934),
    }
    spec = deviation("rram_wan")
    for seconds, fit in fits.items():
        for g in (16.0, 28.0, 40.0):
            sigma = sum(c * (g / 40) ** k for k, c in enumerate(fit))
            close(draws(spec, g * MICRO, seconds=seconds) / MICRO, g, sigma, 0)
    assert spec.scope == "hold"
    assert spec.sigma is not None
    ratio = torch.tensor([0.5], dtype=torch.float64)
    first, between, last = (float(spec.sigma(ratio, seconds)) for seconds in (1.0, math.sqrt(DAY), DAY))
    assert between == pytest.approx((first + last) / 2)  # halfway in the logarithm of time
    assert spec.sigma(ratio, 0.0) == first
    assert spec.sigma(ratio, YEAR) == spec.sigma(ratio, 2 * DAY)


def test_the_metal_oxide_cell_relaxes_as_the_peer_says() -> None:
    g, seconds = 50.0, DAY
    close(draws(deviation("rram_cmo"), g * MICRO) / MICRO, g, 0.0112185391 + 0.01129027418 * g, 0)
    relaxed = draws(deviation("rram_cmo", "drift"), g * MICRO, seconds=seconds) / MICRO
    close(relaxed, g - 0.08900206 * math.log(seconds), 0.04201137 * math.log(seconds) + 0.41183342, 0)
    read = draws(deviation("rram_cmo", "read"), g * MICRO, seconds=seconds) / MICRO
    close(read, g, 0.0277316483 * math.log10(g) * math.sqrt(math.log((seconds + 1e-6) / 2e-6)), 0)
    assert float(draws(deviation("rram_cmo", "read"), 8.0 * MICRO).min()) == pytest.approx(9 * MICRO)
    assert float(draws(deviation("rram_cmo", "read"), 90.0 * MICRO).max()) == pytest.approx(88.2 * MICRO)


def test_charge_traps_drift_and_spread_as_the_tables_of_days_say() -> None:
    first_half = (6.60925e-01, 8.60627e-03, -1.72936e-04, 7.44096e-07, -5.94866e-09, 2.36734e-11)
    day_two = (*first_half, -4.83740e-14, 5.56072e-17, -3.65397e-20, 1.28405e-23, -1.87450e-27)
    spec, nano = deviation("sonos"), 1e-8  # one nanoampere at a tenth of a volt
    for current in (50.0, 400.0, 1600.0):
        close(draws(spec, current * nano) / nano, current, 19.88665 * (1 - math.exp(-current / 176.3115)), 0)
        later = current + sum(c * current**k for k, c in enumerate(day_two))
        close(draws(spec, current * nano, seconds=2 * DAY) / nano, later, 28.72753 * (1 - math.exp(-later / 193.56834)), 0)
        read = draws(deviation("sonos", "read"), current * nano) / nano
        close(read, current, 12.58037 * (1 - math.exp(-current / 215.36557)), 0)
    x = torch.linspace(0, 1600, 50, dtype=torch.float64) * nano
    first, second, half = (run(spec, x, noisy=False, seconds=days * DAY) for days in (1, 2, 1.5))
    assert torch.allclose(half, (first + second) / 2, rtol=1e-12)
    single = run(spec, x.float(), noisy=False, seconds=2 * DAY)
    assert float((single.double() - second).abs().max()) < 1e-4 * 1600 * nano  # eleven coefficients, in float32


# --- in a profile ----------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", list(cells()))
def test_no_cell_gives_anything_but_finite_conductances(name: str) -> None:
    for spec in cell(name).values():
        high = 1600e-8 if name == "sonos" else 20e-6
        for dtype in (torch.float32, torch.float64):
            x = torch.linspace(0, high, 101, dtype=dtype).requires_grad_()
            for seconds in (0.0, 1.0, YEAR):
                y = run(spec, x, seconds=seconds)
                (grad,) = torch.autograd.grad(y.sum(), x)
                assert y.isfinite().all()
                assert (y >= 0).all()
                assert grad.isfinite().all()
                assert y.dtype == dtype


def profile_text(name: str, slot: str) -> str:
    """A profile with one slot of a cell."""
    lines = FILE.read_text(encoding="utf-8").splitlines()
    start = lines.index(f"{name}:")
    first = lines.index(f"  {slot}:", start)
    last = next((at for at in range(first + 1, len(lines)) if not lines[at].startswith("    ")), len(lines))
    siemens = "unit: S, source: assumed, verified: false}"
    mapping = f"{{kind: mapping, g_min_siemens: {{value: 0, {siemens}, g_max_siemens: {{value: 2e-5, {siemens}}}"
    head = f"version: 1\nname: {name}\nsummary: A cell\ntechnology: memory\nchain:\n  array:\n    mapping: {mapping}\n"
    return head + "\n".join(f"  {line}" for line in lines[first:last]) + "\n"


@pytest.mark.parametrize(("name", "slot"), [(name, slot) for name in cells() for slot in cells()[name]])
def test_a_cell_of_the_file_is_a_profile_with_units_and_sources(name: str, slot: str, tmp_path: Path) -> None:
    (tmp_path / "profile.yaml").write_text(profile_text(name, slot), encoding="utf-8")
    profile = load_profile(tmp_path / "profile.yaml")
    assert getattr(profile.chain.array, slot) == cell(name)[slot]
    numbers = {key: quantity for key, quantity in profile.provenance.items() if key.startswith(f"array.{slot}.")}
    assert numbers
    assert all(quantity.verified for quantity in numbers.values())


@pytest.mark.parametrize(
    ("name", "old", "new", "message"),
    [
        ("pcm_inmemory", '-1.1731e-06], unit: "S"', '-1.1731e-06], unit: "1"', "sigma.coefficients: unit must be S, got '1'"),
        ("pcm_hermes", 'value: 0.0945, unit: "1"', 'value: 0.0945, unit: "S"', "exponent.at: unit must be 1, got 'S'"),
        ("rram_wan", '-1.6458e-05], unit: "S"', '-1.6458e-05], unit: "uS"', "sigma.laws.1.coefficients: unit must be S, got 'uS'"),
        ("rram_wan", '172800.0], unit: "s"', '172800.0], unit: "h"', "sigma.times_s: unit must be s, got 'h'"),
        ("pcm_inmemory", "-1.1731e-06]", "many]", "sigma.coefficients: value must be a number, or a list of them, got"),
        ("pcm_inmemory", "kind: power", "kind: powr", "read: "),
        ("pcm_inmemory", "t0_s:", "t_0s:", "t_0s: unknown key; did you mean 't0_s'?"),
        ("pcm_inmemory", "factor:", "facto:", "read.facto: unknown key; did you mean 'factor'?"),
        ("pcm_hermes", "slope: {value: -0.0387", "slop: {value: -0.0387", "exponent.below.slop: unknown key; did you mean 'slope'?"),
        ("rram_wan", "value: [7.01e-07,", "value: [.inf,", "sigma.laws.1.coefficients.0: "),
    ],
)
def test_a_mistake_within_a_law_is_named_with_its_line(name: str, old: str, new: str, message: str, tmp_path: Path) -> None:
    text = profile_text(name, "programming")
    assert old in text
    (tmp_path / "profile.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    line = text[: text.index(old)].count("\n") + 1
    with pytest.raises(ConfigError) as caught:
        load_profile(tmp_path / "profile.yaml")
    found = [problem for problem in caught.value.problems if f"array.programming.{message}" in problem]
    assert found, caught.value.problems
    assert re.search(rf"profile\.yaml:({line}|{line - 1}): ", found[0])


def test_a_layer_of_phase_change_memory_drifts_as_its_cells_do(tmp_path: Path) -> None:
    """Without noise and with one weight of full scale, the output falls by the factor of one cell."""
    (tmp_path / "profile.yaml").write_text(profile_text("pcm_inmemory", "programming"), encoding="utf-8")
    layer = nn.Linear(1, 1, bias=False)
    nn.init.ones_(layer.weight)
    analog = ns.to_analog(nn.Sequential(layer), str(tmp_path / "profile.yaml"), seed=3)
    x = torch.ones(1, 1)
    with ns.noise("off", analog):
        before = analog(x).item()
        ns.drift_to(analog, DAY)
        after = analog(x).item()
    assert before == pytest.approx(1.0, rel=1e-5)
    mean = float(pcm().exponent(torch.tensor([20 / 25], dtype=torch.float64)))
    assert after == pytest.approx(((DAY + 20) / 20) ** -mean, rel=1e-5)
    noisy = analog(x).item()
    assert noisy != after
    assert noisy == analog(x).item()  # read noise is held until time moves on
