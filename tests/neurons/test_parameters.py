"""Parameters of neurons: numbers, tensors, learned ones; what is refused, and in which words."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch

import neurosim as ns
from neurosim.neurons import LIFState
from neurosim.surrogate import surrogate
from tests.neurons.cases import UNITS, drive

TAU, DT = 20e-3, 1e-3


# --- what they become ------------------------------------------------------------------------------------------------------------------


def test_numbers_stay_numbers_tensors_become_buffers_and_what_is_learned_parameters() -> None:
    neuron = ns.LIF(torch.full((UNITS,), TAU), DT, v_threshold=2.0, v_leak=0.1, learn=("v_leak",))
    assert set(dict(neuron.named_buffers())) == {"log_tau_mem"}
    assert set(dict(neuron.named_parameters())) == {"v_leak"}
    assert neuron.v_threshold == 2.0


@pytest.mark.parametrize("shape", [(), (1,), (UNITS,), (1, UNITS), (2, 1), (2, UNITS)])
def test_a_tensor_of_equal_numbers_is_that_number(shape: tuple[int, ...]) -> None:
    x = drive(30, 3, 2, UNITS)
    one = ns.LIF(TAU, DT, v_threshold=0.8, v_leak=0.1, r=9.0)
    many = ns.LIF(torch.full(shape, TAU), DT, v_threshold=torch.full(shape, 0.8), v_leak=torch.full(shape, 0.1), r=torch.full(shape, 9.0))
    torch.testing.assert_close(one.trace(x).v, many.trace(x).v, rtol=1e-5, atol=1e-6)
    assert torch.equal(one(x), many(x))


def test_a_parameter_of_one_channel_is_that_of_all_its_pixels() -> None:
    x, tau = drive(20, 2, 3, 4, 4), torch.tensor([5e-3, 20e-3, 80e-3])
    spikes = ns.LIF(tau.reshape(3, 1, 1), DT)(x)
    for channel in range(3):
        assert torch.equal(spikes[:, :, channel], ns.LIF(tau[channel], DT)(x[:, :, channel]))


def test_the_tensor_that_was_given_is_not_shared() -> None:
    threshold = torch.full((UNITS,), 0.8)
    neuron = ns.LIF(TAU, DT, v_threshold=threshold)
    before = neuron(drive())
    threshold.zero_()
    assert torch.equal(neuron(drive()), before)


def test_time_constants_are_read_back_in_seconds_learned_or_not() -> None:
    assert ns.LIF(TAU, DT).tau_mem == TAU
    for neuron in (ns.LIF(TAU, DT, learn="tau_mem"), ns.LIF(torch.tensor(TAU), DT)):
        assert torch.as_tensor(neuron.tau_mem).item() == pytest.approx(TAU, rel=1e-6)


def test_the_gain_by_default_counts_every_input_once_whatever_the_decay() -> None:
    for tau in (TAU, math.inf, torch.tensor(TAU)):
        assert ns.LI(tau, DT)(torch.tensor([[[0.3]]])).item() == pytest.approx(0.3)
    assert torch.as_tensor(ns.LI(TAU, DT, learn="r").r).item() == pytest.approx(1 / (1 - math.exp(-DT / TAU)))


def test_a_short_time_constant_survives_half_precision() -> None:
    """A nanosecond is 0 in float16."""
    neuron = ns.LI(torch.tensor(2e-9), 1e-9).half()
    assert neuron(torch.tensor([1.0, 0.0]).half().reshape(2, 1, 1)).flatten().tolist() == [1.0, pytest.approx(math.exp(-0.5), abs=1e-3)]


def test_a_surrogate_is_a_name_or_made_by_name() -> None:
    assert ns.LIF(TAU, DT, surrogate="logistic").surrogate == surrogate("logistic")
    assert ns.LIF(TAU, DT, surrogate=surrogate("arctan", alpha=3)).surrogate == surrogate("arctan", alpha=3)
    assert ns.LIF(TAU, DT).surrogate == surrogate("arctan", alpha=2)


@pytest.mark.parametrize(
    ("neuron", "text"),
    [
        (ns.LIF(TAU, DT), "LIF(tau_mem=0.02, dt=0.001)"),
        (ns.LIF(math.inf, DT, reset="hard", strict=True), "LIF(tau_mem=inf, dt=0.001, reset='hard', strict=True)"),
        (ns.LIF(torch.tensor([0.01, 0.03]), DT, learn="tau_mem"), "LIF(tau_mem=0.01 … 0.03 (2,), dt=0.001, learn=('tau_mem',))"),
        (ns.LIF(TAU, DT, surrogate=surrogate("arctan", alpha=3)), "LIF(tau_mem=0.02, dt=0.001, surrogate=surrogate('arctan', alpha=3))"),
        (ns.CubaLIF(TAU, 5e-3, DT, w_in=2), "CubaLIF(tau_mem=0.02, tau_syn=0.005, dt=0.001, w_in=2)"),
    ],
)
def test_it_is_printed_as_it_is_made(neuron: ns.Neuron[Any], text: str) -> None:
    assert str(neuron) == text


# --- what is refused -------------------------------------------------------------------------------------------------------------------

LIF: Any = ns.LIF  # arguments of a wrong type are the point
CubaLIF: Any = ns.CubaLIF
LI: Any = ns.LI

MAKING: list[tuple[Callable[[], object], str]] = [
    (lambda: LIF(0.0, DT), "LIF.tau_mem: must be more than 0 seconds, got 0"),
    (lambda: LIF(math.nan, DT), "LIF.tau_mem: must be more than 0 seconds, got nan"),
    (lambda: LIF(torch.tensor([TAU, -TAU]), DT), "LIF.tau_mem: must be more than 0 seconds in every element, got -0.02"),
    (lambda: LI(math.inf, DT, learn="tau_mem"), "LI.tau_mem: must be more than 0 seconds and finite, got inf"),
    (lambda: LIF(TAU, -DT), "LIF.dt: must be more than 0 seconds and finite, got -0.001"),
    (lambda: LIF(TAU, torch.tensor(DT)), "LIF.dt: must be a number, got a tensor"),
    (lambda: CubaLIF(TAU, 0.0, DT), "CubaLIF.tau_syn: must be more than 0 seconds, got 0"),
    (lambda: LIF("20 ms", DT), "LIF.tau_mem: must be a number or a tensor, got '20 ms'"),
    (lambda: LIF(TAU, DT, v_threshold=True), "LIF.v_threshold: must be a number or a tensor, got True"),
    (lambda: LIF(TAU, DT, v_threshold=math.nan), "LIF.v_threshold: must be a number, got nan"),
    (lambda: LIF(TAU, DT, v_threshold=math.inf, learn="v_threshold"), "LIF.v_threshold: must be finite, got inf"),
    (
        lambda: LIF(TAU, DT, v_threshold=-math.inf),
        "LIF.reset_by: must be given where the threshold is -inf, which no reset can subtract",
    ),
    (lambda: LIF(TAU, DT, v_leak=torch.ones(2, dtype=torch.complex64)), "LIF.v_leak: must be real, got a tensor of torch.complex64"),
    (lambda: LIF(TAU, DT, sign=0.5), "LIF.sign: must be 1 or -1, got 0.5"),
    (lambda: LIF(TAU, DT, input_noise=-0.1), "LIF.input_noise: must be 0 or more and finite, got -0.1"),
    (lambda: LIF(TAU, DT, reset="sft"), "LIF.reset: no reset is named 'sft'; did you mean 'soft'?"),
    (lambda: LIF(TAU, DT, surrogate="arctn"), "surrogate: no surrogate is named 'arctn'; did you mean 'arctan'?"),
    (lambda: LIF(TAU, DT, surrogate=2), "LIF.surrogate: must be a name or what surrogate(name) gave, got 2"),
    (lambda: LIF(TAU, DT, learn="tau"), "LIF.learn: no parameter that can be learned is named 'tau'; did you mean 'tau_mem'?"),
    (lambda: LI(TAU, DT, learn=["v_threshold"]), "LI.learn: no parameter that can be learned is named 'v_threshold'; valid: "),
    (lambda: ns.NEURONS["lifs"], "neuron: no neuron is named 'lifs'; did you mean 'lif'?"),
]


@pytest.mark.parametrize(("make", "message"), MAKING)
def test_what_a_neuron_cannot_be_made_of_is_said_in_one_line(make: Callable[[], object], message: str) -> None:
    with pytest.raises(ns.ConfigError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def zeros(*shape: int, **options: Any) -> LIFState:
    return LIFState(torch.zeros(*shape, **options))


RUNNING: list[tuple[Callable[[], object], str]] = [
    (
        lambda: LIF(TAU, DT)(torch.zeros(8, 5)),
        "LIF: x must be (time, batch, *units), with at least one axis of units, got shape (8, 5); a si",
    ),
    (lambda: LIF(TAU, DT)(drive() > 0), "LIF: x must be floating point, got torch.bool; spikes as numbers are x.float()"),
    (lambda: LIF(TAU, DT)([1.0]), "LIF: x must be a tensor, got list"),
    (lambda: LIF(torch.full((4,), TAU), DT)(drive()), "LIF.tau_mem: must broadcast to the units (5,) of x, got shape (4,)"),
    (
        lambda: LIF(TAU, DT, v_threshold=torch.ones(3))(drive(2, 2, 3, 4, 4)),
        "LIF.v_threshold: must broadcast to the units (3, 4, 4) of x, got shape (3,); one per channel has shape (3, 1, 1)",
    ),
    (
        lambda: LIF(TAU, DT, v_threshold=torch.ones(3, UNITS))(drive()),  # it would fit one step of a batch of 3
        "LIF.v_threshold: must broadcast to the units (5,) of x, got shape (3, 5)",
    ),
    (
        lambda: LIF(torch.full((UNITS,), TAU), DT).to("meta")(drive()),
        "LIF.tau_mem: must be on the device of x, cpu, got meta; move the neuron: neuron.to(x.device)",
    ),
    (lambda: LIF(TAU, DT).run(drive(), zeros(2, UNITS)), "LIF: state.v: must have the shape (3, 5) that one step of x has, got (2, 5)"),
    (lambda: LIF(TAU, DT).run(drive(), zeros(3, UNITS, device="meta")), "LIF: state.v: must be on the device of x, cpu, got meta"),
    (
        lambda: LIF(TAU, DT).run(drive().half(), zeros(3, UNITS, dtype=torch.float16)),
        "LIF: state.v: must be torch.float32 for x of torch.float16, got torch.float16",
    ),
    (lambda: LIF(TAU, DT).run(drive(), torch.zeros(3, 5)), "LIF: state must be a LIFState or None, got Tensor"),
    (
        lambda: LIF(TAU, DT, membrane_noise=0.1)(drive()),
        "LIF: noise needs a stream at every call, stream=neurosim.random.stream(seed, 'a name'), or a spiking network with a seed, "
        "neurosim.nn.give_clocks(model, seed=0), got input_noise=0, membrane_noise=0.1 and no stream",
    ),
]


@pytest.mark.parametrize(("call", "message"), RUNNING)
def test_what_a_neuron_cannot_run_is_said_in_one_line(call: Callable[[], object], message: str) -> None:
    with pytest.raises(ns.ConfigError) as caught:
        call()
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


# --- noise -----------------------------------------------------------------------------------------------------------------------------


def test_the_same_stream_gives_the_same_noise_and_another_draw_another() -> None:
    neuron, source = ns.LIF(TAU, DT, membrane_noise=0.3), ns.random.stream(7, "hidden")
    assert torch.equal(neuron(drive(), stream=source), neuron(drive(), stream=source))
    assert not torch.equal(neuron(drive(), stream=source), neuron(drive(), stream=source._replace(draw=1)))


def test_noise_on_the_membrane_has_the_variance_of_an_autoregressive_process() -> None:
    """v = a v + σ ξ has the variance σ²/(1 − a²) in the long run; the bound is 5 standard errors of n independent neurons."""
    n, a, sigma = 20_000, math.exp(-DT / 5e-3), 0.1
    neuron = ns.LIF(5e-3, DT, membrane_noise=sigma, v_threshold=math.inf, reset_by=1.0)
    _, state = neuron.run(torch.zeros(60, 1, n), stream=ns.random.stream(1, "membrane"))
    assert state.v.var().item() == pytest.approx(sigma**2 / (1 - a**2), rel=5 * math.sqrt(2 / n))


def test_noise_lifts_what_is_below_the_threshold_over_it() -> None:
    x = torch.full((200, 1, 50), 0.04)
    source = ns.random.stream(2, "resonance")
    assert ns.LIF(TAU, DT)(x).sum() == 0
    assert ns.LIF(TAU, DT, input_noise=0.1)(x, stream=source).sum() > 0
