"""Scales of weights that training moves, one for each output or input of a matrix."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConversionError
from neurosim.hardware.chain import ChainSpec, describe
from neurosim.hardware.profile import Profile

LEARNED: dict[str, Any] = {"kind": "scale", "mode": "learned", "per": "vector"}
ROUNDED: dict[str, Any] = {"kind": "quantize", "levels": 9, "grad": "ste_masked", "clip": "after"}
NAME = "chain.weight_scale__value"


def profile(scale: dict[str, Any], **more: Any) -> Profile:
    return Profile("made", "for a test", "any", ChainSpec.model_validate({"weight": {"scale": scale, **more}}))


def layer() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, 3, bias=False).double()


def value_of(model: nn.Module, path: str = NAME) -> Tensor:
    return model.get_parameter(path).detach()


def test_a_scale_of_each_output_or_input_starts_at_the_largest_magnitude_it_is_for() -> None:
    digital = layer()
    with torch.no_grad():
        digital.weight[1] = 0
    rows, columns = (digital.weight.detach().abs().amax(axis) for axis in (1, 0))
    by_output = value_of(ns.to_analog(digital, profile(LEARNED), seed=0))
    assert by_output.shape == (1, 3, 1)
    assert by_output.flatten().tolist() == pytest.approx([float(rows[0]), 1.0, float(rows[2])])
    by_input = value_of(ns.to_analog(digital, profile(LEARNED | {"per": "input"}), seed=0))
    assert by_input.shape == (1, 1, 5)
    assert by_input.flatten().tolist() == pytest.approx(columns.tolist())
    assert value_of(ns.to_analog(digital, profile(LEARNED | {"value": 0.5}), seed=0)).flatten().tolist() == [0.5] * 3


@pytest.mark.parametrize(
    ("make", "path", "shape"),
    [
        (lambda: nn.Conv2d(4, 6, 3, groups=2), NAME, (2, 3, 1)),
        (lambda: nn.ConvTranspose1d(4, 2, 3), NAME, (1, 6, 1)),
        (lambda: nn.Embedding(7, 3), NAME, (1, 3, 1)),
        (lambda: nn.GRUCell(3, 2), f"hh.{NAME}", (1, 6, 1)),
        (lambda: nn.MultiheadAttention(4, 2), f"q_proj.{NAME}", (1, 4, 1)),
        (lambda: nn.Linear(3, 2, dtype=torch.complex64), NAME, (1, 2, 1)),
    ],
)
def test_every_layer_has_a_scale_for_each_output(make: Any, path: str, shape: tuple[int, ...]) -> None:
    torch.manual_seed(0)
    model = ns.to_analog(make(), profile(LEARNED), seed=0)
    value = value_of(model, path)
    assert value.shape == shape
    assert bool((value > 0).all())
    assert bool(value.isfinite().all())


def test_the_gradient_of_a_scale_is_the_difference_that_it_makes() -> None:
    """Outputs of a saturating array, which is smooth in its scales."""
    digital, x = layer(), torch.randn(4, 5, dtype=torch.float64)
    for per in ("vector", "input"):
        soft = {"kind": "noise", "distribution": "gaussian", "scale": 0.2, "scope": "device"}  # fixed errors, in full scales
        model: Any = ns.to_analog(digital, profile(LEARNED | {"per": per}, noise=soft), seed=3).double()
        value = model.get_parameter(NAME)
        (got,) = torch.autograd.grad(model(x).square().sum(), value)
        expected = torch.zeros_like(value)
        for at in range(value.numel()):
            with torch.no_grad():
                ends = []
                for step in (1e-5, -1e-5):
                    value.view(-1)[at] += step
                    ends.append(model(x).square().sum())
                    value.view(-1)[at] -= step
                expected.view(-1)[at] = (ends[0] - ends[1]) / 2e-5
        assert float(expected.abs().min()) > 1e-3
        torch.testing.assert_close(got, expected, rtol=1e-6, atol=1e-8)


def test_behind_a_quantiser_the_gradient_is_that_of_a_learned_step_size() -> None:
    r"""∂(ω q)/∂ω is q − w/ω within the range, and the end of the range beyond it (LSQ, equation 3)."""
    model: Any = ns.to_analog(layer(), profile(LEARNED | {"value": 0.3}, quantize=ROUNDED), seed=0)
    x, cotangent = torch.randn(4, 5, dtype=torch.float64), torch.randn(4, 3, dtype=torch.float64)
    (got,) = torch.autograd.grad((model(x) * cotangent).sum(), model.get_parameter(NAME))
    w = model.weight.detach() / 0.3
    inside = w.abs() <= 1
    assert bool(inside.any())
    assert not bool(inside.all())
    slope = torch.where(inside, (w * 4).round() / 4 - w, w.sign())
    torch.testing.assert_close(got.flatten(), ((cotangent.T @ x) * slope).sum(1), rtol=1e-6, atol=1e-6, check_dtype=False)


def test_training_moves_each_scale_by_itself_towards_less_error() -> None:
    digital = layer()
    with torch.no_grad():
        digital.weight[0, 0] *= 6  # one weight far from the others costs its output most of the levels
    model: Any = ns.to_analog(digital, profile(LEARNED, quantize=ROUNDED), seed=0)
    before, value = value_of(model).clone(), model.get_parameter(NAME)
    x = torch.randn(200, 5, dtype=torch.float64)
    optimizer, losses = torch.optim.Adam([value], 2e-3), []
    for _ in range(25):
        loss = (model(x) - digital(x)).square().mean()
        (value.grad,) = torch.autograd.grad(loss, value)
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert len({round(change, 6) for change in (value.detach() - before).flatten().tolist()}) == 3


def test_a_state_dict_keeps_scales_and_a_digital_one_starts_them_anew() -> None:
    model, other = (ns.to_analog(nn.Sequential(nn.Linear(4, 3), nn.GRUCell(3, 2)), profile(LEARNED), seed=0) for _ in range(2))
    with torch.no_grad():
        model.get_parameter(f"0.{NAME}").mul_(0.5)
    other.load_state_dict(model.state_dict())
    assert torch.equal(value_of(other, f"0.{NAME}"), value_of(model, f"0.{NAME}"))
    digital = nn.Sequential(nn.Linear(4, 3), nn.GRUCell(3, 2))
    other.load_state_dict(digital.state_dict())
    fresh = ns.to_analog(digital, profile(LEARNED), seed=0)
    for path in (f"0.{NAME}", f"1.hh.{NAME}"):
        assert torch.equal(value_of(other, path), value_of(fresh, path))
    model.load_state_dict({name: one for name, one in digital.state_dict().items() if name == "0.bias"}, strict=False)
    assert float(value_of(model, f"0.{NAME}").max()) < 0.3  # no weight came: its scales stay


def test_a_scale_that_comes_by_an_override_starts_likewise_and_one_that_fits_stays() -> None:
    model = ns.to_analog(layer(), profile({"kind": "scale"}), seed=0)
    ns.override(model, {"weight.scale": LEARNED})
    assert torch.equal(value_of(model), value_of(ns.to_analog(layer(), profile(LEARNED), seed=0)))
    with torch.no_grad():
        model.get_parameter(NAME).fill_(0.7)
    ns.override(model, {"weight.quantize": ROUNDED})
    assert value_of(model).flatten().tolist() == pytest.approx([0.7] * 3)
    ns.override(model, {"weight.scale.value": 0.5})
    assert value_of(model).flatten().tolist() == [0.5] * 3  # another start is one that was asked for
    ns.override(model, {"weight.scale.value": None})
    ns.override(model, {"weight.scale.per": "input"})
    assert value_of(model).shape == (1, 1, 5)
    assert not bool(value_of(model).isnan().any())


def test_calibration_sets_each_to_the_range_of_its_own_weights() -> None:
    model: Any = ns.to_analog(nn.Sequential(layer()), profile(LEARNED, quantize=ROUNDED), seed=0)
    value, start = model.get_parameter(f"0.{NAME}"), value_of(model, f"0.{NAME}").clone()
    with torch.no_grad():
        value.fill_(9.0)
    report = ns.calibrate(model, torch.rand(8, 5, dtype=torch.float64), method="max", stages="weight.scale")
    torch.testing.assert_close(value.detach(), start)
    assert report.ranges[0].after[1] == pytest.approx(float(start.max()))
    assert report.ranges[0].note.startswith("3 scales, ")
    errors = []
    for method in ("max", "mse"):
        ns.calibrate(model, torch.rand(8, 5, dtype=torch.float64), method=method, stages="weight.scale")
        with torch.no_grad():
            errors.append(float((ns.effective_weight(model[0]).weight - model[0].weight).square().sum()))
    assert errors[1] <= errors[0]


def test_complex_outputs_have_one_scale_for_both_quadratures() -> None:
    torch.manual_seed(0)
    digital, x = nn.Linear(3, 2, bias=False, dtype=torch.complex128), torch.randn(4, 3, dtype=torch.complex128)
    model = ns.to_analog(digital, profile(LEARNED), seed=0)
    numbers = torch.view_as_real(digital.weight.detach()).abs()
    assert value_of(model).flatten().tolist() == pytest.approx(numbers.amax((1, 2)).tolist())
    with torch.no_grad():
        model.get_parameter(NAME).mul_(torch.tensor([[[2.0], [3.0]]]))
    torch.testing.assert_close(model(x), digital(x))


def test_a_chip_and_its_file_and_copies_keep_what_was_learned(tmp_path: Path) -> None:
    noisy = {"kind": "noise", "distribution": "gaussian", "scale": 0.1, "scope": "device"}
    model = ns.to_analog(nn.Sequential(layer()), profile(LEARNED, noise=noisy, quantize=ROUNDED), seed=4)
    with torch.no_grad():
        model.get_parameter(f"0.{NAME}").mul_(0.8)
    x = torch.randn(6, 5, dtype=torch.float64)
    other = ns.to_analog(nn.Sequential(layer()), profile(LEARNED, noise=noisy, quantize=ROUNDED), seed=9)
    ns.load_chip(other, ns.save_chip(model, tmp_path / "device.h5"))
    other.load_state_dict(model.state_dict())
    assert torch.equal(other(x), model(x))
    assert torch.equal(copy.deepcopy(model)(x), model(x))
    together = ns.chips(model, 2, seeds=[4, 5])
    torch.testing.assert_close(together(x)[0], model(x), rtol=0, atol=1e-9)


def test_products_of_signals_have_no_outputs_to_learn_scales_of() -> None:
    attention = nn.Sequential(ns.nn.Matmul())
    with pytest.raises(ConversionError, match=r"0: weight.scale must be learned per 'tensor', or be 'absmax'"):
        ns.to_analog(attention, profile(LEARNED), seed=0, dynamic_products=True)
    model = ns.to_analog(attention, profile({"kind": "scale"}), seed=0, dynamic_products=True)
    with pytest.raises(ConversionError, match="none has a factor of its own to learn"):
        ns.override(model, {"weight.scale": LEARNED})


def test_a_scale_says_in_words_what_it_learns() -> None:
    words = [dict(describe(profile(LEARNED | change).chain))["weight.scale"] for change in ({}, {"per": "input", "value": 0.5})]
    assert words == [
        "scaled by a learned factor of each output, its largest magnitude at first",
        "scaled by a learned factor of each input, 0.5 at first",
    ]
