"""Limits of weights and inputs that are chosen together, for what the layer gives."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.quantizers import fake_quantize


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(4, name).normal(shape, like=torch.empty(0))


def sqnr_db(layer: nn.Module, x: Tensor, **how: Any) -> float:
    """Of the outputs of a layer that is quantised, on its calibration."""
    with torch.no_grad():
        true = layer(x).double()
        error = ns.quantize(layer, calibration=x, **how)(x).double() - true
    return float(10 * torch.log10(true.square().sum() / error.square().sum()))


LAYERS: dict[str, tuple[Any, tuple[int, ...]]] = {
    "linear": (lambda: nn.Linear(24, 10), (200, 24)),
    "tokens": (lambda: nn.Linear(8, 6), (20, 5, 8)),
    "conv": (lambda: nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), (12, 4, 9, 9)),
    "transposed": (lambda: nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2), (12, 4, 9)),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("how", [{}, {"per": "tensor"}, {"symmetrize": True}, {"weights": "e2m1", "activations": "uint4"}], ids=str)
def test_together_is_never_worse_than_each_for_itself_and_the_report_tells(name: str, how: dict[str, Any]) -> None:
    torch.manual_seed(5)
    layer, shape = LAYERS[name][0](), LAYERS[name][1]
    x = normal(*shape).exp() if "activations" in how else normal(*shape) ** 3
    formats = {"weights": "int4", "activations": "int4"} | how
    separate, together = (sqnr_db(layer, x, method=method, **formats) for method in ("mse", "joint"))
    assert together > separate
    made: Any = ns.quantize(layer, calibration=x, method="joint", **formats)
    (row,) = made.quantization.layers
    assert row.separate_sqnr_db == pytest.approx(separate, abs=1e-3)
    assert row.output_sqnr_db == pytest.approx(together, abs=1e-3)


def test_an_input_that_is_a_hundred_times_as_large_and_counts_no_more_than_others_ruins_separate_limits_alone() -> None:
    """With one limit, int8 has 127 steps for the large input and one for all others; with factors every input has 127."""
    torch.manual_seed(0)
    layer, x = nn.Linear(32, 16), normal(500, 32)
    x[:, 3] *= 100
    with torch.no_grad():
        layer.weight[:, 3] /= 100
    separate, together = (sqnr_db(layer, x, weights="int8", activations="int8", method=method) for method in ("mse", "joint"))
    assert separate < 20
    assert together > separate + 15


def test_an_outlier_that_meets_no_weight_is_clipped() -> None:
    torch.manual_seed(0)
    layer, x = nn.Linear(32, 16), normal(500, 32)
    x[:, 3] = 1000.0 * (normal(500, name="sign") > 0)
    with torch.no_grad():
        layer.weight[:, 3] = 0
    separate, together = (sqnr_db(layer, x, weights="int8", activations="int4", method=method) for method in ("mse", "joint"))
    assert separate < 1
    assert together > 15


@pytest.mark.parametrize("name", LAYERS)
def test_codes_are_multiplied_and_scaled_once_for_each_output(name: str) -> None:
    """The limit of a weight times that of its input is the same for all inputs of an output."""
    torch.manual_seed(5)
    layer, shape = LAYERS[name][0](), LAYERS[name][1]
    x = normal(*shape)
    x.transpose(-1 if isinstance(layer, nn.Linear) else 1, 0)[0] *= 50  # so that factors are worth having
    made: Any = ns.quantize(layer, weights="int8", activations="int8", method="joint", calibration=x)
    limits = made.parametrizations.weight[0].limit.detach().expand_as(layer.weight)
    inputs = made.input_quantizer.limit.flatten()
    assert len(inputs) == shape[-1 if isinstance(layer, nn.Linear) else 1]
    axis, groups = (0 if isinstance(layer, nn.ConvTranspose1d) else 1), getattr(layer, "groups", 1)
    if axis == 0:
        products = limits * inputs.reshape(-1, 1, 1)
    else:
        grouped = inputs.reshape(groups, -1).repeat_interleave(len(limits) // groups, 0)
        products = limits * grouped.reshape(*grouped.shape, *(1,) * (limits.dim() - 2))
    torch.testing.assert_close(products, products.narrow(axis, 0, 1).expand_as(products))


def test_a_fine_grid_of_all_pairs_of_limits_finds_hardly_anything_better() -> None:
    layer = nn.Linear(3, 1, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[1.0, -0.62, 0.55]]))
    x = normal(400, 3)
    found = sqnr_db(layer, x, weights="int2", activations="int4", method="joint")
    best, true = -math.inf, layer(x).detach()
    for one in torch.linspace(0.3, 1.2, 40).tolist():
        weight = fake_quantize(layer.weight.detach(), "int2", one)
        for other in torch.linspace(0.5, 4.0, 80).tolist():
            error = fake_quantize(x, "int4", other) @ weight.T - true
            best = max(best, float(10 * torch.log10(true.square().sum() / error.square().sum())))
    assert found > best - 0.2
    assert best > sqnr_db(layer, x, weights="int2", activations="int4", method="mse") + 1


def test_models_are_calibrated_layer_by_layer_and_keep_their_limits() -> None:
    torch.manual_seed(2)
    model, x = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), normal(300, 6)
    made: Any = ns.quantize(model, weights="int4", activations="int4", method="joint", calibration=[(x[:200], None), (x[200:], None)])
    head, columns, *rows = str(made.quantization).splitlines()
    assert head == "2 layers: weights int4, activations int4"
    assert columns.split() == ["layer", "weights", "limit", "clipped", "inputs", "outputs", "separately"]
    assert len(rows) == 2
    other: Any = ns.quantize(model, weights="int4", activations="int4", method="joint", calibration=x)
    other.load_state_dict(made.state_dict())
    assert torch.equal(other(x), made(x))
    made(x).square().sum().backward()
    assert made[0].parametrizations.weight.original.grad.abs().sum() > 0
    # what enters the second layer is that of the model before it is quantised
    entering = model[1](model[0](x)).detach()
    alone: Any = ns.quantize(model[2], weights="int4", activations="int4", method="joint", calibration=entering)
    assert alone.quantization.layers[0].output_sqnr_db == pytest.approx(made.quantization.layers[1].output_sqnr_db, rel=1e-4)


def test_nothing_is_gained_where_nothing_arrives_or_nothing_is_weighed() -> None:
    layer: Any = nn.Linear(3, 2)
    nn.init.zeros_(layer.weight)
    for x in (torch.zeros(4, 3), normal(4, 3)):
        made: Any = ns.quantize(layer, weights="int4", activations="int4", method="joint", calibration=x)
        assert torch.equal(made(x), layer(x))
        assert made.quantization.layers[0].output_sqnr_db == math.inf


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weights": None}, "give weights, activations and calibration"),
        ({"activations": None}, "give weights, activations and calibration"),
        ({"calibration": None}, "give weights, activations and calibration"),
        ({"learned": True}, "neither with learned nor with rank"),
        ({"rank": 1}, "neither with learned nor with rank"),
        ({"per": "shift"}, "goes with per 'channel' or 'tensor'"),
    ],
)
def test_what_does_not_go_together_is_refused(arguments: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"weights": "int4", "activations": "int4", "calibration": normal(9, 3), "method": "joint"} | arguments
    with pytest.raises(ConfigError, match=message):
        ns.quantize(nn.Linear(3, 3), **given)


def test_inputs_of_several_sizes_and_layers_without_any_have_limits() -> None:
    torch.manual_seed(0)
    images = [torch.randn(2, 3, 8, 8), torch.randn(2, 3, 10, 10) * torch.tensor([1.0, 100.0, 1.0]).reshape(3, 1, 1)]
    found: Any = ns.quantize(nn.Sequential(nn.Conv2d(3, 4, 3)), weights="int4", activations="int8", calibration=images, method="joint")
    report = found.quantization.layers[0]
    assert report.input_sqnr_db > 30
    assert report.output_sqnr_db >= report.separate_sqnr_db

    class Never(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.cat([self.used(x), self.idle(x[:0])])

    for symmetrize in (False, True):
        settings: Any = {"weights": "int4", "activations": "int8", "calibration": torch.randn(8, 4), "symmetrize": symmetrize}
        assert ns.quantize(Never(), method="joint", **settings)(torch.randn(2, 4)).shape == (2, 3)
