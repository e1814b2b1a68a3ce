"""``from_spikingjelly`` against what SpikingJelly 2.0.0 gave."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from tests.convert.spikingjelly_nodes import linear, names, node, recorded, theirs

LIF_NODE: dict[str, Any] = recorded("03_LIFNode").settings


def test_every_class_is_recorded_under_every_reset() -> None:
    said = [recorded(name).settings for name in names()]
    found: set[tuple[str, float | None, bool | None]] = {(one["class"], one["v_reset"], one.get("decay_input")) for one in said}
    resets = (None, 0.0, -0.25)
    expected: set[tuple[str, float | None, bool | None]] = {("IFNode", v, None) for v in resets} | {
        ("CUBALIFNode", v, None) for v in resets[:2]
    }
    expected |= {(kind, v, decays) for kind in ("LIFNode", "ParametricLIFNode") for v in resets for decays in (True, False)}
    assert found == expected
    assert {one["surrogate"] for one in said} == {"Sigmoid", "ATan", "SuperSpike", "PiecewiseQuadratic", "Rect", "Erf"}


@pytest.mark.parametrize("name", names())
def test_the_neuron_that_is_made_gives_the_recorded_spikes_membranes_and_gradients(name: str) -> None:
    known = recorded(name)
    network = ns.from_spikingjelly(node(known.settings), drive=known.x)
    ours: Any = network[0]
    x = known.x.clone().requires_grad_()
    trace = ours.trace(x)
    assert torch.equal(trace.spikes, known.spikes)
    torch.testing.assert_close(trace.v, known.membrane, rtol=0, atol=2e-6)
    (grad,) = torch.autograd.grad((trace.spikes * known.cotangent).sum(), x)
    torch.testing.assert_close(grad, known.grad_x, rtol=1e-4, atol=1e-5)
    assert ("tau_mem" in ours.learn) == (known.settings["class"] == "ParametricLIFNode")


@pytest.mark.parametrize("name", names())
def test_the_nodes_of_these_tests_do_what_was_recorded(name: str) -> None:
    known = recorded(name)
    assert torch.equal(node(known.settings, "m")(known.x), known.spikes)


@pytest.mark.parametrize("step_mode", ["s", "m"])
def test_a_network_is_compared_in_its_own_step_mode(step_mode: str) -> None:
    torch.manual_seed(0)
    first = linear(4, 8) if step_mode == "m" else nn.Linear(4, 8)
    network = ns.from_spikingjelly(nn.Sequential(first, node(LIF_NODE, step_mode), nn.Linear(8, 3)))
    report: Any = network.exchange
    assert [layer.type for layer in report.layers] == ["Linear", "LIFNode", "Linear"]
    assert report.layers[1].spikes > 100
    assert report.layers[1].differing == 0
    assert type(network[0]) is nn.Linear
    assert "step_mode" not in str(vars(network[0]))


def test_a_container_of_stateless_layers_is_one_layer() -> None:
    container = theirs("SeqToANNContainer", nn.Sequential, "layer.container")
    torch.manual_seed(0)

    class Folding(container):  # type: ignore[misc, valid-type]  # a class made at run time
        __qualname__ = "SeqToANNContainer"
        __module__ = container.__module__

        def forward(self, x: Any) -> Any:
            return super().forward(x.flatten(0, 1)).unflatten(0, x.shape[:2])

    network = ns.from_spikingjelly(Folding(nn.Conv2d(1, 2, 3), nn.Flatten()), node(LIF_NODE, "m"), input_shape=(1, 4, 4))
    assert network(torch.zeros(5, 2, 1, 4, 4)).shape == (5, 2, 8)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"surrogate": "Rect", "alpha": -1.0}, "alpha=-1, which must be > 0"),
        ({"class": "IzhikevichNode"}, "IFNode, LIFNode, ParametricLIFNode, CUBALIFNode"),
        ({"class": "CUBALIFNode", "v_reset": -0.5, "c_decay": 0.5, "v_decay": 0.5}, "decays to 0"),
        ({"class": "CUBALIFNode", "c_decay": 1.5, "v_decay": 0.5}, "from 0 to 1 of it, got 1.5"),
    ],
)
def test_what_cannot_be_exact_is_refused_with_the_reason(changes: dict[str, Any], says: str) -> None:
    with pytest.raises(ns.ConversionError, match=says):
        ns.from_spikingjelly(linear(3, 3), node(LIF_NODE | changes, "m"))


def test_a_surrogate_that_has_another_formula_than_it_had_is_refused() -> None:
    layer = node(LIF_NODE)
    layer.surrogate_function.forward = lambda z: z.sigmoid()
    with pytest.raises(ns.ConversionError, match=r"is not what it was in SpikingJelly 2\.0\.0"):
        ns.from_spikingjelly(layer, input_shape=(3,))


def test_a_neuron_without_spikes_and_mixed_step_modes_are_refused() -> None:
    layer = node(LIF_NODE)
    layer.surrogate_function.spiking = False
    with pytest.raises(ns.ConversionError, match="spiking=False"):
        ns.from_spikingjelly(layer, input_shape=(3,))
    with pytest.raises(ns.ConversionError, match="some neurons have step_mode 's', some 'm'"):
        ns.from_spikingjelly(node(LIF_NODE, "s"), node(LIF_NODE, "m"), input_shape=(3,))


def test_torchs_own_flatten_on_sequences_is_refused() -> None:
    with pytest.raises(ns.ConversionError, match="SpikingJelly's own Flatten"):
        ns.from_spikingjelly(node(LIF_NODE, "m"), nn.Flatten(), input_shape=(3,))
