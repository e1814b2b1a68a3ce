"""Neurons that hear themselves: against a loop by hand, and made of any neuron and any connection."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.neurons import RLIF, CubaLIFState, LIFState, LinearToOthers, RCubaLIF, Recurrent, RecurrentState
from tests.neurons.cases import NOISE, UNITS, connected, drive
from tests.neurons.oracle import Array, Fire, Values, agrees, reset_by_hand

TAU, TAU_SYN, DT = 20e-3, 5e-3, 1e-3


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
def test_a_spike_comes_back_one_step_later_through_its_weight() -> None:
    """Three neurons in a ring of weights 1, no leak: one spike goes round for ever."""
    neuron = RLIF(3, math.inf, DT)
    neuron.connection.load_state_dict({"weight": torch.eye(3).roll(1, 0)})
    x = torch.zeros(7, 1, 3)
    x[0, 0, 0] = 1.0
    assert neuron(x)[:, 0].argmax(-1).tolist() == [0, 1, 2, 0, 1, 2, 0]
    assert neuron(x).sum() == 7


@pytest.mark.kernel
@pytest.mark.usefixtures("implementation")
def test_without_weights_it_is_the_neuron_itself() -> None:
    settings: dict[str, Any] = {"v_leak": 0.1, "r": 8.0, "reset": "hard", "membrane_noise": 0.1}
    pairs: list[tuple[Recurrent, ns.Neuron[Any]]] = [
        (RLIF(UNITS, TAU, DT, **settings), ns.LIF(TAU, DT, **settings)),
        (RCubaLIF(UNITS, TAU, TAU_SYN, DT, w_in=3.0, **settings), ns.CubaLIF(TAU, TAU_SYN, DT, w_in=3.0, **settings)),
    ]
    for recurrent, neuron in pairs:
        recurrent.connection.load_state_dict({"weight": torch.zeros(UNITS, UNITS)})
        assert torch.equal(recurrent(drive(40), stream=NOISE), neuron(drive(40), stream=NOISE))
        assert 0 < neuron(drive(40), stream=NOISE).sum() < drive(40).numel()


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("self_connections", [True, False])
@pytest.mark.parametrize("reset", ["soft", "hard"])
def test_it_equals_a_loop_by_hand_and_its_gradients_finite_differences(
    reset: Literal["soft", "hard"], self_connections: bool, detach_reset: bool
) -> None:
    """The gradients of the weights too, and none of a diagonal that is not used."""
    settings: dict[str, Any] = {"v_leak": 0.1, "v_reset": 0.05, "r": 15.0, "reset_by": 0.7, "v_threshold": 0.9}
    neuron = RLIF(3, TAU, DT, reset=reset, detach_reset=detach_reset, self_connections=self_connections, learn=RLIF.learnable, **settings)
    neuron.connection.load_state_dict({"weight": torch.tensor([[0.3, -0.2, 0.4], [0.5, -0.6, 0.1], [-0.3, 0.2, 0.7]])})

    def loop(p: Values, fire: Fire) -> tuple[Array, Array]:
        get = {name.removeprefix("neuron."): value for name, value in p.items()}
        a = np.exp(-DT / np.exp(get["log_tau_mem"]))
        weight = p["connection.weight"] * (1 - (not self_connections) * np.eye(3))
        v, s, spikes, potentials = get["v_leak"] + 0 * p["x"][0], 0 * p["x"][0], [], []
        for x in p["x"]:
            h = a * v + (1 - a) * (get["v_leak"] + get["r"] * (x + s @ weight.T))
            fired = fire(h - get["v_threshold"])
            v, s = reset_by_hand(h, fired, reset, detach_reset, get["reset_by"], get["v_reset"]), fired[0]
            spikes.append(s)
            potentials.append(v)
        return np.stack(spikes), np.stack(potentials)

    agrees(neuron.double(), loop, drive(10, 2, 3, dtype=torch.float64))


def test_with_a_synapse_the_recurrent_current_passes_it_too() -> None:
    x = drive(60, 2, 3, dtype=torch.float64)
    neuron = RCubaLIF(3, TAU, TAU_SYN, DT, w_in=2.0).double()
    weight = torch.tensor([[0.3, -0.2, 0.4], [0.5, -0.6, 0.1], [-0.3, 0.2, 0.7]], dtype=torch.float64)
    neuron.connection.load_state_dict({"weight": weight})
    a, alpha, i, v, s, expected = math.exp(-DT / TAU), math.exp(-DT / TAU_SYN), 0.0, 0.0, np.zeros((2, 3)), []
    for now in x.numpy():
        i = alpha * i + 2 * (1 - alpha) * (now + s @ weight.numpy().T)
        h = a * v + i
        s = (h >= 1).astype(float)
        v = h - s
        expected.append(s)
    np.testing.assert_array_equal(neuron(x).detach().numpy(), expected)
    assert 0 < np.sum(expected) < x.numel()


def test_any_neuron_can_be_connected_and_by_any_layer() -> None:
    """An LSNN, whose adaptation the loop knows nothing of; feature maps with a convolution."""
    lsnn = Recurrent(ns.ALIF(TAU, 50e-3, DT, beta=0.5), nn.Linear(UNITS, UNITS, bias=False))
    lsnn.connection.load_state_dict({"weight": 0.4 * torch.eye(UNITS)})
    spikes, state = lsnn.run(drive(30))
    neuron, before, inner = ns.ALIF(TAU, 50e-3, DT, beta=0.5), torch.zeros(1, 3, UNITS), None
    for now, expected in zip(drive(30), spikes, strict=True):
        before, inner = neuron.run(now[None] + before * 0.4, inner)
        assert torch.equal(before[0], expected)
    assert torch.equal(state.v, state.neuron.v)

    maps, conv = drive(6, 2, 3, 4, 4), nn.Conv2d(3, 3, 3, padding=1)
    spikes, state = Recurrent(ns.LIF(TAU, DT), conv).run(maps)
    again, _ = ns.LIF(TAU, DT).run(maps[1:2] + conv(spikes[0]), ns.LIF(TAU, DT).run(maps[:1] + conv(torch.zeros(2, 3, 4, 4)))[1])
    assert torch.equal(again[0], spikes[1])
    assert state.spikes.shape == (2, 3, 4, 4)


def test_its_connection_comes_onto_the_hardware_and_its_neuron_stays() -> None:
    analog = ns.to_analog(RLIF(UNITS, TAU, DT), "photonic_avnn", seed=3)
    assert list(ns.analog_layers(analog)) == ["connection"]
    assert isinstance(analog.neuron, ns.LIF)
    assert analog(drive()).shape == drive().shape


def test_units_without_self_connections_do_not_hear_themselves() -> None:
    neuron = RLIF(UNITS, math.inf, DT, self_connections=False)
    neuron.connection.load_state_dict({"weight": torch.eye(UNITS)})
    assert torch.equal(neuron(drive()), ns.LIF(math.inf, DT)(drive()))
    assert isinstance(neuron.connection, LinearToOthers)


def test_weights_without_self_connections_train_but_for_the_diagonal() -> None:
    neuron = connected(RLIF(UNITS, TAU, DT, self_connections=False))
    neuron(drive(40)).sum().backward()
    (weight,) = neuron.parameters()
    assert weight.grad is not None
    assert weight.grad.diagonal().abs().max() == 0
    assert (weight.grad.abs() > 0).sum() == UNITS * (UNITS - 1)


def test_a_threshold_that_is_changed_afterwards_is_that_of_the_neuron() -> None:
    neuron = connected(RLIF(UNITS, TAU, DT, v_threshold=0.8))
    changed = neuron.with_threshold(0.5)
    assert torch.equal(changed(drive()), connected(RLIF(UNITS, TAU, DT, v_threshold=0.5, reset_by=0.8))(drive()))
    assert neuron.v_threshold == 0.8


def test_parameters_of_the_neuron_can_be_read_at_it() -> None:
    neuron = RCubaLIF(UNITS, TAU, TAU_SYN, DT, w_in=2.0)
    assert (neuron.tau_mem, neuron.tau_syn, neuron.w_in, neuron.reset, neuron.units) == (TAU, TAU_SYN, 2.0, "soft", UNITS)
    with pytest.raises(AttributeError):
        _ = neuron.tau_adapt


def test_16_bit_inputs_go_through_weights_of_32() -> None:
    neuron, x = connected(RLIF(UNITS, TAU, DT)), drive().half()
    assert torch.equal(neuron(x), connected(RLIF(UNITS, TAU, DT))(x.float()).half())


REFUSED: list[tuple[Any, str]] = [
    (lambda: RLIF(0, TAU, DT), "RLIF.units: must be a whole number of 1 or more, got 0"),
    (lambda: RCubaLIF(2.5, TAU, TAU_SYN, DT), "RCubaLIF.units: must be a whole number of 1 or more, got 2.5"),  # type: ignore[arg-type]  # the point
    (lambda: RLIF(4, TAU, DT)(drive()), "RLIF: x must have 4 units in its last axis, as the connection has, got 5"),
    (lambda: RLIF(5, TAU, DT).run(drive(), LIFState(torch.zeros(3, 5))), "RLIF: state must be a RecurrentState or None, got LIFState"),  # type: ignore[arg-type]  # the point
    (
        lambda: RLIF(5, TAU, DT).run(drive(), RecurrentState(LIFState(torch.zeros(3, 5)), torch.zeros(3, 4))),
        "RLIF: state.spikes: must have the shape (3, 5) that one step of x has, got (3, 4)",
    ),
    (
        lambda: RLIF(5, TAU, DT).run(drive(), RecurrentState(CubaLIFState(torch.zeros(3, 5), torch.zeros(3, 5)), torch.zeros(3, 5))),
        "LIF: state must be a LIFState or None, got CubaLIFState",
    ),
    (lambda: RLIF(5, TAU, DT, membrane_noise=0.1)(drive()), "LIF: noise needs a stream at every call"),
    (
        lambda: Recurrent(ns.LIF(TAU, DT), nn.Conv2d(3, 3, 3))(drive(2, 2, 3, 4, 4)),
        "Recurrent.connection: must return the shape (2, 3, 4, 4)",
    ),
    (lambda: Recurrent(nn.ReLU(), nn.Identity()), "Recurrent.neuron: must be a neuron, got ReLU()"),  # type: ignore[arg-type]  # the point
    (lambda: Recurrent(ns.LIF(TAU, DT), 0.5), "Recurrent.connection: must be a module, got 0.5"),  # type: ignore[arg-type]  # the point
]


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_does_not_fit_is_said_in_one_line(call: Any, message: str) -> None:
    with pytest.raises(ns.ConfigError) as caught:
        call()
    assert str(caught.value).startswith(message)
