"""Products block by block, as without gradient, are those that all passes and vectors give at once."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile
from neurosim.hardware.stages import Slices, sliced
from neurosim.hardware.stages.slices import passes
from neurosim.nn import blocks

FILLED = {"scale": {"kind": "scale", "per": "vector"}}
CELLS: dict[str, Any] = {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6}
BITS = {"slices": {"kind": "slices", "bits": 6, "slice_bits": 2, "separate_signs": True}}
NOISE = {"kind": "noise", "distribution": "gaussian", "scale": 0.02, "scope": "read"}
ADC = {"kind": "quantize", "levels": 65, "low": -4.0, "high": 4.0}
TILES = {"kind": "tiles", "rows": 7}
CHAINS: dict[str, dict[str, Any]] = {
    "slices of both": {"input": FILLED | BITS, "weight": FILLED, "array": {"mapping": CELLS | {"slices": 4, "weight_bits": 9}}},
    "a digital offset": {"input": FILLED | BITS, "weight": FILLED, "array": {"mapping": CELLS | {"scheme": "offset"}, "tiles": TILES}},
    "a column of offsets": {
        "input": FILLED | BITS,
        "weight": FILLED,
        "array": {"mapping": CELLS | {"scheme": "offset", "correction": "column", "slices": 2, "weight_bits": 8}, "tiles": TILES},
    },
    "noise of what is sent": {"input": FILLED | BITS | {"noise": NOISE}, "weight": FILLED, "array": {"mapping": CELLS}},
    "a word for sums": {"input": BITS, "array": {"tiles": TILES}, "output": {"sum": ADC | {"levels": 17, "low": -1.0, "high": 1.0}}},
    "sent again": {"input": {"scale": {"kind": "scale", "per": "vector", "retries": 2}}, "array": {"tiles": TILES}},
    "a step that is no piece": {"input": BITS, "output": {"adc": ADC | {"kind": "converter", "gain": 0.02, "offset": 0.3, "noise": 0.1}}},
    "levels drawn for every signal": {"input": BITS, "output": {"adc": ADC | {"rounding": "stochastic"}}},
}


def made(chain: dict[str, Any], layer: nn.Module) -> nn.Module:
    received = {"noise": NOISE, "adc": ADC} | chain.get("output", {})
    spec = ChainSpec.model_validate(chain | {"output": received})
    return ns.to_analog(layer, Profile("made", "for a test", "any", spec), seed=0)


def at_once_and_in_blocks(model: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """The same read of a chip, twice."""
    with ns.noise("fixed", model):
        at_once = model(x).detach()
        with torch.no_grad():
            return at_once, model(x)


@pytest.mark.parametrize("elements", [1, 300, 1 << 20])
@pytest.mark.parametrize("name", CHAINS)
def test_blocks_give_what_all_at_once_gives_noise_included(name: str, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(blocks.ELEMENTS, "cpu", elements)
    torch.manual_seed(0)
    layer, x = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2).double(), torch.randn(3, 4, 7, 8, dtype=torch.float64)
    at_once, in_blocks = at_once_and_in_blocks(made(CHAINS[name], layer), x)
    torch.testing.assert_close(in_blocks, at_once, rtol=0, atol=1e-12)


def test_without_gradient_signals_go_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def counted(x: Tensor, *args: Any) -> Tensor:
        sizes.append(x.shape[1])
        return product(x, *args)

    product = blocks._product
    monkeypatch.setattr(blocks, "_product", counted)
    monkeypatch.setitem(blocks.ELEMENTS, "cpu", 8 * 4 * 5)
    chip, x = made(CHAINS["slices of both"], nn.Linear(9, 5)), torch.randn(10, 9)
    chip(x)
    assert sizes == []  # gradients are of all passes at once
    with torch.no_grad():
        chip(x)
    assert sizes == [8] * 6 + [2] * 6  # eight vectors of four pairs of planes and five outputs at a time, in six passes


def test_drift_that_is_compensated_is_compensated_in_blocks() -> None:
    drift = {"kind": "drift", "g_ref_siemens": 25e-6, "exponent": {"kind": "polynomial", "coefficients": [0.05]}, "t0_s": 20.0}
    array = {"mapping": CELLS, "drift": drift, "compensation": {"kind": "compensation"}, "tiles": TILES}
    chip = made({"input": FILLED | BITS, "weight": FILLED, "array": array}, nn.Linear(20, 5).double())
    x = torch.randn(4, 20, dtype=torch.float64)
    fresh = at_once_and_in_blocks(chip, x)
    ns.drift_to(chip, 1e6)
    torch.testing.assert_close(*at_once_and_in_blocks(chip, x), rtol=0, atol=1e-12)
    assert not torch.equal(at_once_and_in_blocks(chip, x)[1], fresh[1])


def test_no_vectors_give_no_results() -> None:
    chip = made(CHAINS["slices of both"], nn.Linear(9, 5))
    with torch.no_grad():
        assert chip(torch.empty(0, 9)).shape == (0, 5)


@pytest.mark.parametrize("spec", [Slices(), Slices(separate_signs=True), Slices(bits=7, slice_bits=3), Slices(bits=24, slice_bits=24)])
def test_passes_are_the_digits_of_the_rounded_signal(spec: Slices) -> None:
    x = torch.linspace(-1, 1, 201, dtype=torch.float64)
    found = list(passes(x, spec))
    assert torch.equal(torch.stack(found), sliced(x, spec))
    if spec.bits == 7:
        whole = (x.abs() * 127).round().long()
        for at, digits in enumerate(found):
            assert torch.equal(digits, (whole >> 3 * at & 7).double() / 7.0 * x.sign())


def test_passes_leave_the_mode_of_gradients_alone() -> None:
    for _ in passes(torch.ones(3, requires_grad=True), Slices(bits=4, slice_bits=1)):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("axes", [0, 1, 2, 3])
def test_a_batch_without_samples_gives_one_without_samples(axes: int) -> None:
    layer = (nn.Linear(4, 3), nn.Conv1d(4, 6, 3, padding=1), nn.Conv2d(4, 6, 3, groups=2), nn.ConvTranspose3d(4, 2, 3))[axes]
    chip = ns.to_analog(layer, "pcm_inmemory", seed=0).eval()
    x = torch.zeros(0, 4, *[5] * axes)
    with torch.no_grad():
        assert chip(x).shape == layer(x).shape
