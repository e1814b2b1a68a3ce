"""Izhikevich's neurons: against the program in the paper, an integration of the equations, and a loop by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

import neurosim as ns
from neurosim.neurons import (
    IZHIKEVICH_PATTERNS,
    Firing,
    Izhikevich,
    IzhikevichParameters,
    IzhikevichPattern,
    IzhikevichState,
    izhikevich_step,
)
from tests.neurons.cases import drive
from tests.neurons.oracle import Array, Fire, Values, agrees


def spike_times(dt: float, current: float, milliseconds: float) -> dict[str, Array]:
    """Of all patterns, in ms."""
    numbers = (torch.tensor(one, dtype=torch.float64) for one in zip(*IZHIKEVICH_PATTERNS.values(), strict=True))
    neuron = Izhikevich(dt, **dict(zip("abcd", numbers, strict=True)))  # type: ignore[arg-type]  # of a dict
    x = torch.full((round(1e-3 * milliseconds / dt), 1, len(IZHIKEVICH_PATTERNS)), current, dtype=torch.float64)
    spikes = neuron(x)[:, 0].unbind(1)
    return {name: (torch.nonzero(one).flatten().numpy() + 1) * dt * 1e3 for name, one in zip(IZHIKEVICH_PATTERNS, spikes, strict=True)}


@pytest.mark.parametrize("name", list(IZHIKEVICH_PATTERNS))
def test_steps_of_a_millisecond_are_those_of_the_program_in_the_paper(name: str) -> None:
    """It finds at the start of a millisecond what fired in the one before, and resets it then."""
    a, b, c, d = IZHIKEVICH_PATTERNS[name]
    x = 30 * drive(300, 1, 1, dtype=torch.float64)
    v, u, fired_before = -65.0, b * -65.0, []
    for current in x.flatten().tolist():
        fired_before.append(float(v >= 30))
        if v >= 30:
            v, u = c, u + d
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + current)
        v = v + 0.5 * (0.04 * v**2 + 5 * v + 140 - u + current)
        u = u + a * (b * v - u)
    ours = Izhikevich(1e-3, pattern=name)(x).flatten().tolist()
    assert ours[:-1] == fired_before[1:]
    assert sum(ours) > 3


def exact_times(pattern: IzhikevichPattern, current: float, milliseconds: float) -> list[float]:
    """When the equations reach 30 mV, integrated to ten digits from spike to spike."""
    a, b, c, d = pattern

    def speed(_: float, y: Array) -> list[float]:
        v, u = y
        return [0.04 * v * v + 5 * v + 140 - u + current, a * (b * v - u)]

    def peak(_: float, y: Array) -> float:
        return float(y[0] - 30)

    peak.terminal = True  # type: ignore[attr-defined]  # how scipy wants it
    time, y = 0.0, [-65.0, b * -65.0]
    times: list[float] = []
    while True:
        part = solve_ivp(speed, (time, milliseconds), y, method="DOP853", rtol=1e-10, atol=1e-10, events=peak)
        if part.status != 1:
            return times
        time = float(part.t[-1])
        times.append(time)
        y = [c, float(part.y[1, -1]) + d]


def test_short_steps_fire_when_the_equations_do() -> None:
    """Every spike comes up to five steps late, which adds up; a fourth of the step makes it less than half as late."""
    found = {dt: spike_times(dt, 10.0, 40.0) for dt in (4e-5, 1e-5)}
    for name, pattern in IZHIKEVICH_PATTERNS.items():
        exact = np.array(exact_times(pattern, 10.0, 40.0)[:6])
        late = {dt: (times[name][: len(exact)] - exact) / np.arange(1, len(exact) + 1) for dt, times in found.items()}
        assert late[1e-5].min() >= 0
        assert late[1e-5].max() < 5 * 1e-2
        assert late[1e-5].max() < 0.5 * late[4e-5].max()


def test_patterns_are_what_their_names_say() -> None:
    """For half a second of 10 mV/ms: from regular spiking at a slowing rate to bursts of short intervals between long ones."""
    gaps = {name: np.diff(times) for name, times in spike_times(2.5e-4, 10.0, 500.0).items()}
    regular, fast = gaps["regular_spiking"], gaps["fast_spiking"]
    assert regular[0] < regular[1:].min()
    assert regular[3:].max() < 1.05 * regular[3:].min()
    assert fast.mean() < 0.5 * regular.mean()
    chattering = gaps["chattering"]
    assert chattering.min() < 6
    assert chattering.max() > 5 * chattering.min()
    assert sum(chattering > 3 * chattering.min()) > 2
    bursting = gaps["intrinsically_bursting"]
    assert bursting[0] < 0.5 * bursting[-1]


@pytest.mark.parametrize("detach_reset", [True, False])
def test_it_equals_a_loop_by_hand_and_its_gradients_finite_differences(detach_reset: bool) -> None:
    """The quadratic upstroke multiplies differences by thousands within a spike, so the steps of the differences are small."""
    neuron = Izhikevich(
        5e-4, pattern="fast_spiking", c=torch.tensor([-60.0, -50.0]), r=80.0, detach_reset=detach_reset, learn=Izhikevich.learnable
    )

    def loop(p: Values, fire: Fire) -> tuple[Array, Array]:
        v = -65.0 + 0 * p["x"][0]
        u, spikes, potentials = p["b"] * v, [], []
        for x in p["x"]:
            for _ in range(2):
                v = v + 0.25 * (0.04 * v**2 + 5 * v + 140 - u + p["r"] * x)
            u = u + 0.5 * p["a"] * (p["b"] * v - u)
            s, held = fire(v - 30)
            jump = held if detach_reset else s
            v, u = v * (1 - jump) + p["c"] * jump, u + p["d"] * jump
            spikes.append(s)
            potentials.append(v)
        return np.stack(spikes), np.stack(potentials)

    agrees(neuron.double(), loop, drive(16, 2, 2, dtype=torch.float64), Fire(alpha=0.064), step=2e-8)


def test_a_step_is_a_function_of_input_state_and_parameters() -> None:
    """One millisecond from v = −50, u = −10 with 10 mV/ms: −50 + ½ · (100 − 250 + 140 + 10 + 10), and again."""
    parameters = IzhikevichParameters(a=0.02, b=0.2, d=8.0, r=1.0, milliseconds=1.0, firing=Firing(30.0, v_reset=-65.0, reset="hard"))
    state = IzhikevichState(torch.full((1, 1), -50.0, dtype=torch.float64), torch.full((1, 1), -10.0, dtype=torch.float64))
    spikes, after = izhikevich_step(torch.full((1, 1), 10.0, dtype=torch.float64), state, parameters)
    half = -50 + 0.5 * 10
    v = half + 0.5 * (0.04 * half**2 + 5 * half + 160)
    assert spikes.item() == 0
    assert after.v.item() == pytest.approx(v)
    assert after.u.item() == pytest.approx(-10 + 0.02 * (0.2 * v + 10))


def test_numbers_that_are_given_win_over_those_of_the_pattern() -> None:
    neuron = Izhikevich(1e-3, pattern="chattering", d=torch.full((5,), 4.0))
    assert (neuron.a, neuron.b, neuron.c) == (0.02, 0.2, -50.0)
    assert torch.equal(torch.as_tensor(neuron.d), torch.full((5,), 4.0))


def test_an_unknown_pattern_is_answered_with_the_nearest() -> None:
    with pytest.raises(ns.ConfigError, match=r"^Izhikevich\.pattern: no pattern is named 'fastspiking'; did you mean 'fast_spiking'\?$"):
        Izhikevich(1e-3, pattern="fastspiking")


def test_its_peak_is_not_a_threshold_that_could_move() -> None:
    with pytest.raises(ns.ConfigError, match=r"^Izhikevich: with_threshold needs a neuron with one threshold; here the equation fires"):
        Izhikevich(1e-3).with_threshold(20.0)
