"""``cuba_lif``: a filter of the input before the neuron; on the reference and on the kernels."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from neurosim.errors import ConfigError
from neurosim.ops.cuba_lif import CubaLIFState, cuba_lif
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from neurosim.ops.neuron_arguments import RESETS, Reset
from neurosim.random import stream
from tests.ops.neuron_cases import laid_out, normal

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation", "poisoned")]


@pytest.mark.parametrize("reset", RESETS)
def test_it_is_a_leaky_integrator_followed_by_a_neuron(reset: Reset) -> None:
    x = normal("x", (12, 3, 40))
    i, v = normal("i", (3, 40)), normal("v", (3, 40))
    syn_decay, w_in = torch.linspace(0.2, 0.9, 40), torch.linspace(1, 2, 40)
    arguments: dict[str, Any] = {"decay": 0.8, "gain": 0.7, "bias": 0.1, "v_reset": -0.1, "reset": reset, "record": True}
    out = cuba_lif(x, CubaLIFState(i, v), syn_decay=syn_decay, w_in=w_in, **arguments)
    current, last = li(x, i, decay=syn_decay, gain=w_in)
    expected = lif(current, v, **arguments)
    assert torch.equal(out.spikes, expected.spikes)
    assert torch.equal(out.state.i, last)
    assert torch.equal(out.state.v, expected.v)
    assert out.record is not None
    assert expected.record is not None
    assert torch.equal(out.record, expected.record)


def test_without_memory_of_its_own_the_filter_is_a_weight() -> None:
    x = normal("x", (12, 40))
    assert torch.equal(cuba_lif(x, syn_decay=0.0, w_in=2.0, decay=0.8).spikes, lif(2.0 * x, decay=0.8).spikes)


def test_a_kick_decays_as_the_two_exponentials_say() -> None:
    alpha, beta = 0.5, 0.8
    x = torch.zeros(10, 1, dtype=torch.float64)
    x[0] = 1
    record = cuba_lif(x, syn_decay=alpha, decay=beta, reset="none", record=True).record
    t = torch.arange(10, dtype=torch.float64)
    assert record is not None
    torch.testing.assert_close(record[:, 0], (beta ** (t + 1) - alpha ** (t + 1)) / (beta - alpha))


def test_a_sequence_can_be_cut_in_time() -> None:
    x = 0.5 + normal("x", (20, 3, 5))
    arguments: dict[str, Any] = {"syn_decay": 0.6, "decay": 0.8, "input_noise": 0.1, "membrane_noise": 0.2, "stream": stream(1, "a")}
    whole = cuba_lif(x, **arguments)
    first = cuba_lif(x[:12], **arguments)
    second = cuba_lif(x[12:], first.state, step=12, **arguments)
    assert torch.equal(torch.cat([first.spikes, second.spikes]), whole.spikes)
    assert torch.equal(second.state.i, whole.state.i)
    assert torch.equal(second.state.v, whole.state.v)


def test_noise_comes_before_the_filter() -> None:
    x, source = normal("x", (12, 3, 5)), stream(1, "a")
    noisy = x + 0.1 * source.child("input").normal(x.shape, like=x)
    found = cuba_lif(x, syn_decay=0.6, decay=0.8, input_noise=0.1, stream=source)
    expected = cuba_lif(noisy, syn_decay=0.6, decay=0.8)
    assert torch.equal(found.spikes, expected.spikes)
    assert torch.equal(found.state.i, expected.state.i)


@pytest.mark.parametrize("layout", ["channels last", "strided"])
def test_the_order_in_memory_changes_no_number(layout: str) -> None:
    x = 0.5 + normal("x", (5, 2, 3, 4, 6))
    arguments: dict[str, Any] = {"syn_decay": torch.tensor([0.5, 0.7, 0.9])[:, None, None], "decay": 0.8}
    one, other = cuba_lif(x, **arguments), cuba_lif(laid_out(x, layout), **arguments)
    assert torch.equal(one.spikes, other.spikes)
    assert torch.equal(one.state.i, other.state.i)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_inputs_have_a_state_in_float32(dtype: torch.dtype) -> None:
    out = cuba_lif(normal("x", (20, 33), dtype), syn_decay=0.5, decay=0.9)
    assert (out.spikes.dtype, out.state.i.dtype, out.state.v.dtype) == (dtype, torch.float32, torch.float32)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0,)])
def test_no_steps_or_no_units_give_empty_spikes_and_the_state_back(shape: tuple[int, ...]) -> None:
    state = CubaLIFState(normal("i", shape[1:]).requires_grad_(), normal("v", shape[1:]).requires_grad_())
    out = cuba_lif(torch.empty(shape), state, syn_decay=0.5, decay=0.5)
    assert out.spikes.shape == shape
    assert torch.equal(out.state.i, state.i)
    assert torch.equal(out.state.v, state.v)
    grads = torch.autograd.grad(out.state.i.sum() + 2 * out.state.v.sum(), state)
    assert [grad.tolist() for grad in grads] == [torch.full(shape[1:], factor).tolist() for factor in (1.0, 2.0)]


def test_a_state_that_does_not_fit_is_refused_by_its_name() -> None:
    with pytest.raises(ConfigError, match=r"cuba_lif: i must be floating point, of shape \(3,\)"):
        cuba_lif(torch.zeros(4, 3), CubaLIFState(torch.zeros(2), torch.zeros(3)), syn_decay=0.5, decay=0.5)
    with pytest.raises(ConfigError, match="cuba_lif: syn_decay must broadcast to one time step"):
        cuba_lif(torch.zeros(4, 3), syn_decay=torch.ones(2), decay=0.5)
