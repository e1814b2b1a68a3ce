"""Inputs of layers about 0 and in one range."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn import Recentred
from neurosim.random import stream


def drawn(name: str, *shape: int) -> Tensor:
    return stream(9, name).normal(shape, like=torch.empty(0, dtype=torch.float64))


def perceptron() -> nn.Sequential:
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 8, bias=False), nn.GELU(), nn.Linear(8, 3))


def convolutions() -> nn.Sequential:
    first = [nn.Conv2d(2, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, groups=2, stride=2), nn.SiLU()]
    return nn.Sequential(*first, nn.ConvTranspose2d(4, 6, 2, groups=2), nn.ReLU(), nn.Conv2d(6, 2, 3, padding=1, padding_mode="reflect"))


NETWORKS: dict[str, tuple[Callable[[], nn.Sequential], tuple[int, ...], list[str]]] = {
    "perceptron": (perceptron, (30, 6), ["0", "2", "4"]),
    "convolutions": (convolutions, (8, 2, 9, 9), ["2", "6"]),
}


def made(name: str) -> tuple[nn.Sequential, Tensor, list[str]]:
    make, shape, centred = NETWORKS[name]
    torch.manual_seed(0)
    return make().double().eval(), drawn("x", *shape) + 0.5, centred


@pytest.mark.parametrize("scale", ["none", "range", "power_of_two"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_network_computes_the_same(name: str, scale: Any) -> None:
    model, x, centred = made(name)
    found: Any = ns.recentre(model, x, scale=scale)
    torch.testing.assert_close(found(x), model(x), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(found(2 * x - 1), model(2 * x - 1), rtol=1e-10, atol=1e-12)  # on other inputs too
    assert [one.layer for one in found.recentring.layers if not one.reason] == centred
    changed = [one.layer for one in found.recentring.layers if one.status == "recentred"]
    if scale == "power_of_two":
        assert set(changed) >= set(centred)
    else:
        assert changed == (centred if scale == "none" else [one.layer for one in found.recentring.layers])
    assert [path for path, module in found.named_modules() if isinstance(module, Recentred)] == changed


def test_a_layer_whose_inputs_would_not_change_gets_nothing_in_front_of_it() -> None:
    model = nn.Sequential(nn.Linear(2, 3), nn.Tanh()).double()
    x = torch.tensor([[1.0, -2.0], [-1.0, 2.0]], dtype=torch.float64)
    found: Any = ns.recentre(model, x)
    assert isinstance(found[0], nn.Linear)
    assert [(one.status, one.reason, one.after) for one in found.recentring.layers] == [("left", "its inputs are so already", 2.0)]
    assert "0 of 1 layers recentred" in str(found.recentring)


@pytest.mark.parametrize("name", NETWORKS)
def test_inputs_arrive_about_0_and_all_channels_reach_the_ends(name: str) -> None:
    model, x, centred = made(name)
    found: Any = ns.recentre(model, x, scale="range")
    seen: dict[str, Tensor] = {}
    for path, module in found.named_modules():
        if isinstance(module, Recentred):
            module.layer.register_forward_pre_hook(lambda layer, args, path=path: seen.__setitem__(path, args[0].detach()))
    found(x)
    for one in found.recentring.layers:
        wrapped = found.get_submodule(one.layer)
        channels = seen[one.layer].movedim(-1 - wrapped.axes, 0).flatten(1)
        high, low = channels.amax(1), channels.amin(1)
        live = high > low  # behind a ReLU some are always 0
        assert int(live.sum()) > 1
        high, low = high[live], low[live]
        limit = torch.full_like(high, one.after)
        torch.testing.assert_close(torch.maximum(high, -low), limit)
        if one.layer in centred:
            torch.testing.assert_close(high, limit)
            torch.testing.assert_close(low, -limit)
        assert one.balance == pytest.approx(1.0)


def test_gains_that_are_powers_of_two_are_exact_in_binary_numbers() -> None:
    model, x, _ = made("perceptron")
    x = x * torch.tensor([1.0, 0.3, 0.1, 1.0, 2.0, 0.05])  # ranges that differ
    found: Any = ns.recentre(model, x, shift=False, scale="power_of_two")
    assert torch.equal(found(x), model(x))
    scale = found[0].scale
    assert torch.equal(scale.log2(), scale.log2().round())
    reach = x.abs().amax(0) / scale
    assert bool((reach <= x.abs().amax()).all())  # none is clipped by the range of the layer
    assert bool((reach > x.abs().amax() / 2).all())  # and each needs its upper half


def test_the_offset_is_the_middle_and_goes_into_the_bias() -> None:
    layer = nn.Sequential(nn.Linear(2, 1)).double()
    x = torch.tensor([[1.0, -2.0], [5.0, -8.0]], dtype=torch.float64)
    found: Any = ns.recentre(layer, x)
    assert found[0].offset.tolist() == [3.0, -5.0]
    moved = found[0].layer.bias - layer[0].bias
    torch.testing.assert_close(moved, layer[0].weight @ found[0].offset)


def test_a_converter_wastes_no_levels_on_what_a_relu_never_gives() -> None:
    """Of 31 levels on ±r, inputs in 0 … r use 16; centred they use all, so that steps and error are half as long."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(64, 32, bias=False))
    x = torch.rand(256, 64)
    dac: Any = {"dac": {"kind": "number_format", "format": "int5"}}
    chain = ns.ChainSpec(input=dac)
    converter = ns.Profile("converter", "nothing but a converter of inputs", "electronic", chain)
    errors = []
    for one in (model, ns.recentre(model, x)):
        chip = ns.to_analog(one, converter, seed=0)
        ns.calibrate(chip, x, stages="input.dac", method="max")
        errors.append(float((chip(x) - model(x)).detach().square().mean().sqrt()))
    assert errors[1] == pytest.approx(errors[0] / 2, rel=0.05)


def test_a_chip_is_recentred_by_its_clean_weights() -> None:
    model, x, _ = made("perceptron")
    chip: Any = ns.to_analog(model, "photonic_avnn", seed=0)
    found = ns.recentre(chip, x, scale="range")
    with ns.noise("ideal", found):
        torch.testing.assert_close(found(x), model(x), rtol=1e-10, atol=1e-12)


def test_a_layer_that_stands_in_two_places_has_one_offset() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(4, 4).double()
    model = nn.Sequential(layer, nn.ReLU(), layer)
    x = drawn("x", 20, 4)
    found: Any = ns.recentre(model, x, scale="range")
    assert found[0] is found[2]
    torch.testing.assert_close(found(x), model(x), rtol=1e-10, atol=1e-12)


def wrong(**settings: Any) -> dict[str, Any]:
    """Settings that no type checker lets pass."""
    return settings


def test_weights_that_others_use_too_are_left() -> None:
    first, second, x = nn.Linear(4, 4).double(), nn.Linear(4, 4).double(), drawn("x", 20, 4)
    second.weight = first.weight
    model = nn.Sequential(first, nn.ReLU(), second, nn.Linear(4, 2).double())
    found: Any = ns.recentre(model, x, scale="range")
    assert [one.status for one in found.recentring.layers] == ["left", "left", "recentred"]
    torch.testing.assert_close(found(x), model(x), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, x: ns.recentre(model, x, **wrong(scale="pow2")), "recentre: scale: must be one of"),
        (lambda model, x: ns.recentre(model, x, **wrong(shift=1)), "recentre: shift: must be true or false"),
        (lambda model, x: ns.recentre(nn.ReLU(), x), "must have a linear layer or a convolution"),
        (lambda model, x: ns.recentre(ns.recentre(model, x), x), "0.layer is recentred already"),
        (lambda model, x: ns.recentre(model[0], x, inplace=True), "cannot be changed in place"),
        (lambda model, x: ns.recentre(model, x, layers="c"), "recentre: layers: 'c' names no layer"),
        (lambda model, x: ns.recentre(model, []), "must hold at least one sample"),
    ],
)
def test_what_cannot_be_is_refused(call: Callable[[nn.Sequential, Tensor], object], message: str) -> None:
    model, x, _ = made("perceptron")
    with pytest.raises(ConfigError, match=message):
        call(model, x)


def test_a_single_layer_comes_back_wrapped() -> None:
    layer, x = nn.Linear(3, 2).double(), drawn("x", 9, 3)
    found: Any = ns.recentre(layer, x)
    assert isinstance(found, Recentred)
    torch.testing.assert_close(found(x), layer(x))
    assert "recentred" in str(found.recentring)
