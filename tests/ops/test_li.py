"""``li``: the membrane without spikes; on the reference and on the kernels."""

from __future__ import annotations

import math

import pytest
import torch

from neurosim.errors import ConfigError
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from tests.ops.neuron_cases import laid_out, normal

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation", "poisoned")]


def test_a_constant_input_is_the_geometric_series() -> None:
    after, last = li(torch.ones(20, 1, dtype=torch.float64), decay=0.9, gain=0.5, bias=0.25)
    t = torch.arange(1, 21, dtype=torch.float64)
    torch.testing.assert_close(after[:, 0], 0.75 * (1 - 0.9**t) / 0.1)
    assert last.item() == after[-1].item()


def test_it_is_the_membrane_of_a_neuron_that_never_fires() -> None:
    x, v = normal("x", (12, 3, 50)), normal("v", (3, 50))
    decay, bias = torch.linspace(0.5, 1, 50), torch.linspace(-1, 1, 50)
    after, last = li(x, v, decay=decay, gain=1.5, bias=bias)
    silent = lif(x, v, decay=decay, gain=1.5, bias=bias, threshold=math.inf, record=True)
    assert silent.record is not None
    assert torch.equal(after, silent.record)
    assert torch.equal(last, silent.v)


def test_a_sequence_can_be_cut_in_time() -> None:
    x = normal("x", (20, 3, 5))
    whole, end = li(x, decay=0.8)
    first, state = li(x[:12], decay=0.8)
    second, last = li(x[12:], state, decay=0.8)
    assert torch.equal(torch.cat([first, second]), whole)
    assert torch.equal(last, end)


def test_the_gradient_of_the_last_membrane_is_the_power_of_the_decay() -> None:
    x, v = torch.zeros(9, 4, requires_grad=True), torch.zeros(4, requires_grad=True)
    li(x, v, decay=0.5)[1].sum().backward()
    assert x.grad is not None
    assert v.grad is not None
    assert torch.equal(x.grad, (0.5 ** torch.arange(8, -1, -1.0))[:, None].expand(9, 4))
    assert torch.equal(v.grad, torch.full((4,), 0.5**9))


def test_a_learned_decay_has_the_derivative_of_the_polynomial() -> None:
    """With inputs 1, the last of three membranes is 1 + a + a², whose derivative is 1 + 2 a."""
    decay = torch.tensor(0.25, requires_grad=True)
    li(torch.ones(3, 1), decay=decay)[1].sum().backward()
    assert decay.grad is not None
    assert decay.grad.item() == 1.5


def test_nan_and_infinity_spread_in_time_and_nowhere_else() -> None:
    x = torch.zeros(3, 3)
    x[1, 0], x[1, 1] = math.nan, math.inf
    after, _ = li(x, decay=0.5)
    assert after[:, 0].isnan().tolist() == [False, True, True]
    assert after[:, 1].tolist() == [0.0, math.inf, math.inf]
    assert after[:, 2].tolist() == [0.0, 0.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_inputs_are_integrated_in_float32(dtype: torch.dtype) -> None:
    x = normal("x", (50, 33), dtype)
    after, last = li(x, decay=0.99)
    exact, end = li(x.float(), decay=0.99)
    assert after.dtype == dtype
    assert torch.equal(after, exact.to(dtype))
    assert torch.equal(last, end)


@pytest.mark.parametrize("layout", ["channels last", "strided", "reversed"])
def test_the_order_in_memory_changes_no_number(layout: str) -> None:
    x = normal("x", (5, 2, 3, 4, 6))
    assert torch.equal(li(laid_out(x, layout), decay=0.8)[0], li(x, decay=0.8)[0])


@pytest.mark.parametrize("shape", [(0, 3), (4, 0), (0,)])
def test_no_steps_or_no_units_give_empty_results(shape: tuple[int, ...]) -> None:
    after, last = li(torch.empty(shape), decay=0.8)
    assert after.shape == shape
    assert torch.equal(last, torch.zeros(shape[1:]))


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"li: v must be floating point, of shape \(3,\)"):
        li(torch.zeros(4, 3), torch.zeros(4), decay=0.5)
