"""How NIR graphs are wired: subgraphs, sums, loops, and what is refused."""

from __future__ import annotations

import sys
from typing import Any

import nir
import numpy as np
import pytest
import torch
from torch import Tensor

import neurosim as ns

DT = 1e-3
EYE = np.eye(2, dtype=np.float32)


def drive(time: int = 20) -> Tensor:
    return ns.random.stream(7, "drive").normal((time, 3, 2), like=torch.empty(0))


def neuron() -> Any:
    one = np.ones(2, np.float32)
    return nir.LIF(tau=0.005 * one, r=2 * one, v_leak=0 * one, v_threshold=0.5 * one)


def graph(nodes: dict[str, Any], edges: str, **others: Any) -> Any:
    """A graph from "a b, b c"."""
    pairs = [tuple(edge.split()) for edge in edges.split(",")]
    return nir.NIRGraph({"in": nir.Input(np.array([2])), "out": nir.Output(np.array([2])), **nodes}, pairs, type_check=False, **others)


def read(*arguments: Any, **others: Any) -> Any:
    return ns.from_nir(graph(*arguments, **others), dt=DT, convention="nir")


def test_branches_are_summed_where_they_meet() -> None:
    net = read({"a": nir.Linear(2 * EYE), "b": nir.Linear(3 * EYE), "c": nir.Scale(EYE[0] + EYE[1])}, "in a, in b, a c, b c, c out")
    torch.testing.assert_close(net(drive()), 5 * drive())


def test_branches_that_meet_at_the_output_are_summed() -> None:
    net = read({"a": nir.Linear(2 * EYE), "b": nir.Linear(3 * EYE)}, "in a, in b, a out, b out, in out")
    torch.testing.assert_close(net(drive()), 6 * drive())


def test_a_subgraph_is_opened() -> None:
    inner = graph({"a": nir.Linear(2 * EYE), "b": nir.Linear(3 * EYE)}, "in a, a b, b out")
    net = read({"block": inner, "last": nir.Linear(EYE)}, "in block, block last, last out")
    assert [name for name, _ in net.named_children()] == ["block_a", "block_b", "last"]
    torch.testing.assert_close(net(drive()), 6 * drive())


def loop(back: Any) -> Any:
    return read({"fire": neuron(), "back": back}, "in fire, fire back, back fire, fire out")


def by_hand(weight: float, bias: float) -> Tensor:
    """The loop, step by step; what comes back acts from the first step on."""
    fire: Any = ns.LIF(0.005, DT, r=2.0, v_threshold=0.5, reset="hard", strict=True)
    state, spikes, found = None, torch.zeros(3, 2), []
    for step in drive():
        out, state = fire.run((step + bias + weight * spikes)[None], state)
        spikes = out[0]
        found.append(spikes)
    return torch.stack(found)


def test_a_loop_comes_back_one_step_later() -> None:
    net = loop(nir.Linear(1.5 * EYE))
    assert net.delayed == (("back", "fire"),)
    assert by_hand(1.5, 0.0).sum() > 0
    assert torch.equal(net(drive()), by_hand(1.5, 0.0))
    assert not torch.equal(net(drive()), by_hand(0.0, 0.0))


def test_a_bias_on_the_way_back_acts_from_the_first_step_on() -> None:
    net = loop(nir.Affine(1.5 * EYE, np.full(2, 0.4, np.float32)))
    assert torch.equal(net(drive()), by_hand(1.5, 0.4))
    assert not torch.equal(by_hand(1.5, 0.4), by_hand(1.5, 0.0))
    assert len(list(net.parameters())) == 2


def test_a_loop_through_two_neurons_closes_where_it_is_entered() -> None:
    nodes = {"a": neuron(), "ab": nir.Linear(EYE), "b": neuron(), "ba": nir.Linear(-EYE)}
    net = read(nodes, "in a, a ab, ab b, b ba, ba a, b out")
    assert net.delayed == (("ba", "a"),)


def test_a_neuron_that_feeds_itself_is_a_loop() -> None:
    net = read({"a": neuron()}, "in a, a a, a out")
    assert net.delayed == (("a", "a"),)
    assert torch.equal(net(drive()), by_hand(1.0, 0.0))


@pytest.mark.parametrize(
    ("nodes", "edges", "says"),
    [
        (
            {"a": neuron(), "b": neuron()},
            "in a, in b, a b, b a, b out",
            "a loop must be entered at one node.*the loop of a, b is entered at a, b",
        ),
        ({"a": neuron()}, "in a, a b, a out", "there is no b"),
        ({"a": neuron()}, "in a, a out, a out", "a → out twice"),
        ({"a": neuron(), "b": neuron()}, "in a, a out, b out", "every node must be reached from the input, b is not"),
        ({"a": neuron(), "b": neuron()}, "in a, a b, a out", "every node must lead to the output, b does not"),
        ({"a": neuron(), "b": nir.Input(np.array([2]))}, "in a, b a, a out", "one input and one output, got 2 and 1"),
        ({"a": nir.Delay(np.ones(2))}, "in a, a out", "a: Delay is not supported; supported: neurons, Linear, Affine"),
        ({"a": nir.Threshold(np.ones(2))}, "in a, a out", "Threshold is not supported"),
        ({"a": "LIF"}, "in a, a out", "a must be a node of NIR, got str"),
        ({"a": nir.Linear(np.ones((2, 2, 2)))}, "in a, a out", r"weight must be \(outputs, inputs\)"),
        ({"a": nir.Affine(EYE, np.ones(3))}, "in a, a out", r"bias \(outputs,\), got"),
        ({"a": nir.Linear(np.ones((2, 2), np.int64))}, "in a, a out", "weight must be floating point, got torch.int64"),
        ({"a": nir.Conv2d(None, np.ones((1, 1, 2, 2)), 0, 0, 1, 1, np.ones(1))}, "in a, a out", "stride, dilation and groups must be > 0"),
        ({"a": nir.Conv2d(None, np.ones((1, 1, 2, 2)), 1, 0, 1, 2, np.ones(1))}, "in a, a out", "a: Conv2d must have fields that fit"),
        ({"a": nir.AvgPool2d(np.array([2, 2]), np.array([0, 0]), np.array([0, 0]))}, "in a, a out", "kernel and stride must be > 0"),
    ],
)
def test_a_broken_or_ambiguous_graph_is_refused_with_the_reason(nodes: dict[str, Any], edges: str, says: str) -> None:
    with pytest.raises(ns.ConversionError, match=says):
        read(nodes, edges)


def test_a_bias_before_the_last_layer_of_a_way_back_is_refused_unless_it_is_zero() -> None:
    nodes = {"fire": neuron(), "down": nir.Affine(EYE, EYE[0]), "back": nir.Linear(EYE)}
    with pytest.raises(ns.ConversionError, match="down: a bias on the way back to fire"):
        read(nodes, "in fire, fire down, down back, back fire, fire out")
    zero = nodes | {"down": nir.Affine(1.5 * EYE, 0 * EYE[0])}
    assert torch.equal(read(zero, "in fire, fire down, down back, back fire, fire out")(drive()), by_hand(1.5, 0.0))


def test_a_bias_that_a_delay_would_withhold_is_refused() -> None:
    nodes = {"fire": neuron(), "back": nir.Affine(EYE, EYE[0])}
    with pytest.raises(
        ns.ConversionError, match="back: a bias on the way back to fire must be that of a linear layer that leads nowhere else"
    ):
        read(nodes, "in fire, fire back, back fire, back out")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"tau": np.full(2, 0.5)}, "r must be what its metadata says"),
        ({"v_threshold": np.array([1.0, 2.0])}, "v_threshold must be what its metadata says"),
        ({"reset": "sometimes"}, "no reset is named 'sometimes'"),
        ({"comparison": "=>"}, "its metadata must be what to_nir writes, got KeyError"),
        ({"surrogate": "arctangent"}, "arctan"),
        ({"step": "euler"}, "steps must be 'exponential', got 'euler'"),
        ({"tensors": "{"}, "got JSONDecodeError"),
        ({"neuron": "GLIF"}, "got KeyError: 'GLIF'"),
        ({"dt": "soon"}, "got ValueError"),
        ({"learn": "v_rest"}, "did you mean 'v_reset'"),
    ],
)
def test_metadata_and_fields_that_were_changed_apart_are_noticed(change: dict[str, Any], says: str) -> None:
    written = ns.to_nir(ns.LIF(20e-3, DT, reset="hard"), input_shape=(2,))
    node = written.nodes["model"]
    for name, value in change.items():
        if hasattr(node, name):
            setattr(node, name, value)
        else:
            node.metadata[name] = value
    with pytest.raises(ns.ConversionError, match=says):
        ns.from_nir(written)


@pytest.mark.parametrize(
    ("delayed", "says"),
    [
        ("[[", "got JSONDecodeError"),
        ('[["a"]]', "got ValueError"),
        ('[["a", "b"]]', "a delayed edge must be one of the graph, got a → b"),
        ("[]", "a loop must have a delayed edge"),
    ],
)
def test_delayed_edges_that_are_none_are_refused(delayed: str, says: str) -> None:
    written = graph({"fire": neuron()}, "in fire, fire fire, fire out", metadata={"writer": "neurosim", "delayed": delayed})
    with pytest.raises(ns.ConversionError, match=says):
        ns.from_nir(written, dt=DT, convention="nir")


def test_names_that_modules_cannot_have_are_changed() -> None:
    nodes = {"run": nir.Linear(EYE), "forward": nir.Linear(EYE), "a.b": nir.Linear(EYE), "a_b": nir.Linear(EYE)}
    net = read(nodes, "in run, run forward, forward a.b, a.b a_b, a_b out")
    assert [name for name, _ in net.named_children()] == ["run_", "forward_", "a_b", "a_b_"]
    torch.testing.assert_close(net(drive()), drive())


@pytest.mark.parametrize("name", ["order", "sources", "output", "delayed", "input", "exchange", "named_children"])
def test_a_graph_may_use_names_that_its_network_uses_itself(name: str) -> None:
    chain = read({name: nir.Linear(EYE)}, f"in {name}, {name} out")
    branches = read({name: nir.Linear(EYE)}, f"in {name}, {name} out, in out")
    torch.testing.assert_close(branches(drive()), 2 * chain(drive()))


def test_what_is_no_graph_is_refused() -> None:
    with pytest.raises(ns.ConfigError, match=r"must be a nir.NIRGraph or the path of a file, got int"):
        ns.from_nir(3)


def test_without_nir_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ns.ConfigError, match=r"to_nir: nir must be installed, pip install 'neurosim-torch\[interop\]'"):
        ns.to_nir(ns.LIF(1e-2, DT), input_shape=(2,))
