"""Swapped norms whose outputs are as large as before; norms swapped on spiking networks and on simulated hardware."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.convert.norm_gain import gain_between
from neurosim.errors import ConfigError
from neurosim.models import cnn, spiking_mlp, spiking_resnet, spiking_sequence, spiking_vgg
from neurosim.nn import MPBN
from neurosim.norms import (
    BatchNorm,
    BatchNormOverTime,
    L1LayerNorm,
    LayerNorm,
    Norm,
    RMSNorm,
    ScaleNorm,
    ThresholdDependentBatchNorm,
    TimeNorm,
)
from tests.norms.contracts import draw, varied

CUBA = {"kind": "cuba_lif", "tau_mem": 20e-3, "tau_syn": 10e-3, "dt": 1e-3}
SPIKING: dict[str, Callable[[], nn.Module]] = {
    "mlp": lambda: spiking_mlp([64, 16, 16, 10], time_steps=3, norm="tebn"),
    "vgg": lambda: spiking_vgg(5, [1, 8, 8], 10, width=1 / 16, time_steps=3, norm="tebn"),
    "resnet": lambda: spiking_resnet(18, [1, 16, 16], 10, width=1 / 16, time_steps=3, norm="tebn"),
    "sequence": lambda: spiking_sequence([64, 16, 16, 10], CUBA, time_steps=3, norm="tebn"),
}
NAMES = ["batch", "layer", "group", "l1_rms", "dyt", "power", "bn_over_time", "tdbn", "bntt"]


def of_type(model: nn.Module, kind: Any) -> list[Any]:
    return [module for module in model.modules() if isinstance(module, kind)]


@pytest.mark.parametrize(
    ("old", "name", "settings", "expected"),
    [
        (lambda: nn.BatchNorm1d(16), "layer", {}, 1.0),
        (lambda: nn.BatchNorm2d(16), "l1_batch", {}, math.sqrt(2 / math.pi)),  # a mean magnitude of 1 is a mean square of π/2
        (lambda: LayerNorm(256), "l1_layer", {}, math.sqrt(2 / math.pi)),
        (lambda: RMSNorm(256), "l1_layer", {"match_sigma": True}, 1.0),
        (lambda: nn.LayerNorm(64), "scale_norm", {}, 1.0),  # g = √d
        (lambda: BatchNormOverTime(16), "tdbn", {"v_threshold": 0.5, "alpha": 0.5}, 4.0),
        (lambda: ThresholdDependentBatchNorm(16, v_threshold=0.25), "batch", {}, 0.25),
    ],
)
def test_a_gain_makes_up_for_another_measure_of_size(old: Any, name: str, settings: dict[str, Any], expected: float) -> None:
    before = varied(old())
    time = isinstance(before, TimeNorm)
    features = _features(before)
    axis = -1 if isinstance(before, nn.LayerNorm) else 1 + time
    made = ns.NORMS[name](features, **settings, **({"channel_dim": -1} if axis == -1 else {}))
    kept = made.weight.shape == before.weight.shape
    assert gain_between(before, made, (features,), axis, time, kept) == pytest.approx(expected, rel=0.02)


def _features(norm: Any) -> int:
    found = getattr(norm, "num_features", None) or getattr(norm, "features", None) or norm.normalized_shape
    return int(found if isinstance(found, int) else found[0])


def test_swapping_back_and_forth_gives_the_first_gammas_again() -> None:
    model: Any = nn.Sequential(nn.Linear(6, 256), varied(nn.BatchNorm1d(256)), nn.Tanh())
    there: Any = ns.swap_norm(model, "l1_batch", adjust="variance")
    torch.testing.assert_close(there[1].weight, model[1].weight * there.swaps.norms[0].factor)
    back: Any = ns.swap_norm(there, "batch", adjust="variance")
    torch.testing.assert_close(back[1].weight, model[1].weight, rtol=5e-3, atol=1e-6)
    assert torch.equal(back[1].bias, model[1].bias)


def test_outputs_are_as_large_as_before_and_without_the_gain_they_are_not() -> None:
    model: Any = nn.Sequential(varied(nn.BatchNorm2d(16)))
    nn.init.zeros_(model[0].bias)
    x = draw(32, 16, 4, 4)
    gains: tuple[Any, ...] = ("nothing", "variance")
    with torch.no_grad():
        size = {gain: float(ns.swap_norm(model, "l1_batch", adjust=gain)(x).var() / model(x).var()) for gain in gains}
    assert size["variance"] == pytest.approx(1.0, rel=0.03)
    assert size["nothing"] == pytest.approx(math.pi / 2, rel=0.03)


def test_the_report_says_what_was_adjusted_and_why_not() -> None:
    model: Any = cnn([1, 8, 8], [16, 16], [], 4, batch_norm=True)
    swapped: Any = ns.swap_norm(model, "l1_batch", layers="norm1", adjust="variance")
    assert "× 0.79" in str(swapped.swaps)
    left: Any = ns.swap_norm(model, "lp", adjust="variance")
    assert [one.factor for one in left.swaps.norms] == [1.0, 1.0]
    assert "has no factor of its own behind it" in str(left.swaps)
    online: Any = ns.swap_norm(model, "online", adjust="variance")
    assert "an OnlineNorm has no factor of its own behind it" in str(online.swaps)
    kept: Any = ns.swap_norm(model, "layer")
    assert "γ" not in str(kept.swaps)
    unknown: Any = "lots"
    with pytest.raises(ConfigError, match=r"swap_norm\.adjust: must be one of 'nothing', 'variance'"):
        ns.swap_norm(model, "layer", adjust=unknown)


def test_norms_that_are_taken_away_leave_weights_that_an_initialiser_can_replace() -> None:
    torch.manual_seed(0)
    model: Any = cnn([1, 8, 8], [16, 16], [16], 4, norm="batch")
    bare: Any = ns.swap_norm(model, "none")
    assert of_type(bare, Norm) == []
    assert {one.after for one in bare.swaps.norms} == {"Identity"}
    x = torch.randn(64, 1, 8, 8)
    ns.initialize(bare, "lsuv", x, seed=0)
    assert bare.initialisation.missed == ()
    assert bare.fc1(bare[: list(dict(bare.named_children())).index("fc1")](x)).var().item() == pytest.approx(1.0, rel=0.02)
    with pytest.raises(ConfigError, match="swap_norm: none takes no settings, got eps"):
        ns.swap_norm(model, "none", eps=1.0)


@pytest.mark.parametrize("name", [*NAMES, "none"])
@pytest.mark.parametrize("family", SPIKING)
def test_norms_of_every_spiking_model_are_swapped_and_train(family: str, name: str) -> None:
    model: Any = SPIKING[family]()
    count = len(of_type(model, Norm))
    settings: dict[str, Any] = {"v_threshold": 1.0} if name == "tdbn" else {}
    swapped: Any = ns.swap_norm(model, name, adjust="variance", **settings)
    assert len(swapped.swaps.norms) == count
    if name != "none":
        assert len(of_type(swapped, ns.NORMS[name].make)) == count
    shape = {"sequence": (4, 3, 64), "resnet": (4, 1, 16, 16)}.get(family, (4, 1, 8, 8))
    swapped(3 * torch.rand(shape)).square().sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in swapped.parameters())
    assert len(of_type(model, Norm)) == count  # the model itself is as it was


def test_a_sequence_in_pieces_is_normalised_as_in_one_after_a_swap() -> None:
    swapped: Any = ns.swap_norm(spiking_mlp([6, 16, 3], time_steps=4, norm="bn"), "bntt", steps=4).eval()
    x = draw(4, 5, 6)
    whole = swapped.body(x)
    first, state = swapped.body.run(x[:1])
    second, _ = swapped.body.run(x[1:], state)
    torch.testing.assert_close(torch.cat([first, second]), whole)


def test_norms_beside_normed_membranes_are_swapped_and_those_inside_stay() -> None:
    swapped: Any = ns.swap_norm(spiking_mlp([6, 16, 3], norm="bn+mpbn"), "layer")
    assert len(of_type(swapped, LayerNorm)) == 1
    assert len(of_type(swapped, MPBN)) == 1


@pytest.mark.parametrize("name", ["layer", "l1_batch", "dyt", "none"])
def test_norms_of_a_model_on_hardware_are_swapped_and_its_chips_stay(name: str) -> None:
    model = cnn([1, 8, 8], [16, 16], [16], 4, norm="batch")
    analog: Any = ns.to_analog(model, "photonic_avnn", seed=3)
    swapped: Any = ns.swap_norm(analog, name, adjust="variance")
    assert len(swapped.swaps.norms) == 3
    x = torch.rand(4, 1, 8, 8)
    before = ns.to_analog(ns.swap_norm(model, name, adjust="variance"), "photonic_avnn", seed=3)
    assert torch.equal(swapped.eval()(x), before.eval()(x))
    swapped.train()(x).square().sum().backward()
    assert all(value.grad is not None and bool(value.grad.isfinite().all()) for value in swapped.parameters())
    assert isinstance(analog.norm1, BatchNorm)


def test_a_single_factor_takes_the_gain_too() -> None:
    swapped: Any = ns.swap_norm(nn.Sequential(ThresholdDependentBatchNorm(16, v_threshold=0.5)), "none")
    assert isinstance(swapped[0], nn.Identity)
    scaled: Any = ns.swap_norm(nn.Sequential(L1LayerNorm(256)), "scale_norm", adjust="variance")
    assert isinstance(scaled[0], ScaleNorm)
    x = draw(8, 256)
    assert float(scaled(x).detach().square().mean()) == pytest.approx(math.pi / 2, rel=0.05)


def test_arguments_of_the_norm_reach_it_whatever_they_are_called() -> None:
    swapped: Any = ns.swap_norm(nn.Sequential(nn.BatchNorm1d(16)), "scale_norm", gain=3.0)
    assert float(swapped[0].weight.detach()) == 3.0
