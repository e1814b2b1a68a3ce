"""Stateless layers over time, and networks of them with neurons."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict
from typing import Any

import norse.torch as norse
import pytest
import snntorch
import torch
from torch import Tensor, nn

import neurosim as ns
from neurosim.errors import ConfigError
from neurosim.nn.time import over_time

DT = 1e-3


def images(time: int = 6, batch: int = 2) -> Tensor:
    like = torch.empty(0)
    return ns.random.stream(3, "images").uniform((time, batch, 1, 6, 6), like=like) * 2


def network() -> ns.nn.SpikingSequential:
    torch.manual_seed(0)
    block = ns.nn.SpikingSequential(nn.Conv2d(4, 4, 3, padding=1), ns.LIF(2e-3, DT))
    return ns.nn.SpikingSequential(
        nn.Conv2d(1, 4, 3), ns.LIF(4e-3, DT), ns.nn.SpikingResidual(block), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(16, 3), ns.LI(4e-3, DT)
    )


def test_folding_gives_what_every_step_alone_gives() -> None:
    x, conv = images(), nn.Conv2d(1, 4, 3)
    expected = torch.stack([conv(step) for step in x.unbind(0)])
    torch.testing.assert_close(ns.nn.TimeFold(conv)(x), expected)
    torch.testing.assert_close(ns.nn.SpikingSequential(conv)(x), expected)


def test_a_folded_batch_norm_takes_its_statistics_over_time_and_batch() -> None:
    x = images()
    y = ns.nn.TimeFold(nn.BatchNorm2d(1, affine=False))(x)
    torch.testing.assert_close(y, (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt())


@pytest.mark.parametrize("shape", [(0, 2, 3), (4, 0, 3), (1, 1, 3)])
def test_no_steps_and_no_samples_have_a_result(shape: tuple[int, ...]) -> None:
    assert ns.nn.TimeFold(nn.Linear(3, 5))(torch.zeros(shape)).shape == (*shape[:2], 5)


def test_a_chain_is_its_modules_one_after_the_other() -> None:
    x, net = images(), network()
    first, fired, block, pool, flatten, head, out = net
    assert isinstance(block, ns.nn.SpikingResidual)
    y = torch.stack([first(step) for step in x.unbind(0)])
    y = fired(y)
    body: Any = block.body
    conv, neuron = body
    y = y + neuron(torch.stack([conv(step) for step in y.unbind(0)]))
    y = torch.stack([head(flatten(pool(step))) for step in y.unbind(0)])
    torch.testing.assert_close(net(x), out(y))
    assert net(x).abs().sum() > 0


def test_a_sequence_can_be_cut_in_time_without_change() -> None:
    x, net = images(), network()
    whole, after = net.run(x)
    first, between = net.run(x[:2])
    second, end = net.run(x[2:], between)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    assert len(between) == len(net)
    assert [one is None for one in end] == [one is None for one in after] == [True, False, False, True, True, True, False]
    torch.testing.assert_close(end[1].v, after[1].v)


def test_nothing_is_remembered_between_calls() -> None:
    x, net = images(), network()
    first = net(x)
    assert torch.equal(net(x), first)


def test_copies_pickles_and_state_dicts_compute_the_same() -> None:
    x, net = images(), network()
    fresh = network()
    for value in fresh.parameters():
        nn.init.zeros_(value)
    fresh.load_state_dict(net.state_dict())
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net)), fresh):
        assert torch.equal(twin(x), net(x))


def test_compiled_without_a_break_it_computes_the_same() -> None:
    x, net = images(), network()
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="aot_eager")(x), net(x))


def test_names_are_those_of_a_mapping() -> None:
    net = ns.nn.SpikingSequential(OrderedDict(fc=nn.Linear(3, 4), fire=ns.LIF(2e-3, DT)))
    assert [name for name, _ in net.named_children()] == ["fc", "fire"]
    assert isinstance(net[-1], ns.LIF)
    assert "fc.weight" in net.state_dict()


def test_a_module_may_stand_in_a_chain_twice() -> None:
    fc, fire, x = nn.Linear(3, 3), ns.LIF(2e-3, DT), torch.ones(4, 2, 3)
    net = ns.nn.SpikingSequential(fc, fire, fc)
    assert net[2] is fc
    assert torch.equal(net(x), fc(fire(fc(x))))


def test_noise_comes_from_one_stream_and_differs_between_neurons() -> None:
    def noisy() -> ns.LIF:
        return ns.LIF(2e-3, DT, membrane_noise=0.5)

    x, net = torch.full((20, 4, 8), 0.4), ns.nn.SpikingSequential(noisy(), nn.Identity(), noisy())
    a, b = ns.random.stream(1, "a"), ns.random.stream(1, "b")
    assert torch.equal(net(x, stream=a), net(x, stream=a))
    assert not torch.equal(net(x, stream=a), net(x, stream=b))
    alone, _ = net[0].run(x, stream=a.child("0"))
    expected, _ = net[2].run(alone, stream=a.child("2"))
    assert torch.equal(net(x, stream=a), expected)
    with pytest.raises(ns.ConfigError, match="noise needs a stream"):
        net(x)


@pytest.mark.parametrize("build", [ns.nn.TimeFold, ns.nn.SpikingSequential, ns.nn.SpikingResidual])
def test_neurons_are_not_hidden_in_a_folded_module(build: Any) -> None:
    with pytest.raises(ns.ConfigError, match=r"holds LIF at '1'; chain modules with neurons by SpikingSequential"):
        build(nn.Sequential(nn.Linear(3, 3), ns.LIF(2e-3, DT)))


def test_messages_say_which_module_and_what_it_got() -> None:
    wrong: Any = 5
    with pytest.raises(ns.ConfigError, match=r"SpikingSequential: 1 must be a torch.nn.Module, got int"):
        ns.nn.SpikingSequential(nn.Linear(3, 3), wrong)
    with pytest.raises(ns.ConfigError, match=r"TimeFold: module must be a torch.nn.Module, got int"):
        ns.nn.TimeFold(wrong)
    with pytest.raises(ns.ConfigError, match=r"x must be a tensor \(time, batch, \*\), got shape \(3,\)"):
        ns.nn.TimeFold(nn.Linear(3, 3))(torch.zeros(3))
    with pytest.raises(ns.ConfigError, match=r"one result for each of the 8 samples, time × batch, got shape \(24,\)"):
        over_time(torch.ravel, torch.zeros(4, 2, 3))
    with pytest.raises(ns.ConfigError, match=r"state must be what run returned, a tuple of 7, got a tuple of 1"):
        network().run(images(), (None,))
    with pytest.raises(ns.ConfigError, match=r"same shape, got \(4, 2, 5\) and \(4, 2, 3\)"):
        ns.nn.SpikingResidual(nn.Linear(3, 5))(torch.zeros(4, 2, 3))


MISFITS = [
    (
        nn.Linear(3, 5),
        (4, 2, 6),
        r"0 \(Linear\): x must be steps that Linear\(in_features=3, .*\) takes, got \(time, batch, \*\) of shape \(4, 2, 6\)",
    ),
    (
        nn.Conv2d(3, 5, 3),
        (4, 2, 1, 8, 8),
        r"0 \(Conv2d\): x must be steps that Conv2d\(3, 5, .* of shape \(4, 2, 1, 8, 8\): .*3 channels, but got 1",
    ),
    (
        nn.Conv2d(8, 8, 1),
        (4, 2, 8, 8),
        r"of shape \(4, 2, 8, 8\): a step has 4 axes, \(batch, channels, \*\)",
    ),  # else torch takes it for one sample
    (nn.Conv2d(3, 5, 3), (4, 2, 3, 2, 2), r"Conv2d\(3, 5, .* of shape \(4, 2, 3, 2, 2\)"),
    (nn.BatchNorm2d(3), (4, 2, 3), r"0 \(BatchNorm2d\): x must be steps that BatchNorm2d\(3, .* of shape \(4, 2, 3\)"),
    (nn.AvgPool2d(2), (4, 2, 3), r"AvgPool2d\(kernel_size=2, .* of shape \(4, 2, 3\)"),
    (
        nn.Sequential(nn.ReLU(), nn.Linear(3, 5)),
        (4, 2, 6),
        r"0 \(Sequential\): x must be steps that Sequential\(\) takes, .*: mat1 and mat2",
    ),
]


@pytest.mark.parametrize(("layer", "shape", "message"), MISFITS)
@pytest.mark.parametrize("training", [True, False])
def test_steps_that_do_not_fit_a_layer_are_refused_by_its_name(
    layer: nn.Module, shape: tuple[int, ...], message: str, training: bool
) -> None:
    body = ns.nn.SpikingSequential(layer, ns.LIF(2e-3, DT)).train(training)
    with pytest.raises(ConfigError, match=message):
        body(torch.zeros(shape))
    with pytest.raises(ConfigError, match=message.replace(r"\(4, 2, ", r"\(5, 2, ")):
        ns.nn.SpikingNetwork(body, time_steps=5)(torch.zeros(shape[1:]))
    with pytest.raises(ConfigError, match=r"TimeFold\("):
        ns.nn.TimeFold(layer)(torch.zeros(shape))


def test_what_is_not_a_matter_of_shapes_is_said_by_who_found_it() -> None:
    class Own(RuntimeError):
        pass

    def fail(_x: Tensor) -> Tensor:
        raise Own("something else")

    def refuse(_x: Tensor) -> Tensor:
        raise ConfigError("a layer's own words")

    with pytest.raises(Own, match=r"^something else$"):
        over_time(fail, torch.zeros(4, 2, 3))
    with pytest.raises(ConfigError, match=r"^a layer's own words$"):
        over_time(refuse, torch.zeros(4, 2, 3))


# --- the network behind the interface of a classifier ------------------------------------------------------------------------------------


def test_a_network_gives_the_mean_over_time_of_its_body() -> None:
    x, body = images(1)[0], network()
    net = ns.nn.SpikingNetwork(body, time_steps=5)
    torch.testing.assert_close(net(x), body(x.expand(5, *x.shape)).mean(0))
    net.time_steps = 9
    torch.testing.assert_close(net(x), body(x.expand(9, *x.shape)).mean(0))
    assert net(x).shape == (2, 3)


def test_an_encoder_makes_the_sequence() -> None:
    x, body = images(1)[0], network()
    net = ns.nn.SpikingNetwork(body, 4, lambda x, steps: torch.stack([x * step for step in range(steps)]))
    torch.testing.assert_close(net(x), body(torch.stack([0 * x, x, 2 * x, 3 * x])).mean(0))


def test_a_network_streams_sequences() -> None:
    x, net = images(), ns.nn.SpikingNetwork(network(), 4)
    first, state = net.run(x[:3])
    second, _ = net.run(x[3:], state)
    torch.testing.assert_close(torch.cat([first, second]), net.run(x)[0])


@pytest.mark.parametrize("steps", [0, -1, 1.5, True, "4"])
def test_a_number_of_steps_is_a_positive_integer(steps: Any) -> None:
    with pytest.raises(ns.ConfigError, match=r"SpikingNetwork.time_steps: must be a whole number, 1 or more"):
        ns.nn.SpikingNetwork(network(), steps)


def test_a_body_must_take_time() -> None:
    with pytest.raises(
        ns.ConfigError, match=r"body must have run\(x, state\) on \(time, batch, \*\), as SpikingSequential has, got Linear"
    ):
        ns.nn.SpikingNetwork(nn.Linear(3, 3), 4)


def test_an_encoder_by_name_brings_its_steps_and_draws_from_the_stream_of_the_call() -> None:
    x, encoder = images(1)[0].clamp(max=1), ns.ENCODERS["rate"](5)
    net = ns.nn.SpikingNetwork(network(), 5, encoder)
    source = ns.random.stream(1, "a")
    torch.testing.assert_close(net(x, stream=source), net.run(encoder(x, stream=source.child("encoder")))[0].mean(0))
    assert not torch.equal(net(x, stream=source), net(x, stream=ns.random.stream(1, "b")))
    with pytest.raises(ns.ConfigError, match=r"draws at random and needs a stream"):
        net(x)
    with pytest.raises(ns.ConfigError, match=r"time_steps: must be the 5 steps of its encoder, got 4"):
        net.time_steps = 4


def test_a_module_that_is_there_twice_runs_twice() -> None:
    layer, neuron, x = nn.Linear(3, 3), ns.LIF(2e-3, DT), torch.rand(5, 2, 3)
    net = ns.nn.SpikingSequential(layer, neuron, layer, neuron)
    y, state = net.run(x)
    assert torch.equal(y, neuron(layer(neuron(layer(x)))))
    assert len(state) == len(net) == 4
    assert net[2] is layer


class MemoryModule(nn.Module):
    """Stands for the class of that name."""


MemoryModule.__module__ = "spikingjelly.activation_based.base"


class Node(MemoryModule):
    """A neuron of that library, or one that a user derived from it."""


@pytest.mark.parametrize(
    ("module", "says"),
    [
        (snntorch.Leaky(beta=0.9, init_hidden=True), r"is a Leaky of snntorch, .*neurosim\.from_snntorch"),
        (snntorch.Synaptic(alpha=0.9, beta=0.9), r"is a Synaptic of snntorch, .*neurosim\.from_snntorch"),
        (norse.LIFCell(), r"is a LIFCell of norse, .*neurosim\.from_norse"),
        (norse.SequentialState(nn.Linear(3, 3), norse.LICell()), r"is a SequentialState of norse, .*neurosim\.from_norse"),
        (Node(), r"is a Node of spikingjelly, .*neurosim\.from_spikingjelly"),
    ],
)
def test_neurons_of_other_libraries_are_not_folded_as_if_they_kept_nothing(module: nn.Module, says: str) -> None:
    within = nn.Sequential(nn.Linear(3, 3), module)
    for make in (
        ns.nn.TimeFold,
        ns.nn.SpikingSequential,
        ns.nn.SpikingResidual,
        lambda one: ns.nn.SpikingGraph({"a": one}, {"a": ["input"]}, "a"),
    ):
        with pytest.raises(ConfigError, match=says):
            make(module)
        with pytest.raises(ConfigError, match=f"(?s){says}"):
            make(within)


def test_stateless_layers_of_other_libraries_are_folded() -> None:
    assert torch.equal(ns.nn.TimeFold(snntorch.GradedSpikes(1, constant_factor=2.0))(torch.ones(5, 2, 3)), torch.full((5, 2, 3), 2.0))


def test_an_imported_neuron_stands_in_a_network_where_that_of_the_library_is_refused() -> None:
    torch.manual_seed(0)
    leaky: Any = snntorch.Leaky(beta=0.9, init_hidden=True)
    theirs = nn.Sequential(nn.Linear(3, 4), leaky)
    x = torch.rand(12, 2, 3) * 3
    ours = ns.nn.SpikingSequential(ns.from_snntorch(theirs, dt=1e-3))
    leaky.reset_mem()
    stepped = torch.stack([theirs(step) for step in x])
    assert torch.equal(ours(x), stepped)
    assert stepped.sum() > 0


@pytest.mark.parametrize("encoder", ["rate", None, 3, ns.encoding.Rate])
def test_an_encoder_that_cannot_be_called_is_refused_with_those_there_are(encoder: Any) -> None:
    with pytest.raises(ConfigError, match=r"SpikingNetwork: encoder must be a function .* ENCODERS \(.*rate.*\), got "):
        ns.nn.SpikingNetwork(network(), 6, encoder)
