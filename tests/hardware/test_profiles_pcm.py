"""Profiles of phase-change and other memory cells: numbers and outputs of their sources, drift and its compensation."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import h5py
import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.hardware.layout import layout
from neurosim.hardware.profile import load_profile
from neurosim.hardware.stages.mapping import encode
from tests.hardware.cells import DAY, cell, cells

PEER = Path(__file__).parents[1] / "nn/data/aihwkit_forward.h5"
SHARP: dict[str, Any] = {"input.dac": None, "output.adc": None, "output.noise": None}  #: converters without steps
SIGMAS = 5.0


def converted(layer: nn.Module, name: str, seed: int = 0, **changes: Any) -> nn.Module:
    overrides = {"*": {key.replace("__", "."): value for key, value in changes.items()}}
    return ns.to_analog(layer, name, seed=seed, overrides=overrides if changes else None)


@pytest.mark.parametrize(
    "name", ["pcm_inmemory", "pcm_hermes", "pcm_hermes_single", "pcm_joshi", "rram_wan", "rram_milo", "rram_cmo", "sonos"]
)
def test_the_cells_are_those_that_were_compared_with_their_sources(name: str) -> None:
    array = load_profile(name).chain.array
    assert {slot: getattr(array, slot) for slot in cells()[name]} == cell(name)


def test_converters_and_scale_are_those_of_the_peer() -> None:
    """Recorded outputs of the peer, whose output steps are as coarse as those of its inputs; then the finer ones by its formula."""
    with h5py.File(PEER) as file:
        group = file["forward_absmax_nm_7bit"]
        weight, bias, x, expected = (torch.from_numpy(group[key][()]) for key in ("weight", "bias", "x", "out"))
        assert round(1 / group.attrs["inp_res"]) == 126
        assert float(group.attrs["out_bound"]) == 12.0
    layer = nn.Linear(weight.shape[1], weight.shape[0])
    layer.load_state_dict({"weight": weight, "bias": bias})
    coarse, fine = converted(layer, "pcm_inmemory", output__adc__levels=127), converted(layer, "pcm_inmemory")
    omega = weight.abs().amax()
    alpha = x.abs().amax(1, keepdim=True)
    z = torch.round(x / alpha * 63) / 63
    step = 24 * (1 / (2**9 - 2))
    by_formula = torch.round(z @ (weight / omega).T / step) * step * alpha * omega + bias
    for model, right, width in ((coarse, expected, 24 / 126), (fine, by_formula, step)):
        with ns.noise("off", model), torch.no_grad():
            error = (model(x) - right).abs()
        flipped = error > 1e-4  # a sum within rounding of the middle between two codes may go to either
        assert float(flipped.float().mean()) < 0.002
        assert float((error / (alpha * omega)).max()) < 1.01 * width


def test_outputs_out_of_range_are_sent_again_four_times() -> None:
    layer = nn.Linear(512, 1, bias=False)
    nn.init.ones_(layer.weight)
    x = torch.zeros(3, 512)
    x[0, :10], x[1, :100], x[2, :400] = 1.0, 1.0, 1.0
    model = converted(layer, "pcm_inmemory")
    with ns.noise("off", model), torch.no_grad():
        y = model(x).flatten().tolist()
    assert y[0] == pytest.approx(10, abs=0.03)
    assert y[1] == pytest.approx(100 * 16 * round(63 / 16) / 63, abs=16 * 0.51 * 24 / 510)  # inputs of a sixteenth are 4 of 63 steps
    assert y[2] == pytest.approx(12.0 * 2**4)  # what the converter holds at a sixteenth
    once = converted(layer, "pcm_inmemory", input__scale__retries=0)
    with ns.noise("off", once), torch.no_grad():
        assert once(x).flatten().tolist()[1:] == [pytest.approx(12.0)] * 2


@pytest.mark.parametrize(("name", "low", "high"), [("pcm_inmemory", 0.0, 25.0), ("pcm_hermes", 0.0, 20.7), ("rram_wan", 0.0, 40.0)])
def test_a_weight_of_full_scale_has_the_largest_conductance(name: str, low: float, high: float) -> None:
    mapping: Any = load_profile(name).chain.array.mapping
    g = encode(torch.tensor([1.0, -0.25, 0.0], dtype=torch.float64), mapping) * 1e6
    expected = torch.tensor([[high, low, low], [low, low + (high - low) / 4, low]], dtype=torch.float64)
    torch.testing.assert_close(g, expected, rtol=0, atol=1e-9)


def test_a_large_layer_takes_the_tiles_of_the_peer() -> None:
    lies = layout(load_profile("pcm_inmemory").chain, (1, 1000, 1300))
    assert (lies.tiles, lies.columns, lies.cells) == (math.ceil(1300 / 512), math.ceil(1000 / 512), 2)
    assert layout(load_profile("pcm_inmemory").chain, (1, 512, 512)).arrays == 2


def test_noise_of_outputs_is_that_of_the_peer() -> None:
    """Without a signal the outputs are the codes of a normal number of deviation 0.06 in steps of 24 / 510."""
    n, step = 20_000, 24 / 510
    model = converted(nn.Linear(8, 100, bias=False), "pcm_inmemory", weight__scale=None)
    with torch.no_grad():
        y = model(torch.zeros(n // 100, 8))
    codes = torch.arange(-40, 41, dtype=torch.float64)
    below = torch.special.ndtr((codes + 0.5) * step / 0.06)
    share = below - torch.special.ndtr((codes - 0.5) * step / 0.06)
    second, fourth = (float((share * (codes * step) ** k).sum()) for k in (2, 4))
    assert abs(float(y.double().square().mean()) - second) < SIGMAS * math.sqrt((fourth - second**2) / n)


@pytest.mark.parametrize(("name", "later"), [("pcm_inmemory", DAY), ("pcm_hermes", 30 * DAY)])
def test_drift_takes_the_mean_and_the_compensation_gives_it_back(name: str, later: float) -> None:
    torch.manual_seed(0)
    layer, eye = nn.Linear(64, 48, bias=False).double(), torch.eye(64, dtype=torch.float64)
    with torch.no_grad():
        layer.weight.uniform_(0.1, 1.0).mul_(torch.randint(0, 2, layer.weight.shape) * 2 - 1)

    def response(after: float, **changes: Any) -> Tensor:
        model = converted(layer, name, **{key.replace(".", "__"): value for key, value in SHARP.items()}, **changes)
        ns.drift_to(model, after)
        with ns.noise("off", model), torch.no_grad():
            held: Tensor = model(eye).T.abs()
        return held

    pcm: Any = load_profile(name).chain.array.programming
    before, after = response(0.0), response(later, array__compensation=None)
    torch.testing.assert_close(before, layer.weight.detach().abs(), rtol=1e-6, atol=1e-9)
    share = before / before.max()
    expected = before * ((later + pcm.t0_s) / pcm.t0_s) ** -pcm.exponent(share)
    torch.testing.assert_close(after, expected, rtol=1e-6, atol=1e-9)
    assert float(after.mean() / before.mean()) < 0.75
    assert float(response(later).mean()) == pytest.approx(float(before.mean()), rel=1e-6)
    noisy = converted(layer, name)
    ns.drift_to(noisy, later)
    with torch.no_grad():
        assert float(noisy(eye).abs().mean() / before.mean()) == pytest.approx(1, abs=0.1)  # of one chip with its noise, and converters


def test_errors_of_wan_grow_from_a_second_to_two_days_by_the_fit() -> None:
    spec: Any = load_profile("rram_wan").chain.array.programming
    layer = nn.Linear(256, 200, bias=False).double()
    nn.init.ones_(layer.weight)
    for seconds in (1.0, DAY, 2 * DAY):
        model = converted(layer, "rram_wan", array__read=None, **{key.replace(".", "__"): value for key, value in SHARP.items()})
        ns.drift_to(model, seconds)
        with torch.no_grad():
            error = model(torch.eye(256, dtype=torch.float64)) - 1
        full, off = (float(spec.sigma(torch.tensor([ratio], dtype=torch.float64), seconds)) / 40e-6 for ratio in (1.0, 0.0))
        # the cell that is off has a normal error cut at 0: mean σ/√(2π), variance σ²(1/2 − 1/2π)
        variance = full**2 + off**2 * (0.5 - 0.5 / math.pi)
        assert float(error.var()) == pytest.approx(variance, rel=SIGMAS * math.sqrt(2 / error.numel()))
