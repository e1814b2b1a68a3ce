"""Membranes that start where mean rates are mean activations."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.convert.spiking_scale import observe, scale
from neurosim.convert.spiking_start import SAMPLED
from neurosim.convert.spiking_trace import trace
from tests.convert.digital import NETWORKS, images, trained

KINDS = list(NETWORKS)
spiking: Callable[..., Any] = ns.to_spiking  # what it leaves on the network is not known to type checkers


def three_layers() -> nn.Sequential:
    torch.manual_seed(5)
    return nn.Sequential(nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 4)).double()


def inputs(count: int = 60) -> Tensor:
    return torch.rand(count, 6, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * 2 - 0.5


def starts(network: Any) -> list[Any]:
    return [module.v_start for module in network.modules() if isinstance(module, ns.IF)]


def fire(current: Tensor, start: Tensor | float, threshold: Tensor) -> Tensor:
    """Integrate, fire, subtract, in units of the activations; a loop over time."""
    v = torch.zeros_like(current[0]) + start * threshold
    fired = []
    for now in current:
        v = v + now
        spike = (v >= threshold).double()
        v = v - spike * threshold
        fired.append(spike)
    return torch.stack(fired)


@pytest.mark.parametrize("steps", [1, 5, 16])
def test_starts_are_those_of_a_loop_in_the_units_of_the_digital_network(steps: int) -> None:
    """Nothing is scaled here: thresholds are the scales, and a spike is worth one."""
    model, x = three_layers(), inputs()
    network = spiking(model, time_steps=steps, calibration=[x[:17], x[17:]], scaling=95.0)
    current, expected = model[0](x).expand(steps, -1, -1), []
    activations = {1: model[1](model[0](x)), 3: model[:4](x)}
    for (place, activation), activity in zip(activations.items(), observe(trace(model), [x], [x]).values(), strict=True):
        threshold = scale(activity, 95.0, steps, by_channel=True)
        error = activation.mean(0) / threshold - fire(current, 0.5, threshold).mean((0, 1))
        expected.append((0.5 + steps * error).clamp(0, 1))
        current = model[place + 1](fire(current, expected[-1], threshold) * threshold)
    for found, wanted in zip(starts(network), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-9)
    assert any(bool((found - 0.5).abs().max() > 0.05) for found in expected)
    torch.testing.assert_close(network(x), current.mean(0), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", KINDS)
def test_mean_logits_come_nearer_to_those_of_the_digital_network(kind: str) -> None:
    model, x = trained(kind), images()
    bias = {}
    for start in ("calibrated", 0.5):
        network = spiking(model, time_steps=8, calibration=x, scaling="max", v_init=start)
        with torch.no_grad():
            bias[start] = float((network(x) - model(x)).mean(0).norm())
    assert bias["calibrated"] < 0.9 * bias[0.5], bias


@pytest.mark.parametrize("kind", KINDS)
def test_other_images_than_those_of_the_calibration_err_less_too(kind: str) -> None:
    model, x, others = trained(kind), images(288)[:192], images(288)[192:]
    error = {}
    for start in ("calibrated", 0.5):
        network = spiking(model, time_steps=8, calibration=x, v_init=start)
        with torch.no_grad():
            error[start] = float((network(others) - model(others)).square().mean())
    assert error["calibrated"] < error[0.5], error


class LongBranch(nn.Module):
    """A branch that is summed again two layers of neurons later."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.a, self.b, self.c, self.out = nn.Linear(6, 9), nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).relu()
        y: Tensor = self.out((self.c(self.b(self.a(x).relu()).relu()) + x).relu())
        return y


def test_spikes_are_kept_for_as_long_as_a_later_layer_needs_them() -> None:
    torch.manual_seed(6)
    model, x = LongBranch().double(), inputs()
    bias = {}
    for start in ("calibrated", 0.5):
        network = spiking(model, time_steps=8, calibration=x, v_init=start)
        with torch.no_grad():
            bias[start] = float((network(x) - model(x)).mean(0).norm())
    assert bias["calibrated"] < 0.5 * bias[0.5], bias


def test_starts_lie_between_flooring_and_a_spike_without_a_drive() -> None:
    """Scales that clip half of the activations leave errors that no start makes up for."""
    network = spiking(trained("cnn"), time_steps=32, calibration=images(), scaling=50.0)
    found = torch.cat([start.flatten() for start in starts(network)])
    assert float(found.min()) >= 0
    assert float(found.max()) == 1


def test_starts_rest_on_the_first_inputs_whatever_the_batches() -> None:
    model = ns.to_qcfs(three_layers(), 4, calibration=inputs())
    x = inputs(SAMPLED + 50)
    found = [
        starts(spiking(model, time_steps=4, method="qcfs", v_init="calibrated", calibration=given))
        for given in (x, x[:SAMPLED], list(x.split(7)), [x[:200], x[200:]])
    ]
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, same, rtol=1e-9, atol=1e-9)


def test_pooling_before_neurons_compares_rates_with_pooled_activations() -> None:
    torch.manual_seed(3)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 3)).eval().double()
    x = images().double()
    network = spiking(model, time_steps=5, calibration=x, max_pool="before", scaling="max")
    pooled = model[:3](x)
    threshold = model[:2](x).amax((0, 2, 3)).reshape(-1, 1, 1)
    rates = fire(nn.functional.max_pool2d(model[0](x), 2).expand(5, -1, -1, -1, -1), 0.5, threshold).mean(0)
    expected = 0.5 + 5 * (pooled / threshold - rates).mean((0, 2, 3)).reshape(-1, 1, 1)
    (found,) = starts(network)
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)


def test_none_is_calibrated_for_rates_with_soft_resets_and_half_a_threshold_elsewhere() -> None:
    model, x = three_layers(), inputs()
    plain = {"qcfs": ns.to_qcfs(model, 4, calibration=x), "direct": model}
    for method, network in plain.items():
        assert starts(spiking(network, time_steps=4, method=method, calibration=x)) == [0.5, 0.5]
    assert starts(spiking(model, time_steps=4, calibration=x, reset="hard")) == [0.5, 0.5]
    assert all(isinstance(start, Tensor) for start in starts(spiking(model, time_steps=4, calibration=x)))


def test_the_report_says_where_membranes_start() -> None:
    network = spiking(three_layers(), time_steps=4, calibration=inputs())
    texts = [layer.text for layer in network.conversion.layers if layer.neuron]
    for text, start in zip(texts, starts(network), strict=True):
        assert text.endswith(f"; membranes start at {start.min():.3g} … {start.max():.3g} by channel")


def test_starts_travel_with_weights_and_copies() -> None:
    network, x = spiking(trained("cnn"), time_steps=4, calibration=images()), images(5)
    other = spiking(trained("cnn"), time_steps=4, calibration=images(48))
    assert not torch.equal(starts(network)[0], starts(other)[0])
    other.load_state_dict(network.state_dict())
    for twin in (other, pickle.loads(pickle.dumps(network))):
        assert torch.equal(twin(x), network(x))
