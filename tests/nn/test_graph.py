"""Networks with branches and loops."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import neurosim as ns

DT = 1e-3


def drive(time: int = 8) -> Tensor:
    return ns.random.stream(3, "drive").uniform((time, 2, 3), like=torch.empty(0)) * 2


def weights() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {"fire": ns.LIF(3e-3, DT), "down": nn.Linear(3, 4), "side": nn.Linear(3, 4), "back": nn.Linear(4, 4), "up": nn.Linear(4, 2)}


def branches() -> ns.nn.SpikingGraph:
    parts = weights()
    del parts["back"]
    return ns.nn.SpikingGraph(parts, {"down": ["input"], "side": ["input"], "fire": ["down", "side"], "up": ["fire", "down"]}, "up")


def loop() -> ns.nn.SpikingGraph:
    parts = weights()
    del parts["side"]
    sources = {"down": ["input"], "fire": ["down"], "back": ["fire"], "up": ["fire"]}
    return ns.nn.SpikingGraph(parts, sources, "up", delayed=[("back", "fire")])


def test_a_module_takes_the_sum_of_its_sources() -> None:
    net: Any = branches()
    x = drive()
    down = net.down(x)
    torch.testing.assert_close(net(x), net.up(net.fire(down + net.side(x)) + down))


def test_a_loop_sees_what_its_source_gave_one_step_before() -> None:
    net: Any = loop()
    x = drive()
    state, back, steps = None, torch.zeros(2, 4), []
    for now in x:
        spikes, state = net.fire.run((net.down(now) + back)[None], state)
        back = net.back(spikes[0])
        steps.append(net.up(spikes[0]))
    expected = torch.stack(steps)
    torch.testing.assert_close(net(x), expected)
    without = ns.nn.SpikingSequential(net.down, net.fire, net.up)(x)
    assert not torch.allclose(without, expected)


@pytest.mark.parametrize("make", [branches, loop])
def test_a_sequence_can_be_cut_in_time_without_change(make: Any) -> None:
    net, x = make(), drive()
    whole, after = net.run(x)
    first, between = net.run(x[:3])
    nothing, same = net.run(x[3:3], between)
    second, end = net.run(x[3:], same)
    torch.testing.assert_close(torch.cat([first, second]), whole)
    assert nothing.shape == (0, 2, 2)
    assert len(end) == len(after) == len(net.order) + len(net.delayed)


@pytest.mark.parametrize("make", [branches, loop])
def test_copies_pickles_compilation_and_gradients_work(make: Any) -> None:
    net, x = make(), drive()
    for twin in (copy.deepcopy(net), pickle.loads(pickle.dumps(net))):
        assert torch.equal(twin(x), net(x))
    torch.compiler.reset()
    torch.testing.assert_close(torch.compile(net, fullgraph=True, backend="aot_eager")(x), net(x))
    net(x).square().sum().backward()
    assert [name for name, value in net.named_parameters() if value.grad is None or not value.grad.abs().sum() > 0] == []


def test_messages_name_what_is_wrong() -> None:
    one = {"a": nn.Linear(3, 3), "b": nn.Linear(3, 3)}
    with pytest.raises(ns.ConfigError, match=r"no module is named 'inptu'; did you mean 'input'\?"):
        ns.nn.SpikingGraph(one, {"a": ["inptu"], "b": ["a"]}, "b")
    with pytest.raises(ns.ConfigError, match=r"b must have at least one source without delay, got none"):
        ns.nn.SpikingGraph(one, {"a": ["input"]}, "b")
    with pytest.raises(ns.ConfigError, match=r"a loop must have a delayed edge, got (a → b → a|b → a → b)"):
        ns.nn.SpikingGraph(one, {"a": ["input", "b"], "b": ["a"]}, "b")
    with pytest.raises(ns.ConfigError, match=r"other than 'input' and without a dot, got 'a.b'"):
        ns.nn.SpikingGraph({"a.b": nn.Linear(3, 3)}, {"a.b": ["input"]}, "a.b")
    with pytest.raises(ns.ConfigError, match=r"join: all that is summed must have one shape, got \(8, 2, 3\) and \(8, 2, 5\)"):
        ns.nn.SpikingGraph({"a": nn.Linear(3, 5), "join": nn.ReLU()}, {"a": ["input"], "join": ["input", "a"]}, "join")(drive())
    with pytest.raises(ns.ConfigError, match=r"holds LIF at '0'"):
        ns.nn.SpikingGraph({"a": nn.Sequential(ns.LIF(2e-3, DT))}, {"a": ["input"]}, "a")
    with pytest.raises(ns.ConfigError, match=r"a tuple of 5, got a tuple of 1"):
        loop().run(drive(), (None,))
