"""The neuron kernels for CUDA, run thread by thread on the CPU: types, layouts and sizes, against the definition in torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from neurosim.ops import neuron_cuda
from neurosim.ops.lif import lif
from tests.ops.cuda_neurons import agree, lif_op, normal, run, settings_of
from tests.ops.cuda_tools import needs_compiler

pytestmark = needs_compiler


@pytest.fixture
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread takes several neurons however few there are."""
    monkeypatch.setattr(neuron_cuda, "ENOUGH", 1)


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16], ids=str)
def test_an_access_has_128_bits_where_memory_lies_so(dtype: torch.dtype) -> None:
    found = agree(lif_op(), (3, 2, 32), dtype, {"threshold": (32,)}, grad_error=1e-5 if dtype.itemsize > 2 else 1e-2)
    assert [int(settings_of(kernel)["NS_WIDTH"]) * dtype.itemsize for kernel in found.started] == [16, 16]


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize(("units", "width"), [(7, 1), (6, 2), (12, 4)])
def test_a_ragged_row_has_narrower_accesses(units: int, width: int) -> None:
    found = agree(lif_op(), (3, units))
    assert {settings_of(kernel)["NS_WIDTH"] for kernel in found.started} == {str(width)}


@pytest.mark.usefixtures("wide")
def test_memory_that_begins_anywhere_has_narrow_accesses() -> None:
    def op(x: Tensor, v: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        out = lif(x.flatten()[1:9].reshape(2, 4), v, decay=0.6)
        return out.spikes, out.v

    given = normal("x", (3, 4)), normal("v", (4,))
    wanted, found = run(op, *given, {}, emulated=False), run(op, *given, {}, emulated=True)
    assert torch.equal(wanted.outputs[0], found.outputs[0])
    assert settings_of(found.started[0])["NS_WIDTH"] == "1"


def test_few_neurons_are_spread_over_many_threads() -> None:
    found = agree(lif_op(), (3, 12))
    assert {settings_of(kernel)["NS_WIDTH"] for kernel in found.started} == {"1"}


@pytest.mark.usefixtures("wide")
@pytest.mark.parametrize("shape", [(), (4,), (3, 1), (1, 4), (3, 4), (2, 1, 1), (2, 3, 4)])
def test_a_parameter_of_any_shape(shape: tuple[int, ...]) -> None:
    agree(lif_op(), (4, 2, 3, 4), tensors={"decay": shape, "threshold": shape})


@pytest.mark.usefixtures("wide")
def test_channels_last_gives_channels_last() -> None:
    def op(x: Tensor, v: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        out = lif(x.movedim(-1, 2), v.movedim(-1, 1), decay=0.6, threshold=parameters["threshold"])
        assert out.spikes.movedim(2, -1).is_contiguous()
        return out.spikes, out.v

    agree(op, (4, 2, 3, 2, 4), tensors={"threshold": (4, 1, 1)})


def test_a_gradient_that_is_the_same_for_all_steps_is_not_copied() -> None:
    def op(x: Tensor, v: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor, ...]:
        return (lif(x, v, decay=0.6).spikes.sum(0),)

    agree(op, (4, 6))


@pytest.mark.parametrize("shape", [(0, 6), (4, 0), (1, 6), (0, 0)])
def test_nothing_to_do(shape: tuple[int, ...]) -> None:
    agree(lif_op(), shape)


def test_every_element_is_written(poisoned: None) -> None:
    agree(lif_op(), (3, 7))


def test_nan_and_infinity_behave_as_in_the_definition() -> None:
    def op(x: Tensor, v: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor, ...]:
        out = lif(x, v, decay=0.6, record=True)
        return out.spikes, out.v, torch.stack([out.record]) if out.record is not None else out.v

    x = normal("x", (4, 8))
    x[1, 0], x[1, 1], x[1, 2] = torch.nan, torch.inf, -torch.inf
    wanted, found = run(op, x, torch.zeros(8), {}, emulated=False), run(op, x, torch.zeros(8), {}, emulated=True)
    for one, other in zip(wanted.outputs + wanted.grads, found.outputs + found.grads, strict=True):
        torch.testing.assert_close(other, one, rtol=1e-5, atol=1e-6, equal_nan=True)
