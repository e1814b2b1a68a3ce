"""Ranges from what arrives."""

from __future__ import annotations

import math
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.analysis.ranges import SIGNALS
from neurosim.analysis.sample import Sample, spread
from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile
from neurosim.hardware.ranges import best_range, percentile_range


def normal(*shape: int, name: str = "x") -> Tensor:
    return ns.random.stream(8, name).normal(shape, like=torch.empty(0))


def chip(model: nn.Module, chain: dict[str, Any], seed: int = 0) -> Any:
    return ns.to_analog(model, Profile("mine", "for a test", "electronic", ChainSpec.model_validate(chain)), seed=seed)


def converter(levels: int = 17, low: float = -1.0, high: float = 1.0, **more: Any) -> dict[str, Any]:
    return {"kind": "quantize", "levels": levels, "low": low, "high": high, **more}


NOISE = {"kind": "noise", "distribution": "gaussian", "scale": 0.3, "scope": "read"}


def rounded(x: Tensor, limit: float, levels: int) -> Tensor:
    step = 2 * limit / (levels - 1)
    return ((x.clamp(-limit, limit) + limit) / step).round() * step - limit


def perceptron() -> Any:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))


def test_every_converter_gets_the_largest_signal_that_the_calibrated_ones_before_it_send() -> None:
    model, x = perceptron(), 3 * normal(40, 6)
    one = chip(model, {"input": {"dac": converter()}, "output": {"adc": converter(9)}})
    report = ns.calibrate(one, [x[:25], x[25:]], method="max")
    first, last = model[0], model[2]
    signal, expected = x, []
    for layer, after in ((first, nn.ReLU()), (last, nn.Identity())):
        limit = float(signal.abs().max())
        product = rounded(signal, limit, 17) @ layer.weight.detach().T
        top = float(product.abs().max())
        expected += [limit, top]
        signal = after(rounded(product, top, 9) + layer.bias.detach())
    assert [row.slot for row in report.ranges] == ["input.dac", "output.adc"] * 2
    assert [row.after[1] for row in report.ranges] == pytest.approx(expected, rel=1e-5)
    assert [row.after[0] for row in report.ranges] == [-row.after[1] for row in report.ranges]
    assert report.samples == 40
    assert (one[0].chain.spec.input.dac.high, one[2].chain.spec.output.adc.high) == (report.ranges[0].after[1], report.ranges[3].after[1])
    torch.testing.assert_close(one(x), signal, rtol=1e-4, atol=1e-4)


def test_the_share_that_is_clipped_is_what_the_percentile_leaves() -> None:
    x = normal(2000, 6)
    one = chip(nn.Sequential(nn.Linear(6, 2)), {"input": {"dac": converter(high=1.0)}})
    (row,) = ns.calibrate(one, x, percentile=95).ranges
    assert row.after[1] == pytest.approx(percentile_range(x, 0.95), rel=1e-6)
    assert row.clipped_after == pytest.approx(0.05, abs=1 / 12000)
    assert row.clipped_before == pytest.approx(float((x.abs() > 1).float().mean()), abs=1e-6)
    assert row.largest == pytest.approx(float(x.abs().max()))


@pytest.mark.parametrize("method", ["l1", "mse"])
def test_the_best_range_is_that_of_the_levels(method: Any) -> None:
    x = normal(500, 6)
    one = chip(nn.Sequential(nn.Linear(6, 2)), {"input": {"dac": converter(7)}})
    (row,) = ns.calibrate(one, x, method=method).ranges
    assert row.after[1] == pytest.approx(best_range(x, 7, method), rel=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(-1.0, 1.0, (-4.0, 4.0)), (0.0, 1.0, (0.0, 3.0)), (-1.0, 0.75, (-4.0, 3.0)), (0.5, 1.0, (2.0, 4.0))],
)
def test_a_range_keeps_its_shape(low: float, high: float, expected: tuple[float, float]) -> None:
    one = chip(nn.Sequential(nn.Linear(3, 2)), {"input": {"dac": converter(8, low, high)}})
    (row,) = ns.calibrate(one, torch.tensor([[3.0, -4.0, 0.5]]), method="max").ranges
    assert row.after == pytest.approx(expected)


def test_a_clamp_right_before_a_converter_that_does_not_clip_is_set_with_it_and_no_other() -> None:
    clamp = {"kind": "clamp", "low": -1.0, "high": 1.0}
    x = torch.tensor([[5.0, -2.0]])
    for clip, expected in (("none", 5.0), ("before", 1.0)):
        one = chip(nn.Sequential(nn.Linear(2, 2)), {"input": {"normalize": clamp, "dac": converter(clip=clip)}})
        (row,) = ns.calibrate(one, x, method="max").ranges
        assert row.after == (-expected, expected)
        path = one[0].chain.spec.input
        assert (path.dac.high, path.normalize.high) == (expected, expected)


def test_learned_ends_are_parameters_that_a_state_dict_keeps() -> None:
    learned = converter(learned=True, grad="lsq")
    one = chip(perceptron(), {"input": {"dac": learned}, "output": {"adc": converter()}})
    report = ns.calibrate(one, 3 * normal(40, 6), method="max", trained_only=True)
    assert [row.slot for row in report.ranges] == ["input.dac"] * 2
    other = chip(perceptron(), {"input": {"dac": learned}, "output": {"adc": converter()}})
    other.load_state_dict(one.state_dict())
    assert float(other[2].chain.input_dac__high.detach()) == pytest.approx(report.ranges[1].after[1])
    assert other[2].chain.spec.input.dac.high == 1.0
    assert ns.calibrate(chip(perceptron(), {"output": {"adc": converter()}}), normal(4, 6), trained_only=True).ranges == ()


@pytest.mark.parametrize("mode", ["constant", "learned", "average"])
@pytest.mark.parametrize("tiles", [None, {"kind": "tiles", "rows": 4}])
def test_scales_are_set_to_what_they_divide(mode: str, tiles: Any) -> None:
    model, x = perceptron(), 3 * normal(40, 6)
    scale = {"kind": "scale", "mode": mode, "value": 0.25} | ({"momentum": 0.1} if mode == "average" else {})
    dac = converter(4097, grad="ste_masked")
    one = chip(model, {"input": {"scale": scale, "dac": dac}, "weight": {"scale": scale}, "array": {"tiles": tiles}})
    report = ns.calibrate(one, x, stages=["*.scale", "input.dac"], method="max")
    assert [row.slot for row in report.ranges] == ["input.scale", "input.dac", "weight.scale"] * 2
    weights = [layer.weight.detach() for layer in (model[0], model[2])]
    hidden = model[:2](x).detach()
    found = [row.after[1] for row in report.ranges]
    expected = [float(x.abs().max()), 1.0, float(weights[0].abs().max()), float(hidden.abs().max()), 1.0, float(weights[1].abs().max())]
    assert found == pytest.approx(expected, rel=5e-3)
    torch.testing.assert_close(one.eval()(x), model(x), rtol=0.01, atol=0.01)


def test_a_scale_that_follows_the_signal_needs_nothing() -> None:
    one = chip(perceptron(), {"input": {"scale": {"kind": "scale"}, "dac": converter()}})
    assert [row.slot for row in ns.calibrate(one, normal(10, 6)).ranges] == ["input.dac"] * 2


def test_neither_noise_nor_the_errors_of_the_chip_change_what_is_found() -> None:
    chain = {
        "input": {"noise": NOISE, "dac": converter()},
        "weight": {"noise": NOISE | {"scope": "device"}},
        "output": {"adc": converter(), "noise": NOISE},
    }
    x = normal(30, 6)
    quiet = {path: {slot: stage for slot, stage in slots.items() if slot != "noise"} for path, slots in chain.items()}
    reports = [ns.calibrate(chip(perceptron(), chain, seed), x) for seed in (0, 1)]
    assert reports[0] == reports[1] == ns.calibrate(chip(perceptron(), quiet), x)


def test_a_layer_that_is_used_twice_has_one_range_for_both_uses() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(4, 4, bias=False)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.layer(10 * self.layer(x))
            return y

    model, x = Twice().requires_grad_(False), normal(20, 4)
    (row,) = ns.calibrate(chip(model, {"input": {"dac": converter(4097)}}), [x, x], method="max").ranges
    assert row.largest == pytest.approx(float((10 * model.layer(x)).abs().max()), rel=1e-6)  # the first use is not clipped when measured
    assert row.after[1] > float(x.abs().max())


def test_convolutions_on_arrays_with_retries_are_measured_as_they_are_sent_first() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1))
    x = normal(4, 2, 5, 5)
    chain = {"input": {"scale": {"kind": "scale", "retries": 2}, "dac": converter(4097)}, "output": {"adc": converter(4097, -0.01, 0.01)}}
    one = chip(model, chain)
    found = ns.calibrate(one, x, stages="output.adc", method="max")
    product = nn.functional.conv2d(x, model[0].weight, padding=1).detach()  # type: ignore[arg-type]  # a convolution's
    assert found.ranges[0].after[1] == pytest.approx(float((product / x.abs().max()).abs().max()), rel=1e-3)
    assert one[0].chain.spec.input.scale.retries == 2


def test_weights_are_measured_where_they_are_asked_for() -> None:
    one = chip(perceptron(), {"weight": {"scale": {"kind": "scale"}, "quantize": converter(17, -3.0, 3.0)}})
    report = ns.calibrate(one, normal(4, 6), stages="weight.quantize", method="max")
    assert [row.after for row in report.ranges] == [(-1.0, 1.0)] * 2


def test_a_layer_without_bias_keeps_the_range_of_biases() -> None:
    last = nn.Linear(8, 3)
    model = nn.Sequential(nn.Linear(6, 8, bias=False), nn.ReLU(), last)
    report = ns.calibrate(chip(model, {"bias": {"quantize": converter()}}), normal(4, 6), stages="*", method="max")
    largest = float(last.bias.detach().abs().max())
    assert [row.after[1] for row in report.ranges] == pytest.approx([1.0, largest])


def test_signals_of_zeros_and_layers_that_nothing_reaches_keep_their_ranges() -> None:
    class Idle(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.idle = nn.Linear(3, 3), nn.Linear(3, 3)

        def forward(self, x: Tensor) -> Tensor:
            y: Tensor = self.used(x)
            return y

    one = chip(Idle(), {"input": {"dac": converter(high=0.5, low=-0.5)}})
    report = ns.calibrate(one, torch.zeros(3, 3))
    assert [(row.layer, row.after, row.note) for row in report.ranges] == [("used", (-0.5, 0.5), "only zeros arrived")]


def test_accuracy_that_a_wrong_range_has_taken_comes_back(trained: Any) -> None:
    """An ADC whose range is 50 times too large has a single level for nearly all outputs."""
    model, train, test = trained
    one = chip(model, {"output": {"adc": converter(65, -300.0, 300.0)}})
    wrong = ns.evaluate(one, test)
    report = ns.calibrate(one, train)
    digital, right = ns.evaluate(model, test), ns.evaluate(one, test)
    assert digital > 0.9
    assert wrong < digital - 0.2
    assert right > digital - 0.02
    assert f"{report}".splitlines()[0] == f"3 ranges set from {sum(len(labels) for _, labels in train)} inputs, by 99.99 %"
    assert f"{report}".splitlines()[2].split()[:4] == ["1", "output.adc", "±300", f"±{report.ranges[0].after[1]:.4g}"]
    assert report.to_dict()["ranges"][0]["layer"] == "1"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "median"}, "calibrate: method: must be one of"),
        ({"percentile": 0}, "calibrate: percentile"),
        ({"percentile": 101}, r"percentile must be in \(0, 100\], got 101"),
        ({"stages": "output.acd"}, "calibrate: stages: 'output.acd' names no stage with a range; did you mean 'output.adc'"),
        ({"layers": "3"}, "names no analog layer"),
        ({"stages": SIGNALS[:1]}, r"no range to set is among the stages \*.scale of these layers"),
        ({"loader": iter([torch.zeros(1, 6)])}, "calibration is read several times, got an iterator"),
        ({"loader": []}, "at least one sample, got none"),
        ({"loader": [torch.tensor([[math.nan] * 6])]}, "must be finite"),
    ],
)
def test_what_does_not_fit_is_refused_and_changes_nothing(options: dict[str, Any], message: str) -> None:
    one = chip(perceptron(), {"input": {"dac": converter()}, "output": {"adc": converter()}})
    before = pickle.dumps(one)
    with pytest.raises(ConfigError, match=message):
        ns.calibrate(one, options.pop("loader", normal(4, 6)), **options)
    assert pickle.dumps(one) == before


def test_every_range_of_hardware_without_one_is_none() -> None:
    """So that one recipe serves every profile."""
    found = ns.calibrate(ns.to_analog(perceptron(), "ideal", seed=0), normal(4, 6), stages="*")
    assert not found.ranges


def test_what_is_kept_of_a_large_tensor_is_from_all_over_it() -> None:
    x = torch.arange(1000)
    kept = spread(x, 100)
    assert len(set(kept.tolist())) == 100
    assert int((torch.bincount(kept // 100, minlength=10) - 10).abs().max()) <= 3
    sample = Sample()
    sample.add(torch.cat([torch.zeros(1 << 17), torch.tensor([-7.0])]))
    assert sample.largest == 7.0
    assert sample.range((-1.0, 1.0), "max", 1.0, None)[0] == (-7.0, 7.0)


def test_converters_behind_split_products_are_calibrated_too() -> None:
    x = normal(20, 300).abs()
    split = {
        "array": {"mapping": {"kind": "mapping", "g_min_siemens": 0.0, "g_max_siemens": 25e-6}, "tiles": {"kind": "tiles", "rows": 128}}
    }
    model = nn.Sequential(nn.Linear(300, 8))
    one = chip(model, split | {"weight": {"scale": {"kind": "scale"}}, "output": {"adc": converter(255, -0.1, 0.1)}})
    (row,) = ns.calibrate(one, x, method="max").ranges
    layer: Any = model[0]
    scaled = layer.weight.detach() / layer.weight.detach().abs().max()
    largest = max(float((part @ weight.T).abs().max()) for part, weight in zip(x.split(100, 1), scaled.split(100, 1), strict=True))
    assert row.after[1] == pytest.approx(largest, rel=1e-5)


def test_one_input_far_beyond_all_others_does_not_set_the_range_of_words() -> None:
    x = normal(2000, 6)
    x[0, 0] = 700.0
    one = chip(nn.Sequential(nn.Linear(6, 2)), {"input": {"dac": {"kind": "fixed_point", "bits": 4, "range": 1.0}}})
    ns.calibrate(one, x, method="l1")
    errors = {2.0**k: float(((x * 8 / 2.0**k).round().clamp(-8, 7) * 2.0**k / 8 - x).abs().mean()) for k in range(-9, 11)}
    assert one[0].chain.spec.input.dac.range == min(errors, key=errors.__getitem__) < 8.0


@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("method", ["max", "percentile", "l1", "mse"])
def test_the_range_of_words_is_a_power_of_two_and_the_report_says_which(method: Any, symmetric: bool) -> None:
    x = 3 * normal(400, 6)
    words = {"kind": "fixed_point", "bits": 4, "range": 1.0, "symmetric": symmetric}
    one = chip(nn.Sequential(nn.Linear(6, 2)), {"input": {"dac": words}})
    (row,) = ns.calibrate(one, x, method=method, percentile=90).ranges
    limit = one[0].chain.spec.input.dac.range
    step = limit / 8
    assert row.after == ((1 - 8 if symmetric else -8) * step, limit - step)
    assert row.clipped_after == float(((x < row.after[0]) | (x > row.after[1])).double().mean())
    harm = {"l1": torch.abs, "mse": torch.square}.get(method)
    if harm is not None:
        lowest = -7 if symmetric else -8
        errors = {2.0**k: float(harm((x * 8 / 2.0**k).round().clamp(lowest, 7) * 2.0**k / 8 - x).mean()) for k in range(-1, 6)}
        assert limit == min(errors, key=errors.__getitem__)
    else:
        needed = float(x.abs().max()) if method == "max" else percentile_range(x, 0.9)
        assert limit - step < 2 * needed
        assert needed <= limit
