"""``from_snntorch`` against the installed snnTorch."""

from __future__ import annotations

import copy
import json
import pickle
from typing import Any

import pytest
import snntorch as snn
import torch
from snntorch import surrogate as peers
from torch import Tensor, nn

import neurosim as ns


def drive(*shape: int, time: int = 60) -> Tensor:
    return ns.random.stream(5, "drive").normal((time, 3, *shape), like=torch.empty(0)) * 1.5


def looped(layers: Any, x: Tensor) -> Tensor:
    """A model with hidden states, as snnTorch wants it run: one step a call, from rest."""
    for layer in layers:
        if isinstance(layer, snn.SpikingNeuron):
            layer.reset_mem()
    return torch.stack([layers(step) for step in x])


def seeded(*layers: Any) -> Any:
    torch.manual_seed(1)
    for layer in layers:
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()
    return nn.Sequential(*layers)


@pytest.mark.parametrize("reset", ["subtract", "zero", "none"])
@pytest.mark.parametrize("delay", [True, False])
@pytest.mark.parametrize("kind", ["Leaky", "Synaptic"])
def test_spikes_and_gradients_are_those_of_the_source(kind: str, reset: str, delay: bool) -> None:
    settings = {"beta": torch.rand(9, generator=torch.Generator().manual_seed(0)), "threshold": 0.7, "init_hidden": True}
    if kind == "Synaptic":
        settings["alpha"] = 0.6
    layer = getattr(snn, kind)(**settings, reset_mechanism=reset, reset_delay=delay, spike_grad=peers.fast_sigmoid(slope=10))
    model = seeded(nn.Linear(4, 9), layer)
    network = ns.from_snntorch(model)
    x, z = (drive(4).requires_grad_() for _ in range(2))
    theirs, ours = looped(model, x), network(z)
    assert 0 < theirs.sum() < theirs.numel()
    assert torch.equal(theirs, ours)
    weights = drive(9)
    (theirs * weights).sum().backward()
    (ours * weights).sum().backward()
    torch.testing.assert_close(z.grad, x.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "layer",
    [
        lambda: snn.RLeaky(beta=0.9, linear_features=9, init_hidden=True),
        lambda: snn.RLeaky(beta=0.5, linear_features=9, init_hidden=True, reset_mechanism="zero", learn_recurrent=False),
        lambda: snn.RLeaky(beta=0.5, all_to_all=False, V=torch.rand(9), init_hidden=True, reset_mechanism="zero", reset_delay=False),
        lambda: snn.RSynaptic(alpha=0.4, beta=0.8, linear_features=9, init_hidden=True),
        lambda: snn.RSynaptic(alpha=0.4, beta=0.8, all_to_all=False, V=0.3, init_hidden=True, reset_mechanism="zero"),
    ],
)
def test_a_loop_gives_the_spikes_of_the_source_from_the_first_step_on(layer: Any) -> None:
    torch.manual_seed(2)
    model = seeded(nn.Linear(4, 9), layer())
    network: Any = ns.from_snntorch(model)
    x = drive(4)
    theirs = looped(model, x)
    assert 0 < theirs.sum() < theirs.numel()
    assert torch.equal(theirs, network(x))
    assert isinstance(network[1], ns.nn.SpikingGraph)


def test_a_convolutional_model_with_a_loop_of_maps_gives_the_spikes_of_the_source() -> None:
    loop = snn.RLeaky(beta=0.8, conv2d_channels=4, kernel_size=3, init_hidden=True)
    model = seeded(
        nn.Conv2d(1, 4, 3), loop, nn.BatchNorm2d(4), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 5), snn.Leaky(0.7, init_hidden=True)
    )
    x = drive(1, 6, 6, time=20)
    network = ns.from_snntorch(model, input_shape=(1, 6, 6))
    assert torch.equal(looped(model.eval(), x), network.eval()(x))
    report: Any = network.exchange
    assert report.layers[2].text == "as it is; in training, its statistics are those of all steps"


def test_what_is_learned_there_is_learned_here() -> None:
    layer = snn.Leaky(beta=torch.rand(5), threshold=torch.rand(5), learn_beta=True, learn_threshold=True, graded_spikes_factor=2.0)
    network: Any = ns.from_snntorch(nn.Linear(3, 5), layer)
    assert sorted(network.state_dict()) == ["0.bias", "0.weight", "1.0.log_tau_mem", "1.0.v_threshold", "1.1.value"]
    assert {name for name, _ in network.named_parameters()} == {"0.bias", "0.weight", "1.0.log_tau_mem", "1.0.v_threshold"}
    assert set(network(drive(3)).unique().tolist()) == {0.0, 2.0}


def test_the_extremes_of_a_decay_are_exact() -> None:
    for beta in (0.0, 1.0, 1.5, -1.0, 1e-30, 1 - 2**-24):
        model = seeded(nn.Linear(4, 9), snn.Leaky(beta=beta, init_hidden=True))
        assert torch.equal(looped(model, drive(4)), ns.from_snntorch(model)(drive(4)))


def test_a_float64_model_is_compared_in_float64() -> None:
    model = seeded(nn.Linear(4, 9), snn.Leaky(beta=torch.tensor(0.83, dtype=torch.float64), init_hidden=True)).double()
    network = ns.from_snntorch(model)
    assert torch.equal(looped(model, drive(4).double()), network(drive(4).double()))


def test_the_source_is_left_as_it_is() -> None:
    model = seeded(nn.Linear(4, 6), snn.Leaky(beta=0.9, init_hidden=True), nn.Dropout(0.5))
    model(torch.ones(2, 4))
    before, instances = model[1].mem.detach().clone(), len(snn.SpikingNeuron.instances)
    network: Any = ns.from_snntorch(model)
    assert torch.equal(model[1].mem, before)
    assert model.training
    assert network.training
    assert len(snn.SpikingNeuron.instances) == instances
    network[0].weight.data.zero_()
    assert model[0].weight.abs().sum() > 0


def test_the_report_says_what_was_compared() -> None:
    network = ns.from_snntorch(seeded(nn.Linear(4, 6), snn.Leaky(beta=0.9)), time_steps=10, batch=2)
    report = network.exchange
    assert isinstance(report, ns.Exchange)
    first, second, *rows = str(report).splitlines()
    assert first.startswith("snnTorch 1.0.0: 0 of ")
    assert first.endswith(" spikes differ, largest deviation 0, on 10 steps of 2 samples")
    assert second.split() == ["layer", "type", "becomes", "spikes", "differ", "deviation", "of", "membranes", "convention"]
    assert len(rows) == 2
    assert json.loads(json.dumps(report.to_dict()))["layers"][1]["membrane"] == 0


def test_a_layer_that_would_not_fire_on_the_drive_of_the_network_is_compared_on_one_of_its_own() -> None:
    network: Any = ns.from_snntorch(seeded(nn.Linear(4, 6), snn.Leaky(beta=0.5, threshold=1e6)))
    assert network(drive(4)).sum() == 0
    assert network.exchange.layers[1].spikes > 100


def test_a_network_that_does_something_else_is_noticed() -> None:
    class Odd(nn.Linear):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * (1 + x.mean())  # of the batch: steps are not independent of what they are folded with

    Odd.__module__ = "torch.nn.modules.linear"
    with pytest.raises(ns.ConversionError, match=r"0 \(Odd\) does not do here what it does in its library: outputs differ by"):
        ns.from_snntorch(Odd(4, 6), snn.Leaky(beta=0.5))


def test_spikes_of_another_size_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ns.nn.Scale, "forward", lambda self, x: x)
    with pytest.raises(ns.ConversionError, match=r"1 \(Leaky\) does not do here what it does in its library: outputs differ by 1"):
        ns.from_snntorch(nn.Linear(3, 5), snn.Leaky(beta=0.5, graded_spikes_factor=2.0))


@pytest.mark.parametrize(
    ("layers", "says"),
    [
        (lambda: [snn.Alpha(alpha=0.9, beta=0.8)], "only Leaky, Synaptic, RLeaky and RSynaptic are known"),
        (lambda: [snn.Leaky(beta=0.9, spike_grad=peers.LSO())], "draws random numbers"),
        (lambda: [snn.Leaky(beta=0.9, threshold=-1.0, reset_mechanism="zero", reset_delay=False)], "a threshold below 0"),
        (lambda: [snn.Leaky(beta=torch.ones(3), learn_beta=True)], "LIF.tau_mem: must be more than 0 seconds and finite"),
        (lambda: [snn.RSynaptic(alpha=0.5, beta=0.9, linear_features=3, reset_delay=False)], "not its own"),
        (lambda: [nn.LSTM(3, 3)], "layers of torch without state"),
        (lambda: [nn.ModuleList([nn.Linear(3, 3)])], "pass the layers in the order"),
        (lambda: [nn.Linear(3, 4), snn.Leaky(beta=torch.rand(5))], "must take a drive of shape"),
        (lambda: [nn.Sequential()], "must have layers"),
    ],
)
def test_what_cannot_be_imported_is_refused_with_the_reason(layers: Any, says: str) -> None:
    with pytest.raises(ns.ConversionError, match=says):
        ns.from_snntorch(*layers(), input_shape=(3,))


def test_a_layer_used_twice_is_refused() -> None:
    layer = snn.Leaky(beta=0.9)
    with pytest.raises(ns.ConversionError, match="used twice"):
        ns.from_snntorch(nn.Linear(3, 3), layer, nn.Linear(3, 3), layer)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"dt": 0.0}, "dt: must be more than 0 seconds"),
        ({"dt": "fast"}, "dt: must be a number"),
        ({"time_steps": 0}, "time_steps: must be a whole number, 1 or more"),
        ({"input_shape": (0,)}, "input_shape must be integers > 0"),
        ({"input_shape": (1 << 28,)}, "fewer than 2"),
        ({"drive": torch.zeros(3)}, "drive must be floating point"),
    ],
)
def test_arguments_that_do_not_hold_are_refused(arguments: dict[str, Any], says: str) -> None:
    with pytest.raises(ns.ConfigError, match=says):
        ns.from_snntorch(nn.Linear(3, 3), snn.Leaky(beta=0.9), **arguments)


def test_a_first_layer_that_tells_no_shape_needs_it_said() -> None:
    with pytest.raises(ns.ConfigError, match="input_shape must be given"):
        ns.from_snntorch(nn.Conv2d(1, 2, 3), snn.Leaky(beta=0.9))
    assert ns.from_snntorch(snn.Leaky(beta=torch.rand(7)))(torch.zeros(2, 1, 7)).shape == (2, 1, 7)
    with pytest.raises(ns.ConfigError, match="got nothing"):
        ns.from_snntorch()


def test_the_network_can_be_copied_pickled_and_cut_in_time() -> None:
    network = ns.from_snntorch(seeded(nn.Linear(4, 6), snn.RLeaky(beta=0.9, linear_features=6)))
    x = drive(4)
    again = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    assert again.exchange == network.exchange
    first, state = network.run(x[:25])
    second, _ = again.run(x[25:], state)
    assert torch.equal(torch.cat([first, second]), network(x))
