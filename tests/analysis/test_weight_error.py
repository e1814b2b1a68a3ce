"""What a chip really holds, and biases that take its mean back."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.activations import activation
from neurosim.analysis import bias_correction, rectified_mean
from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile

FROZEN = {"kind": "noise", "distribution": "gaussian", "scale": 0.2, "scope": "device"}
READ = {"kind": "noise", "distribution": "gaussian", "scale": 0.2, "scope": "read"}
SCALE = {"kind": "scale"}
PAIRS = {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6, "levels": 33}
ARRAYS: dict[str, dict[str, Any]] = {
    "elementwise": {"weight": {"noise": FROZEN}},
    "scaled": {"input": {"scale": SCALE}, "weight": {"scale": {"kind": "scale", "per": "vector"}, "noise": FROZEN}},
    "pairs on tiles": {"weight": {"scale": SCALE, "noise": FROZEN}, "array": {"mapping": PAIRS, "tiles": {"kind": "tiles", "rows": 7}}},
    "an offset column": {
        "weight": {"scale": SCALE, "noise": FROZEN},
        "array": {"mapping": PAIRS | {"scheme": "offset", "correction": "column"}},
    },
    "an offset": {"weight": {"scale": SCALE, "noise": FROZEN}, "array": {"mapping": PAIRS | {"scheme": "offset"}}},
    "slices": {
        "input": {"scale": SCALE, "slices": {"kind": "slices", "bits": 8, "slice_bits": 4}},
        "weight": {"scale": SCALE, "noise": FROZEN},
    },
}
LAYERS: dict[str, Any] = {
    "linear": (lambda: nn.Linear(20, 6), (5, 20)),
    "conv2d": (lambda: nn.Conv2d(4, 6, 3, padding=1, groups=2), (5, 4, 6, 6)),
    "transposed": (lambda: nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (5, 4, 5, 5)),
}


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(5, name).normal(shape, like=torch.empty(0))


def chip(model: nn.Module, chain: dict[str, Any], seed: int = 0) -> Any:
    return ns.to_analog(model, Profile("mine", "for a test", "electronic", ChainSpec.model_validate(chain)), seed=seed)


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("kind", LAYERS)
def test_the_digital_layer_with_the_weights_that_were_measured_computes_what_the_chip_does(kind: str, array: str) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    digital = make().requires_grad_(False)
    one = chip(nn.Sequential(digital), {key: dict(value) for key, value in ARRAYS[array].items()})
    if array == "slices":
        ns.override(one, {"input.slices": None})  # rounding of inputs is no property of the weights
    held = ns.effective_weight(one[0])
    assert float((held.weight - digital.weight).abs().max()) > 0.02  # there is an error
    x = normal(*shape)
    expected = one(x)
    digital.weight.copy_(held.weight)
    torch.testing.assert_close(digital(x), expected, rtol=1e-4, atol=1e-4)


def test_noise_that_is_new_at_every_read_is_no_part_of_it_and_converters_are_not() -> None:
    torch.manual_seed(0)
    model: Any = nn.Sequential(nn.Linear(8, 4))
    converters = {"kind": "quantize", "levels": 3}
    noisy = {"input": {"dac": converters, "noise": READ}, "weight": {"noise": READ}, "output": {"noise": READ, "adc": converters}}
    one = chip(model, noisy)
    held = ns.effective_weight(one[0])
    torch.testing.assert_close(held.weight, model[0].weight.detach(), rtol=0, atol=0)
    assert held.bias is not None
    assert set(one[0].chain.modes.values()) == {"fresh"}


def test_drift_and_another_chip_are_seen() -> None:
    one = chip(nn.Sequential(nn.Linear(8, 4)), {"weight": {"noise": FROZEN}})
    first = ns.effective_weight(one[0]).weight
    ns.program(one, 1)
    second = ns.effective_weight(one[0]).weight
    ns.program(one, 0)
    assert not torch.equal(first, second)
    assert torch.equal(first, ns.effective_weight(one[0]).weight)
    with ns.noise("ideal", one):
        assert torch.equal(ns.effective_weight(one[0]).weight, one[0].weight)


@pytest.mark.parametrize("kind", LAYERS)
def test_corrected_biases_give_every_channel_the_mean_of_the_digital_layer(kind: str) -> None:
    make, shape = LAYERS[kind]
    torch.manual_seed(0)
    model = nn.Sequential(make())
    one = chip(model, ARRAYS["scaled"])
    data = [normal(*shape) + 1, normal(*shape, name="y")]
    found = ns.correct_bias(one, data)
    x = torch.cat(data)
    wrong, right, wanted = (net(x).detach().movedim(1, -1).flatten(0, -2).mean(0) for net in (one, found, model))
    assert float((wrong - wanted).abs().max()) > 100 * float((right - wanted).abs().max())
    torch.testing.assert_close(right, wanted, rtol=1e-4, atol=1e-4)


def test_a_bias_that_the_hardware_holds_is_corrected_for_its_own_error() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4))
    one = chip(model, {"weight": {"noise": FROZEN}, "bias": {"noise": FROZEN}})
    x = normal(50, 8)
    torch.testing.assert_close(ns.correct_bias(one, x)(x).mean(0), model(x).mean(0), rtol=1e-4, atol=1e-4)


def test_layers_without_bias_get_one_and_the_model_is_a_copy_unless_it_is_changed_in_place() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 4, bias=False))
    one = chip(model, {"weight": {"noise": FROZEN}})
    before, x = pickle.dumps(one), normal(50, 8)
    found: Any = ns.correct_bias(one, [x])
    assert pickle.dumps(one) == before
    torch.testing.assert_close(found(x).mean(0), model(x).mean(0), rtol=1e-4, atol=1e-4)
    assert ns.correct_bias(one, [x], inplace=True) is one
    torch.testing.assert_close(one[0].bias, found[0].bias, rtol=0, atol=0)


def test_the_mean_of_a_rectified_normal_is_that_of_its_integral() -> None:
    z = torch.linspace(-12, 12, 200001, dtype=torch.float64)
    density = torch.exp(-z.square() / 2) / math.sqrt(2 * math.pi)
    for mean, std in ((0.3, 0.7), (-1.0, 2.0), (4.0, 0.5), (-3.0, 1.0)):
        integral = torch.trapezoid((mean + std * z).clamp(min=0) * density, z)
        found = rectified_mean(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64))
        assert float(found) == pytest.approx(float(integral), rel=1e-7, abs=1e-10)
        for ceiling in (0.5, 6.0):
            integral = torch.trapezoid((mean + std * z).clamp(0, ceiling) * density, z)
            found = rectified_mean(torch.tensor(mean, dtype=torch.float64), torch.tensor(std, dtype=torch.float64), ceiling)
            assert float(found) == pytest.approx(float(integral), rel=1e-7, abs=1e-10)


@pytest.mark.parametrize(
    ("rectifier", "ceiling"),
    [
        (nn.ReLU6(), 6.0),
        (nn.Hardtanh(0.0, 1.0), 1.0),
        (activation({"kind": "relu_n", "n": 0.5}), 0.5),
        (activation({"kind": "relu_n", "n": 0.75, "learn": True}), 0.75),
    ],
)
def test_without_data_a_rectifier_with_a_ceiling_is_counted_with_it(rectifier: nn.Module, ceiling: float) -> None:
    """For normal inputs of the norm, which it says they are, the mean output is that of the digital model."""
    torch.manual_seed(0)
    norm = nn.BatchNorm1d(8)
    norm.bias.detach().copy_(1 + normal(8, name="bias"))
    model = nn.Sequential(norm, rectifier, nn.Linear(8, 4)).eval()
    one = chip(model, {"weight": {"noise": FROZEN}})
    found: Any = ns.correct_bias(one)
    assert found.bias_correction.layers[0].status == "corrected"
    x = normal(100_000, 8)
    x = (x - x.mean(0)) / x.std(0)
    wrong, right, wanted = (net(x).detach().mean(0) for net in (one, found, model))
    # an error of the weights times that of a mean of 1e5 numbers within 0 … c
    bound = 5 * ceiling / 2 / math.sqrt(1e5) * float((ns.effective_weight(one[2]).weight - one[2].weight.detach()).abs().sum(1).max())
    assert float((right - wanted).abs().max()) < bound < float((wrong - wanted).abs().max())


@pytest.mark.parametrize(
    ("between", "behind", "status"),
    [
        (nn.Identity(), nn.AvgPool2d(2), "corrected"),
        (nn.Dropout2d(), nn.AvgPool2d(2), "corrected"),
        (nn.AvgPool2d(2), nn.Identity(), "left"),  # the mean of four is no normal number with the spread of one
        (nn.AdaptiveAvgPool2d(2), nn.Identity(), "left"),
        (nn.Identity(), nn.AvgPool2d(3, padding=1), "left"),
        (nn.Identity(), nn.AvgPool2d(2, divisor_override=1), "left"),
        (nn.Identity(), nn.MaxPool2d(2), "left"),
    ],
)
def test_without_data_only_what_is_sure_to_keep_the_statistics_of_a_norm_may_stand_behind_it(
    between: nn.Module, behind: nn.Module, status: str
) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(3), between, nn.ReLU(), behind, nn.Conv2d(3, 2, 1)).eval()
    one = chip(model, {"weight": {"noise": FROZEN}})
    x = torch.randn(60_000, 3, 4, 4) * one[0].weight.detach().reshape(3, 1, 1) + one[0].bias.detach().reshape(3, 1, 1)
    found: Any = ns.correct_bias(one)
    assert found.bias_correction.layers[0].status == status
    if status == "corrected":
        right, wanted = (net(x).detach().mean((0, 2, 3)) for net in (found, model))
        torch.testing.assert_close(right, wanted, rtol=0, atol=2e-3)


def test_without_data_the_statistics_of_norms_say_what_the_mean_input_is() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2), nn.Dropout()),
        *(nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)),
    )
    for at in (1, 6):
        model.get_parameter(f"{at}.bias").detach().copy_(normal(4 if at == 1 else 6, name=str(at)))
    one = chip(model.eval(), {"weight": {"noise": FROZEN}})
    found: Any = ns.correct_bias(one)
    norm: Any = model[1]
    mean = rectified_mean(norm.bias.detach(), norm.weight.detach())
    conv: Any = one[5]
    error = ns.effective_weight(conv).weight - conv.weight.detach()
    by_hand = -torch.stack([(error[o].sum((1, 2)) * mean[2 * (o // 3) : 2 * (o // 3) + 2]).sum() for o in range(6)])
    torch.testing.assert_close(found[5].bias - conv.bias, by_hand, rtol=1e-4, atol=1e-5)
    constant = rectified_mean(model[6].bias.detach(), model[6].weight.detach()).repeat_interleave(4)  # type: ignore[arg-type, operator]  # a norm's
    error = ns.effective_weight(one[9]).weight - one[9].weight.detach()
    torch.testing.assert_close(found[9].bias - one[9].bias, bias_correction(error[None], constant[None]), rtol=1e-4, atol=1e-5)
    report = found.bias_correction
    assert [(row.layer, row.status) for row in report.layers] == [("0", "left"), ("5", "corrected"), ("9", "corrected")]
    assert str(report).splitlines()[0] == "biases of 2 layers corrected, 1 left"
    assert report.to_dict()["layers"][0]["reason"] == "no batch norm and ReLU are certain to come before it"


def test_a_transposed_convolution_behind_a_norm_is_corrected_for_its_overlaps() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.ConvTranspose2d(4, 6, 4, stride=2, groups=2)).eval()
    one = chip(model, {"weight": {"noise": FROZEN}})
    found: Any = ns.correct_bias(one)
    x = torch.full((1, 4, 40, 40), float(rectified_mean(torch.zeros(()), torch.ones(()))))
    inner = (slice(None), slice(None), slice(4, -4), slice(4, -4))  # where windows overlap as everywhere
    means = [net[2](x)[inner].mean((0, 2, 3)) for net in (found, model)]
    torch.testing.assert_close(*means, rtol=1e-4, atol=1e-4)


def test_accuracy_that_a_shift_of_all_weights_has_taken_comes_back(trained: Any) -> None:
    """Every weight is too large by 0.08: since inputs are never negative, that is above all a shift of every output."""
    model, train, test = trained
    one = chip(model, {"weight": {"noise": FROZEN | {"scale": 0.0}}})
    shifted = {"kind": "clamp", "low": -0.08, "high": 9.0}  # weights below are held at -0.08: an error with a mean
    ns.override(one, {"weight.normalize": shifted})
    digital, lost, back = (ns.evaluate(net, test) for net in (model, one, ns.correct_bias(one, train)))
    assert lost < digital - 0.1
    assert back > lost + 0.5 * (digital - lost)


@pytest.mark.parametrize(
    ("model", "loader", "message"),
    [
        (nn.Linear(2, 2), torch.zeros(1, 2), "no layer on simulated hardware"),
        (chip(nn.Sequential(nn.Linear(2, 2)), ARRAYS["scaled"]), [], "at least one sample"),
        (chip(nn.Sequential(nn.Conv1d(1, 1, 2)), ARRAYS["scaled"]), [torch.zeros(1, 1, 4), torch.zeros(1, 1, 5)], "must have one shape"),
    ],
)
def test_what_cannot_be_corrected_is_refused(model: nn.Module, loader: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        ns.correct_bias(model, loader)
