"""Digital models in number formats, and which of their layers need more bits."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.quantizers import best_limit, channel_limits, fake_quantize, shift_limits


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(4, name).normal(shape, like=torch.empty(0))


def perceptron() -> Any:
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def test_weights_and_inputs_are_those_of_the_format() -> None:
    model, x = perceptron(), normal(9, 6)
    rounded = ns.quantize(model, weights="int4", activations="e2m1")
    signal = x
    for layer, after in ((model[0], nn.ReLU()), (model[2], nn.Identity())):
        weight = fake_quantize(layer.weight, "int4", channel_limits(layer.weight, 0))
        signal = after(F.linear(fake_quantize(signal, "e2m1", signal.detach().abs().amax()), weight, layer.bias))
    torch.testing.assert_close(rounded(x), signal)
    assert torch.equal(model(x), perceptron()(x))  # it is a copy


def test_convolutions_have_a_range_for_each_output_channel_transposed_ones_too() -> None:
    for layer, axis in ((nn.Conv2d(3, 4, 3), 0), (nn.ConvTranspose2d(3, 4, 3), 1)):
        limits = channel_limits(layer.weight, axis)
        ways: dict[Any, Tensor] = {"channel": limits, "shift": shift_limits(limits, 8)}
        for per, limit in ways.items():
            rounded: Any = ns.quantize(layer, weights="int3", per=per)
            torch.testing.assert_close(rounded.weight, fake_quantize(layer.weight, "int3", limit))


def test_ranges_are_those_of_the_calibration_and_the_report_tells() -> None:
    model, x = perceptron(), normal(300, 6)
    rounded: Any = ns.quantize(model, weights="int4", activations="uint4", layers="2", calibration=[(x[:200], None), (x[200:], None)])
    entering = F.relu(model[0](x)).detach()
    (row,) = rounded.quantization.layers
    assert row.path == "2"
    assert row.limit == pytest.approx(best_limit(entering, "uint4"), rel=1e-5)
    assert row.clipped == pytest.approx(float((entering > row.limit).double().mean()), abs=1e-9)
    assert row.weight_sqnr_db == pytest.approx(20.0, abs=6.0)  # 8 numbers a row on 15 levels
    assert str(rounded.quantization).startswith("1 layers: weights int4, activations uint4\n")
    assert rounded.quantization.to_dict()["layers"][0]["path"] == "2"
    assert type(rounded[0]) is nn.Linear


def test_channels_moved_to_the_middle_of_their_ranges_are_rounded_in_finer_steps() -> None:
    layer, x = nn.Conv1d(3, 4, 2), normal(64, 3, 10) + torch.tensor([30.0, -5.0, 0.0]).unsqueeze(1)
    true = layer(x)
    error = []
    for symmetrize in (False, True):
        rounded = ns.quantize(layer, activations="int6", calibration=x, method="max", symmetrize=symmetrize)
        error.append(float((rounded(x) - true).detach().square().mean()))
    assert error[1] < error[0] / 10
    moved: Any = ns.quantize(layer, activations="int6", calibration=x, symmetrize=True)
    offset = moved.input_quantizer.offset
    torch.testing.assert_close(offset.flatten(), (x.amax((0, 2)) + x.amin((0, 2))) / 2)
    # what hardware does: the offset goes into the bias
    inner = copy.deepcopy(moved.input_quantizer)
    inner.offset = None
    bias = layer.bias + (layer.weight * offset).sum((1, 2))
    torch.testing.assert_close(moved(x), F.conv1d(inner(x - offset), layer.weight, bias), rtol=1e-4, atol=1e-4)


def test_a_correction_of_rank_gives_back_what_rounding_took() -> None:
    layer = nn.Linear(6, 5)
    error = []
    for rank in (None, 1, 3, 5):
        rounded: Any = ns.quantize(layer, weights="int2", per="tensor", rank=rank)
        error.append(float((rounded.weight - layer.weight).detach().norm()))
    assert error[0] > error[1] > error[2] > error[3]
    assert error[3] < 1e-5


def test_a_quantised_model_trains_and_its_state_is_kept() -> None:
    model, x = perceptron(), normal(64, 6)
    target = x[:, :3].argmax(1)
    rounded = ns.quantize(model, weights="int4", activations="int4", gradients="int8", calibration=x, learned=True, per="shift")
    optimiser = torch.optim.Adam(rounded.parameters(), lr=0.02)
    losses = []
    for _ in range(60):
        optimiser.zero_grad()
        loss = F.cross_entropy(rounded(x), target)
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.5 * losses[0]
    other = ns.quantize(perceptron(), weights="int4", activations="int4", gradients="int8", calibration=x, learned=True, per="shift")
    other.load_state_dict(rounded.state_dict())
    assert torch.equal(other(x), rounded(x))
    assert torch.equal(copy.deepcopy(rounded)(x), rounded(x))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give at least one of weights, activations and gradients"),
        ({"weights": "int"}, "no number format is named 'int'"),
        ({"weights": "int4", "layers": "5"}, "layers: '5' names no linear layer or convolution"),
        ({"weights": "int4", "per": "row"}, "per: must be one of"),
        ({"activations": "int4", "learned": True}, "give activations and calibration"),
        (
            {"activations": "uint4", "symmetrize": True, "calibration": torch.ones(2, 6)},
            "activations of either sign: give a signed format, got uint4",
        ),
        ({"activations": "int4", "rank": 2}, "rank corrects rounded weights: give weights"),
        ({"weights": "int4", "rank": 9}, r"0: at most 6, the smaller side of its matrix, got 9"),
        ({"gradients": "int8", "activations": "int4", "rounding": "bogus"}, "rounding: must be one of"),
        ({"gradients": "int8", "activations": "int4", "seed": "x"}, "seed: must be a whole number"),
        ({"activations": "int4", "calibration": torch.full((1, 6), float("nan"))}, "must be finite"),
    ],
)
def test_what_makes_no_sense_is_refused_and_changes_nothing(arguments: dict[str, Any], message: str) -> None:
    model = perceptron()
    before = [*model.state_dict()]
    with pytest.raises(ConfigError, match=message):
        ns.quantize(model, inplace=True, **arguments)
    assert [*model.state_dict()] == before


def test_layers_that_are_done_or_on_hardware_are_refused() -> None:
    with pytest.raises(ConfigError, match="0 is quantised already"):
        ns.quantize(ns.quantize(perceptron(), weights="int4"), activations="int4")
    with pytest.raises(ConfigError, match="0 is on simulated hardware: its chain takes a stage of kind number_format"):
        ns.quantize(ns.to_analog(perceptron(), "photonic_avnn", seed=0), weights="int4")
    with pytest.raises(ConfigError, match="the model has no linear layer or convolution"):
        ns.quantize(nn.ReLU(), weights="int4")
    number: Any = 3
    with pytest.raises(ConfigError, match=r"model must be a torch\.nn\.Module, got int"):
        ns.quantize(number, weights="int4")


def test_importance_is_the_slope_of_the_loss_that_finite_differences_see() -> None:
    """By central differences of the loss itself, element by element, around outputs that are moved by the step."""
    model, x, step = perceptron().double(), normal(5, 6).double(), 1e-2
    found = ns.layer_importance(model, x, step=step, signs="same").layers
    reference, given, h = model(x).detach(), model[0](x).detach(), 1e-5
    total = 0.0
    with torch.no_grad():
        for sign in (1, -1):
            for at in range(given.numel()):
                values = []
                for change in (h, -h):
                    moved = given + sign * step
                    moved.view(-1)[at] += change
                    values.append(F.kl_div(model[1:](moved).log_softmax(-1), reference.softmax(-1), reduction="sum"))
                total += abs(float(values[0] - values[1])) / (2 * h)
    assert found["0"] == pytest.approx(total / (2 * given.numel()) / step, rel=1e-5)
    assert found["2"] < 1e-9  # probabilities do not change when all logits grow alike


def test_random_signs_see_the_last_layer_of_a_classifier() -> None:
    """Of two classes with probability ½ the second derivative is ±¼: times signs it is ½ where they differ, and 0 elsewhere."""
    model, n = nn.Linear(3, 2).float(), 2000
    with torch.no_grad():
        model.weight.zero_()
        assert model.bias is not None
        model.bias.zero_()
    (found,) = ns.layer_importance(model, normal(n, 3)).layers.values()
    assert abs(found - 0.25) < 5 * 0.5 * 0.5 / n**0.5
    assert found != pytest.approx(0.25, abs=1e-9)
    assert [*ns.layer_importance(model, normal(n, 3), seed=1).layers.values()] != [found]


def test_importance_of_a_square_is_its_second_derivative_and_ranks_layers() -> None:
    def square(y: Tensor, reference: Tensor) -> Tensor:
        return (y - reference).square().sum()

    model: Any = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2))
    found = ns.layer_importance(model, [normal(4, 2), normal(3, 2)], square, signs="same")
    # y changes by W·δ: the derivative is 2 Wᵀ W 1 δ
    weight = model[1].weight.detach().double()
    assert found.layers == pytest.approx({"0": float((2 * weight.T @ weight @ torch.ones(3).double()).abs().mean()), "1": 2.0}, rel=1e-6)
    assert found.samples == 7
    assert found.ranking() == sorted(found.layers, key=lambda path: -found.layers[path])
    assert str(found).startswith("2 layers, 7 inputs\n")


def test_weights_that_others_read_are_no_layers_of_their_own() -> None:
    model = nn.TransformerEncoderLayer(6, 2, 8, batch_first=True).eval()
    found = ns.layer_importance(model, normal(3, 4, 6))
    assert [*found.layers] == ["linear1", "linear2", "norm1", "norm2"]
    assert found.layers["norm1"] == ns.layer_importance(model, normal(3, 4, 6), layers="norm1").layers["norm1"]


def test_what_has_no_importance_is_refused() -> None:
    model, x = perceptron(), normal(2, 6)
    wrong: dict[str, dict[str, Any]] = {
        "layers: '9' names no module": {"layers": "9"},
        "step: must be a finite number > 0": {"step": 0.0},
    }
    for message, arguments in wrong.items():
        with pytest.raises(ConfigError, match=message):
            ns.layer_importance(model, x, **arguments)
    with pytest.raises(ConfigError, match="the model has no layer with a weight"):
        ns.layer_importance(nn.ReLU(), x)
    model[1].unused = nn.Linear(2, 2)
    with pytest.raises(ConfigError, match=r"1.unused was not used by the model"):
        ns.layer_importance(model, x, layers="1.unused")
    with pytest.raises(ConfigError, match="must give a tensor, gives tuple"):
        ns.layer_importance(nn.Sequential(nn.LSTM(6, 2)), x, layers="0")


class _Named(nn.Module):
    """A layer that is called by keyword, and one that is not called."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 3), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.a(input=x)
        return y


def test_a_layer_called_by_keyword_is_rounded_and_calibrated() -> None:
    model, x = _Named(), normal(9, 6)
    rounded: Any = ns.quantize(model, activations="int4", calibration=x)
    limit = rounded.a.input_quantizer.limit
    torch.testing.assert_close(rounded(x), model.a(fake_quantize(x, "int4", limit)))


def test_a_learned_range_that_no_data_reach_is_refused_before_anything_changes() -> None:
    model = _Named()
    before = [*model.state_dict()]
    with pytest.raises(ConfigError, match="learned: the calibration does not reach b: leave it out with layers"):
        ns.quantize(model, activations="int4", calibration=normal(9, 6), learned=True, inplace=True)
    assert [*model.state_dict()] == before


def test_a_wrapped_model_is_quantised_as_the_one_inside() -> None:
    model, x = perceptron(), normal(9, 6)
    rounded: Any = ns.quantize(nn.DataParallel(model), weights="int4", activations="int4", calibration=x)
    assert [one.path for one in rounded.quantization.layers] == ["0", "2"]
    assert torch.equal(rounded.module(x), ns.quantize(model, weights="int4", activations="int4", calibration=x)(x))


def test_attention_whose_products_cannot_be_rounded_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"products of nn\.MultiheadAttention cannot be rounded"):
        ns.quantize(nn.MultiheadAttention(4, 2), weights="int4", activations="int8")


def test_a_weight_of_zeros_loses_nothing_with_a_correction_either() -> None:
    layer = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    found: Any = ns.quantize(layer, weights="int4", rank=1)
    assert found.quantization.layers[0].weight_sqnr_db == float("inf")


@pytest.mark.parametrize("how", [{}, {"symmetrize": True}, {"method": "joint"}, {"per": "shift", "gradients": "int8"}], ids=str)
def test_a_probe_tells_what_is_clipped_and_which_levels_occur(how: dict[str, Any]) -> None:
    layer, x = nn.Linear(6, 8), normal(40, 6) + 2
    made: Any = ns.quantize(layer, weights="int5", activations="int6", calibration=x, **how)
    found = ns.probe(made, x)
    row, (weights,) = found["input_quantizer"], found[""].stages
    limit, moved = made.input_quantizer.limit, x if made.input_quantizer.offset is None else x - made.input_quantizer.offset
    codes = (fake_quantize(moved, "int6", limit) / limit * 31).round()
    assert row.clipped == pytest.approx(float((moved.abs() > limit).double().mean()), abs=1e-12)
    assert (row.levels_used, row.levels) == (len(codes.unique()), 63)
    rounds = made.parametrizations.weight[0]
    held = rounds.limit if "method" in how else rounds.limits(layer.weight)
    assert (weights.slot, weights.levels) == ("weight.quantizer", 31)
    assert weights.used == len((made.weight / held * 15).round().unique())
    assert weights.clipped == pytest.approx(float((layer.weight.abs() > held).double().mean()), abs=1e-12)
    assert row.clipped == pytest.approx(made.quantization.layers[0].clipped, abs=1e-12)


def test_zeros_that_rounding_makes_cause_no_operations() -> None:
    model, x = perceptron(), normal(50, 6)
    made: Any = ns.quantize(model, activations="int3", calibration=x)
    zeros = int((made[0].input_quantizer(x) == 0).sum())
    assert zeros > 0
    assert ns.synops(made, x).layers[0].operations == pytest.approx(8 * (x.numel() - zeros) / 50)
