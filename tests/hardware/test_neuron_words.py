"""Neurons in words against whole numbers of numpy: states, spikes and overflows are equal, not close."""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurosim.hardware.stages import FixedPoint
from neurosim.hardware.word_neuron import run_words
from neurosim.ops.lif import lif
from neurosim.random import stream

Ints = NDArray[np.int64]
FRACTION = 12  #: bits of a decay
STEP = 2.0**-5


class IntegerRun(NamedTuple):
    spikes: Ints
    currents: Ints
    potentials: Ints
    overflows: int


def shifted(product: Ints, rounding: str) -> Ints:
    """A product with a decay, back from 12 more bits, by shifts alone."""
    below: Ints = product >> FRACTION
    if rounding == "floor":
        return below
    if rounding == "to_zero":
        toward: Ints = np.sign(product) * (np.abs(product) >> FRACTION)
        return toward
    half = 1 << (FRACTION - 1)
    rest = product - (below << FRACTION)
    even: Ints = below + ((rest > half) | ((rest == half) & (below % 2 == 1)))
    return even


def limited(words: Ints, bits: int, overflow: str) -> tuple[Ints, int]:
    """Words of a register, and how many did not fit."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    lost = int(((words < low) | (words > high)).sum())
    if overflow == "saturate":
        return np.minimum(np.maximum(words, low), high), lost
    return ((words + (1 << (bits - 1))) & ((1 << bits) - 1)) - (1 << (bits - 1)), lost


def integer_neurons(
    x: Ints, *, decay: Ints, syn: Ints | None, theta: Ints, rho: Ints, back: int, reset: str, spec: FixedPoint
) -> IntegerRun:
    """The chip, in int64."""
    v, i = np.zeros_like(x[0]), np.zeros_like(x[0])
    spikes, currents, potentials, overflows = [], [], [], 0
    for x_t in x:
        drive = x_t
        if syn is not None:
            i, lost = limited(shifted(i * syn, spec.rounding) + x_t, spec.bits, spec.overflow)
            drive, overflows = i, overflows + lost
        h, lost = limited(shifted(v * decay, spec.rounding) + drive, spec.bits, spec.overflow)
        fired = (h >= theta).astype(np.int64)
        after = h - rho * fired if reset == "soft" else np.where(fired == 1, back, h) if reset == "hard" else h
        v, again = limited(after, spec.bits, spec.overflow)
        overflows += lost + again
        spikes.append(fired)
        currents.append(i)
        potentials.append(v)
    return IntegerRun(np.stack(spikes), np.stack(currents), np.stack(potentials), overflows)


def drawn(seed: int, low: int, high: int, shape: tuple[int, ...]) -> Ints:
    return np.random.default_rng(seed).integers(low, high, shape)


@pytest.mark.parametrize("rounding", ["half_even", "to_zero", "floor"])
@pytest.mark.parametrize("overflow", ["saturate", "wrap"])
@pytest.mark.parametrize("reset", ["none", "soft", "hard"])
@pytest.mark.parametrize("synapse", [False, True])
def test_words_are_those_of_an_integer_machine(
    rounding: Literal["half_even", "to_zero", "floor"], overflow: Literal["saturate", "wrap"], reset: Any, synapse: bool
) -> None:
    spec = FixedPoint(bits=9, range=8.0, rounding=rounding, overflow=overflow)
    x, units = drawn(1, -190, 220, (40, 3, 17)), (17,)
    decay, syn = drawn(2, 0, 4097, units), drawn(3, 0, 4097, units) if synapse else None
    theta, rho = drawn(4, 5, 200, units), drawn(5, 5, 120, units)
    expected = integer_neurons(x, decay=decay, syn=syn, theta=theta, rho=rho, back=-3, reset=reset, spec=spec)
    got = run_words(
        torch.tensor(x * STEP, dtype=torch.float32),
        None,
        None,
        words=spec,
        step=STEP,
        decay=torch.tensor(decay / 4096, dtype=torch.float32),
        syn_decay=None if syn is None else torch.tensor(syn / 4096, dtype=torch.float32),
        threshold=torch.tensor(theta * STEP, dtype=torch.float32),
        reset_by=torch.tensor(rho * STEP, dtype=torch.float32),
        v_reset=-3 * STEP,
        reset=reset,
        record=True,
    )
    assert got.spikes is not None
    assert got.record is not None
    assert expected.overflows > 0
    assert 0 < expected.spikes.mean() < 1
    assert np.array_equal(got.spikes.numpy(), expected.spikes)
    assert np.array_equal(got.record.numpy() / STEP, expected.potentials)
    assert np.array_equal(got.v.numpy() / STEP, expected.potentials[-1])
    assert int(got.overflows) == expected.overflows
    if synapse:
        assert got.i is not None
        assert np.array_equal(got.i.numpy() / STEP, expected.currents[-1])


def test_the_widest_words_are_exact_too() -> None:
    spec = FixedPoint(bits=24, range=8.0, rounding="to_zero", overflow="wrap")
    step = 8.0 / (1 << 23)
    x, decay = drawn(6, -(1 << 22), 1 << 22, (30, 2, 9)), np.full((9,), 4095)
    huge = np.full((9,), 1 << 40)
    expected = integer_neurons(x, decay=decay, syn=None, theta=huge, rho=huge, back=0, reset="none", spec=spec)
    given: dict[str, Any] = {"words": spec, "step": step, "decay": 4095 / 4096, "threshold": math.inf, "reset": "none", "record": True}
    got = run_words(torch.tensor(x * step, dtype=torch.float32), None, None, **given)
    assert got.record is not None
    assert np.array_equal(got.record.double().numpy() / step, expected.potentials)


def test_numbers_that_are_no_words_are_rounded_to_the_nearest() -> None:
    spec = FixedPoint(bits=8, range=1.0, rounding="floor")
    step = 1 / 128
    got = run_words(
        torch.tensor([0.30, 0.001, 0.5 * step]).reshape(3, 1, 1), None, None, words=spec, step=step, decay=0.0, fires=False, record=True
    )
    assert got.record is not None
    assert (got.record.flatten() * 128).tolist() == [38, 0, 0]  # 38.4, 0.128, and half a step, which goes to the even word


def test_a_sequence_in_words_can_be_cut_in_time_without_change() -> None:
    given: dict[str, Any] = {"words": FixedPoint(bits=10, range=8.0, rounding="to_zero"), "step": 2.0**-6, "decay": 0.9, "syn_decay": 0.7}
    x = stream(1, "drive").normal((20, 2, 5), like=torch.empty(0))
    whole = run_words(x, None, None, **given)
    first = run_words(x[:7], None, None, **given)
    second = run_words(x[7:], first.i, first.v, **given)
    assert whole.spikes is not None
    assert whole.i is not None
    assert first.spikes is not None
    assert second.spikes is not None
    assert second.i is not None
    assert torch.equal(whole.spikes, torch.cat([first.spikes, second.spikes]))
    assert torch.equal(whole.v, second.v)
    assert torch.equal(whole.i, second.i)
    assert int(whole.overflows) == int(first.overflows + second.overflows)


@pytest.mark.parametrize("detach_reset", [True, False])
@pytest.mark.parametrize("reset", ["none", "soft", "hard"])
def test_gradients_of_fine_words_are_those_of_real_numbers(reset: Any, detach_reset: bool) -> None:
    x = (0.4 * stream(2, "drive").normal((12, 2, 6), like=torch.empty(0, dtype=torch.float64)) + 0.3).requires_grad_()
    decay = torch.linspace(0.5, 0.95, 6, dtype=torch.float64).requires_grad_()
    theta = torch.linspace(0.8, 1.2, 6, dtype=torch.float64).requires_grad_()
    rule: dict[str, Any] = {"reset": reset, "detach_reset": detach_reset, "record": True}
    clean = lif(x, decay=decay, threshold=theta, **rule)
    rounded = run_words(x, None, None, words=FixedPoint(bits=24, range=8.0), step=2.0**-20, decay=decay, threshold=theta, **rule)
    assert rounded.spikes is not None
    assert rounded.record is not None
    assert clean.record is not None
    assert torch.equal(clean.spikes, rounded.spikes)
    weight = stream(3, "weight").normal(x.shape, like=x.detach())
    wanted = torch.autograd.grad((clean.spikes * weight + clean.record).sum(), (x, decay, theta))
    got = torch.autograd.grad((rounded.spikes * weight + rounded.record).sum(), (x, decay, theta))
    for one, other in zip(got, wanted, strict=True):  # 12 steps, each off by a step of 2^-20 at most
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_what_saturates_has_no_gradient_and_what_wraps_has() -> None:
    for spec, value, slope in (
        (FixedPoint(bits=8, range=8.0, overflow="saturate"), 8 - 2**-4, 0.0),
        (FixedPoint(bits=8, range=8.0, overflow="wrap"), 20.0 - 16, 1.0),
    ):
        x = torch.full((1, 1, 1), 20.0, requires_grad=True)
        v = run_words(x, None, None, words=spec, step=2.0**-4, decay=0.5, fires=False).v
        assert v.item() == value
        assert torch.autograd.grad(v.sum(), x)[0].item() == slope


def test_an_infinite_threshold_never_fires_and_leaves_everything_finite() -> None:
    x = torch.full((5, 1, 2), 3.0, requires_grad=True)
    theta = torch.tensor([math.inf, 1.0])
    got = run_words(x, None, None, words=FixedPoint(bits=8, range=8.0), step=2.0**-4, decay=0.5, threshold=theta, detach_reset=False)
    assert got.spikes is not None
    assert got.spikes[..., 0].sum() == 0
    assert got.spikes[..., 1].sum() == 5
    (grad,) = torch.autograd.grad(got.spikes.sum() + got.v.sum(), x)
    assert grad.isfinite().all()


def test_a_unit_whose_sign_is_turned_fires_at_and_below_its_threshold() -> None:
    x = torch.tensor([0.0, 0.5, 0.75]).reshape(3, 1, 1)
    given: dict[str, Any] = {"words": FixedPoint(bits=8, range=8.0), "step": 2.0**-4, "decay": 0.0, "threshold": 0.5, "reset": "none"}

    def fired(**rule: Any) -> list[float]:
        spikes = run_words(x, None, None, **given, **rule).spikes
        assert isinstance(spikes, Tensor)
        return spikes.flatten().tolist()

    assert fired() == [0, 1, 1]
    assert fired(strict=True) == [0, 0, 1]
    assert fired(sign=-1.0) == [1, 1, 0]


def test_no_steps_give_the_state_back() -> None:
    v = torch.tensor([[0.5, 0.25]])
    got = run_words(torch.empty(0, 1, 2), None, v, words=FixedPoint(bits=8, range=8.0), step=2.0**-4, decay=0.5, record=True)
    assert got.spikes is not None
    assert got.spikes.shape == (0, 1, 2)
    assert torch.equal(got.v, v)
