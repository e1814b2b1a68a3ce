"""Whole models on hardware: residual networks with their norms folded, vision transformers, excitatory-inhibitory networks."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError, ConversionError
from neurosim.nn import EIConv2d, EILinear
from tests.convert.models import ResNet, VisionTransformer
from tests.nn.test_array import CELLS, LAYOUTS, profile

UNIPOLAR: dict[str, Any] = {"weight": {"scale": {"kind": "scale", "per": "vector"}}, "array": {"mapping": CELLS | {"scheme": "unipolar"}}}
CLEAN = LAYOUTS["an offset by a column, on tiles"]
NOISY: dict[str, Any] = {
    **CLEAN,
    "weight": {**CLEAN["weight"], "noise": {"kind": "noise", "distribution": "gaussian", "scale": 0.02, "scope": "device"}},
    "output": {"adc": {"kind": "quantize", "levels": 4097, "low": -20.0, "high": 20.0}},
}


def resnet() -> ResNet:
    """Away from where it starts: statistics and affine parts too."""
    torch.manual_seed(0)
    model = ResNet().double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean = torch.randn(module.num_features, dtype=torch.float64) * 0.2
            module.running_var = torch.rand(module.num_features, dtype=torch.float64) + 0.5
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.3, 0.5)
    return model.eval()


def images(*shape: int) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def status(model: nn.Module) -> dict[str, str]:
    report = model.conversion
    assert isinstance(report, ns.Conversion)
    return {row.path: row.status for row in report.layers}


def test_a_residual_network_is_on_hardware_whole_once_its_norms_are_folded() -> None:
    model, x = resnet(), images(2, 3, 24, 24)
    analog: Any = ns.to_analog(model, profile(CLEAN), seed=0, fold_norm=True)
    assert set(status(analog).values()) == {"converted"}
    assert analog.folding.count("left") == 0
    assert analog.folding.count("folded") == 10
    torch.testing.assert_close(analog(x), model(x), rtol=0, atol=1e-11)
    assert sum(isinstance(module, nn.BatchNorm2d) for module in model.modules()) == 10  # the model itself is unchanged
    assert "digital" in status(ns.to_analog(model, profile(CLEAN), seed=0)).values()
    back = ns.to_digital(analog)
    assert torch.equal(back(x), ns.fold(model)(x))


@pytest.mark.parametrize("hardware", ["photonic_avnn", "array"])
@pytest.mark.parametrize("kind", ["resnet", "vision transformer"])
def test_whole_models_run_and_learn_on_hardware(kind: str, hardware: str) -> None:
    torch.manual_seed(1)
    model: nn.Module = resnet().float() if kind == "resnet" else VisionTransformer().eval()
    x = images(2, *((3, 24, 24) if kind == "resnet" else (1, 8, 8))).float()
    analog = ns.to_analog(model, hardware if hardware != "array" else profile(NOISY), seed=0, fold_norm=True)
    y, expected = analog(x).detach(), model(x).detach()
    assert bool(y.isfinite().all())
    assert not torch.allclose(y, expected, atol=1e-4)
    with ns.noise("off", analog):
        (analog(x * 0.2) * torch.randn_like(y)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in analog.parameters())
    if hardware == "array":  # errors that are frozen and small
        assert torch.equal(analog(x), y)
        assert float((y - expected).norm() / expected.norm()) < 0.5


def test_a_vision_transformer_is_on_hardware_but_for_its_norms_and_free_parameters() -> None:
    torch.manual_seed(2)
    model, x = VisionTransformer().double().eval(), images(2, 1, 8, 8)
    analog = ns.to_analog(model, profile(CLEAN), seed=0)
    converted = [
        f"blocks.{at}.{name}" for at in range(2) for name in (*(f"attn.{part}_proj" for part in ("q", "k", "v", "out")), "mlp.0", "mlp.2")
    ]
    assert {path for path, found in status(analog).items() if found == "converted"} == {"patch_embed", *converted, "head"}
    assert {path for path, found in status(analog).items() if found == "digital"} == {
        *("", "norm"),
        *(f"blocks.{at}.norm{which}" for at in range(2) for which in (1, 2)),
    }
    torch.testing.assert_close(analog(x), model(x), rtol=0, atol=1e-11)


def test_folding_and_converting_in_place_happen_together_or_not_at_all() -> None:
    model, x = resnet(), images(1, 3, 24, 24)
    expected, before = model(x), copy.deepcopy(model.state_dict())
    with pytest.raises(ConfigError, match="'nothing' names no layer"):
        ns.to_analog(model, profile(CLEAN), seed=0, fold_norm=True, inplace=True, layers="nothing")
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert ns.to_analog(model, profile(CLEAN), seed=0, fold_norm=True, inplace=True) is model
    assert set(status(model).values()) == {"converted"}
    torch.testing.assert_close(model(x), expected, rtol=0, atol=1e-11)


def test_a_model_without_norms_is_the_same_chip_with_and_without_folding() -> None:
    model, x = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(5, 4)
    assert torch.equal(*(ns.to_analog(model, "photonic_avnn", seed=4, fold_norm=fold)(x) for fold in (True, False)))


# --- excitation and inhibition -----------------------------------------------------------------------------------------------------------


def network(**options: Any) -> nn.Module:
    model = nn.Sequential(EIConv2d(2, 8, 3, groups=2, **options), nn.ReLU(), nn.Flatten(), EILinear(72, 8, **options), nn.ReLU())
    model.append(EILinear(8, 4, output=True))
    return ns.ei.initialize(model.double(), images(20, 2, 5, 5), seed=0)


@pytest.mark.parametrize("options", [{}, {"subtractive": False}, {"divisive": False}, {"prop": False}], ids=str)
@pytest.mark.parametrize("g_min", [0.0, 1e-6])
def test_weights_that_are_never_negative_take_one_cell_each(options: dict[str, Any], g_min: float) -> None:
    model, x = network(**options), images(3, 2, 5, 5)
    chain = {**UNIPOLAR, "array": {"mapping": UNIPOLAR["array"]["mapping"] | {"g_min_siemens": g_min}}}
    analog: Any = ns.to_analog(model, profile(chain), seed=0)
    layers = ns.analog_layers(analog)
    assert list(layers) == [f"{at}.{name}" for at in (0, 3, 5) for name in ("excitatory", "inhibitory", "lateral")]
    assert {layer.chain.layout.cells for layer in layers.values() if layer.chain.layout is not None} == {1}
    y, expected = analog(x), model(x)
    torch.testing.assert_close(y, expected, rtol=0, atol=1e-10)
    cotangent = torch.randn_like(y)
    grads = [torch.autograd.grad((out * cotangent).sum(), list(one.parameters())) for out, one in ((y, analog), (expected, model))]
    for one, other in zip(*grads, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-9)


def test_weights_below_zero_are_refused_where_a_cell_holds_none() -> None:
    model: Any = nn.Sequential(network(), nn.Linear(4, 2).double())
    with torch.no_grad():
        model[1].weight.fill_(-0.25)
    before = [type(module) for module in model.modules()]
    with pytest.raises(ConversionError, match=r"to_analog: 1: weights must be 0 or more for array.mapping.scheme 'unipolar', got -0.25"):
        ns.to_analog(model, profile(UNIPOLAR), seed=0, inplace=True)
    assert [type(module) for module in model.modules()] == before
    clean: Any = ns.to_analog(model, profile(LAYOUTS["pairs"]), seed=0)
    with pytest.raises(ConversionError, match=r"1: weights must be 0 or more for array.mapping.scheme 'unipolar'"):
        ns.override(clean, {"array.mapping.scheme": "unipolar"})
    ns.override(clean, {"array.mapping.scheme": "unipolar"}, layers="0.*")
    analog = ns.to_analog(model, profile(UNIPOLAR), seed=0, overrides={"1": {"array.mapping.scheme": "differential"}})
    x = images(3, 2, 5, 5)
    torch.testing.assert_close(analog(x), model(x), rtol=0, atol=1e-10)
    assert status(ns.to_analog(model, profile(UNIPOLAR), seed=0, skip="1"))["1"] == "digital"
