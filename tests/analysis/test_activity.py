"""How much the neurons of a model fire."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
import torch
from scipy.stats import ttest_1samp
from torch import Tensor, nn

import neurosim as ns
from neurosim import analysis


def uniform(shape: tuple[int, ...], name: str = "x") -> Tensor:
    return ns.random.stream(3, name).uniform(shape, like=torch.empty(0))


def network() -> ns.nn.SpikingSequential:
    net = ns.nn.SpikingSequential(
        ns.LIF(5e-3, 1e-3, v_threshold=torch.linspace(0.01, 4, 11)),
        nn.Dropout(0.5),
        nn.Linear(11, 9),
        ns.LIF(5e-3, 1e-3),
        ns.LI(5e-3, 1e-3),
    )
    nn.init.constant_(net[2].weight, 0.2)
    nn.init.zeros_(net[2].bias)
    return net


X = uniform((30, 8, 11))


def test_a_summary_says_what_the_recording_says() -> None:
    net = network()
    found = ns.activity(net, X)
    assert net.training
    with ns.record(net.eval()) as recording:
        net(X)
    assert [layer.path for layer in found.layers] == ["0", "3"]
    assert found.samples == 8
    for layer in found.layers:
        spikes = recording[layer.path].spikes
        assert (layer.type, layer.dt, layer.units) == ("LIF", 1e-3, spikes[0, 0].numel())
        torch.testing.assert_close(layer.rates, analysis.firing_rates(spikes))
        assert layer.rate_hz == pytest.approx(float(analysis.firing_rates(spikes, 1e-3).mean()))
        assert layer.dead == pytest.approx(float(analysis.dead_units(spikes).double().mean()))
        assert layer.saturated == pytest.approx(float(analysis.saturated_units(spikes).double().mean()))
        assert layer.spikes_per_sample == pytest.approx(float(spikes.sum()) / 8)
        expected = ttest_1samp(spikes.mean((0, 2)).double().numpy(), 0).confidence_interval(0.95)
        assert (layer.rate.low, layer.rate.high) == pytest.approx((expected.low, expected.high))
    assert found.layers[0].dead > 0
    assert found.layers[0].saturated > 0
    assert found.spikes_per_sample == pytest.approx(sum(layer.spikes_per_sample for layer in found.layers))


@pytest.mark.parametrize("cut", [[8], [3, 5], [1] * 8])
def test_samples_may_come_in_batches_of_any_size(cut: list[int]) -> None:
    whole = ns.activity(network(), X)
    parts = ns.activity(network(), [(part, "label") for part in X.split(cut, 1)])
    assert str(parts) == str(whole)
    for one, other in zip(whole.layers, parts.layers, strict=True):
        torch.testing.assert_close(one.rates, other.rates)
        assert one.rate == pytest.approx(other.rate)


def test_a_layer_that_is_stepped_in_a_loop_counts_as_one_sequence() -> None:
    class Stepped(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fire = ns.LIF(5e-3, 1e-3)

        def forward(self, x: Tensor) -> Tensor:
            state, total = None, torch.zeros_like(x[0])
            for step in x.unbind(0):
                spikes, state = self.fire.run(step.unsqueeze(0), state)
                total = total + spikes[0]
            return total

    stepped, whole = ns.activity(Stepped(), X), ns.activity(ns.LIF(5e-3, 1e-3), X)
    assert (stepped.samples, stepped.spikes_per_sample) == (whole.samples, whole.spikes_per_sample)
    assert torch.equal(stepped.layers[0].rates, whole.layers[0].rates)


def test_thresholds_of_dead_and_saturated_units_can_be_chosen() -> None:
    neuron, x = ns.LIF(5e-3, 1e-3, reset="none"), torch.tensor([0.0, 0.5, 5.0]).expand(20, 4, 3)
    share = float(neuron(x).double().mean((0, 1))[1])
    assert 0 < share < 1
    found = ns.activity(neuron, x, dead_at_most=share, saturated_at_least=share)
    assert (found.layers[0].dead, found.layers[0].saturated) == (pytest.approx(2 / 3), pytest.approx(2 / 3))


def test_a_classifier_over_batches_of_images_is_measured() -> None:
    net = ns.nn.SpikingNetwork(ns.nn.SpikingSequential(nn.Flatten(), nn.Linear(64, 10), ns.LIF(5e-3, 1e-3)), time_steps=6)
    digits = ns.load_dataset("digits")
    found = ns.activity(net, ns.datasets.batches(digits.test, batch_size=256))
    assert found.samples == len(digits.test.labels)
    assert found.layers[0].path == "body.2"


@pytest.mark.parametrize("chip", [False, True])
def test_normalised_layers_are_counted_as_what_they_fold_to(chip: bool) -> None:
    torch.manual_seed(0)
    net: Any = ns.MODELS["spiking_mlp"]([11, 9, 7, 3], norm="mpbn", time_steps=5)
    x = 3 * uniform((40, 11))
    for _ in range(10):
        net(x)
    if chip:
        net = ns.to_neuromorphic(net, "bss2_spiking", seed=2)
        ns.redraw(net, "manual")
    found, folded = ns.activity(net, x), ns.activity(ns.fold(net), x)
    assert [(layer.path, layer.type) for layer in found.layers] == [("body.fire1", "MPBN"), ("body.fire2", "MPBN")]
    for one, other in zip(found.layers, folded.layers, strict=True):
        assert torch.equal(one.rates, other.rates)
        assert 0 < one.rate.value < 1


def test_every_batch_has_noise_of_its_own() -> None:
    neuron, x = ns.LIF(5e-3, 1e-3, membrane_noise=0.5), torch.full((50, 3, 4), 0.2)
    source = ns.random.stream(5, "noise")
    expected = [neuron(x, stream=source._replace(draw=draw)) for draw in (0, 1)]
    found = ns.activity(neuron, [x, x], stream=source)
    assert found.spikes_per_sample == pytest.approx(float(sum(one.sum() for one in expected)) / 6)
    assert not torch.equal(*expected)


def test_a_summary_is_json_and_a_table() -> None:
    found = ns.activity(network(), X)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["layers"][1]["path"] == "3"
    assert json.loads(json.dumps(ns.activity(network(), X[:, :1]).to_dict(), allow_nan=False))["layers"][0]["rate_low"] is None
    head, columns, first, second = str(found).splitlines()
    assert head.startswith("8 samples, 20 units: ")
    assert columns.split() == ["layer", "type", "units", "spikes", "a", "step", "Hz", "dead", "saturated", "spikes", "a", "sample"]
    assert first.split()[:3] == ["0", "LIF", "11"]
    assert second.split()[:3] == ["3", "LIF", "9"]


def test_messages_say_what_is_missing() -> None:
    wrong: Any = [["a"]]
    for call, message in [
        (lambda: ns.activity(nn.Linear(2, 2), X), r"has no neurons"),
        (lambda: ns.activity(ns.LI(5e-3, 1e-3), X), r"\(model\) must have spikes, has membrane"),
        (lambda: ns.activity(network(), X, "9"), r"'9' names no layer"),
        (lambda: ns.activity(network(), X, dead_at_most=2), r"activity: dead_at_most must be a share of steps, 0 to 1, got 2"),
        (lambda: ns.activity(network(), X, saturated_at_least=-1), r"saturated_at_least must be"),
        (lambda: ns.activity(network(), wrong), r"data must be a tensor, or batches of tensors, got str"),
        (lambda: ns.activity(ns.LIF(5e-3, 1e-3), [X, X[..., :3]]), r"same units for every batch, got \(11,\) and \(3,\)"),
    ]:
        with pytest.raises(ns.ConfigError, match=message):
            call()
    unused = ns.nn.SpikingSequential(ns.nn.SpikingSequential(ns.LIF(5e-3, 1e-3)), nn.Linear(11, 2))
    unused[0].forward = unused[0].run = lambda x, *_, **__: (x, None)
    with pytest.raises(ns.ConfigError, match=r"activity: the model runs none of the layers 0\.0"):
        ns.activity(unused, X)
    with pytest.raises(ns.DataError, match="at least one sample"):
        ns.activity(network(), [])


def test_every_submodule_comes_back_to_its_mode_after_an_error() -> None:
    net = network()
    net[0].eval()
    before = [module.training for module in net.modules()]
    with pytest.raises(ns.ConfigError, match="v_threshold: must broadcast to the units"):
        ns.activity(net, X[..., :5])
    assert [module.training for module in net.modules()] == before
    assert not math.isnan(ns.activity(net, X).spikes_per_sample)
