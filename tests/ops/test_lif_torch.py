"""The neuron ops within torch: checks of its own, tracing, batching over chips, autocast, one derivative and not two."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from neurosim.errors import RunError
from neurosim.ops.cuba_lif import CubaLIFState, cuba_lif
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from neurosim.random import stream
from tests.ops.neuron_cases import laid_out, normal

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation")]

NUMBERS = [0.8, 1.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.5, 1.0, 0.0, 0.0, 2.0, 1.0]
SOURCE = stream(4, "layer")


def settings(record: bool, noise: bool) -> list[int]:
    return [1, 0, 0, 1, record, 1, *((*SOURCE.key, 0, 0, 0, 0) if noise else ())]


def learned(*shape: int) -> Tensor:
    return normal("x", shape).requires_grad_()


@pytest.mark.parametrize("layout", ["contiguous", "channels last"])
@pytest.mark.parametrize("noise", [False, True])
@pytest.mark.parametrize("op", ["lif", "lif_recorded", "cuba_lif", "cuba_lif_recorded", "li"])
def test_every_op_passes_the_checks_of_torch(op: str, noise: bool, layout: str) -> None:
    x = laid_out(normal("x", (5, 2, 3, 4)), layout).requires_grad_()
    numbers = [*NUMBERS[:9], 0.1 * noise, 0.2 * noise, *NUMBERS[11:]]
    rest = (None, numbers, settings(op.endswith("recorded"), noise), "arctan")
    arguments: tuple[Any, ...]
    if op == "li":
        arguments = (x, learned(2, 3, 4), learned(3, 1), None, None, numbers, [0, 0, 1, 0, 1, 0])
    elif op.startswith("cuba"):
        arguments = (x, learned(2, 3, 4), None, learned(4), learned(3, 1), None, None, None, None, None, learned(), None, *rest)
    else:
        arguments = (x, learned(2, 3, 4), learned(4), learned(3, 1), None, None, None, None, None, *rest)
    results = torch.library.opcheck(getattr(torch.ops.neurosim, op).default, arguments)
    assert set(results.values()) == {"SUCCESS"}


class Layer(nn.Module):
    """Learned parameters, noise, all three ops, a view between them."""

    def __init__(self) -> None:
        super().__init__()
        self.decay = nn.Parameter(torch.linspace(0.5, 0.9, 6))
        self.threshold = nn.Parameter(torch.tensor(0.7))

    def forward(self, x: Tensor) -> Tensor:
        out = lif(x, decay=self.decay, threshold=self.threshold, input_noise=0.1, stream=SOURCE, record=True)
        assert out.record is not None
        cuba = cuba_lif(out.spikes + out.record, syn_decay=0.5, decay=self.decay, detach_reset=False)
        after, _ = li(cuba.spikes.flatten(1), decay=0.9)
        return after[-1] + cuba.state.v.sum() + out.v.mean()


def test_a_layer_compiles_into_one_graph_with_the_same_results_and_gradients() -> None:
    layer, x = Layer(), learned(8, 4, 6)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    results = []
    for call in (layer, compiled):
        y = call(x)
        results.append((y.detach(), *torch.autograd.grad(y.square().sum(), (x, *layer.parameters()))))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other)


def batched_and_alone(run: Callable[..., tuple[Tensor, ...]], tensors: dict[str, Tensor], dims: dict[str, int | None]) -> None:
    """``run`` mapped over chips equals ``run`` for each of them, results and gradients."""
    mapped = torch.func.vmap(run, in_dims=tuple(dims[name] for name in tensors))(*tensors.values())
    for chip in range(3):
        alone = run(*(tensor if dims[name] is None else tensor.select(dims[name] or 0, chip) for name, tensor in tensors.items()))
        for one, other in zip(mapped, alone, strict=True):
            assert torch.equal(one[chip], other)


def test_it_is_mapped_over_chips_with_parameters_inputs_and_noise_of_their_own() -> None:
    tensors = {"x": normal("x", (6, 3, 4, 5)), "decay": 0.5 + 0.1 * normal("d", (3, 5)), "chip": torch.arange(3), "v": normal("v", (4, 5))}

    def run(x: Tensor, decay: Tensor, chip: Tensor, v: Tensor) -> tuple[Tensor, ...]:
        source = SOURCE._replace(chip=chip)
        out = lif(x, v, decay=decay, input_noise=0.1, membrane_noise=0.1, stream=source, record=True)
        assert out.record is not None
        cuba = cuba_lif(x, CubaLIFState(v, v), syn_decay=decay, decay=0.8)
        return out.spikes, out.v, out.record, cuba.spikes, *cuba.state, *li(x, v, decay=decay)

    batched_and_alone(run, tensors, {"x": 1, "decay": 0, "chip": 0, "v": None})


def test_gradients_per_chip_are_those_of_each_chip() -> None:
    x, weight, decay = normal("x", (6, 4, 5)), normal("w", (6, 4, 5)), 0.5 + 0.1 * normal("d", (3, 5))

    def loss(decay: Tensor, x: Tensor) -> Tensor:
        return (lif(x, decay=decay, detach_reset=False).spikes * weight).sum()

    mapped = torch.func.vmap(torch.func.grad(loss, argnums=(0, 1)), in_dims=(0, None))(decay, x)
    for chip in range(3):
        alone = torch.func.grad(loss, argnums=(0, 1))(decay[chip], x)
        for one, other in zip(mapped, alone, strict=True):
            torch.testing.assert_close(one[chip], other)


def test_under_autocast_spikes_have_the_type_of_the_layer_before() -> None:
    layer = nn.Linear(5, 7)
    x = normal("x", (6, 4, 5))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = lif(layer(x), decay=torch.full((7,), 0.9))
        loss = layer.weight.new_zeros(()) + (out.spikes * normal("w", (6, 4, 7))).sum()
    loss.backward()
    assert (out.spikes.dtype, out.v.dtype) == (torch.bfloat16, torch.float32)
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.abs().sum() > 0


@pytest.mark.parametrize("name", ["lif", "cuba_lif", "li"])
def test_a_second_derivative_is_refused_with_the_name_of_the_op(name: str) -> None:
    x = learned(6, 4)
    run: dict[str, Callable[[], Tensor]] = {
        "lif": lambda: lif(x, decay=0.8).spikes,
        "cuba_lif": lambda: cuba_lif(x, syn_decay=0.5, decay=0.8).spikes,
        "li": lambda: li(x, decay=torch.tensor(0.8, requires_grad=True))[0],
    }
    (grad,) = torch.autograd.grad((run[name]() * x).sum(), x, create_graph=True)
    with pytest.raises(RunError, match=f"neurosim::{name}_backward: .* differentiated once, not twice"):
        grad.square().sum().backward()


def test_no_gradient_is_kept_where_none_is_wanted() -> None:
    x = learned(6, 4)
    with torch.no_grad():
        assert not lif(x, decay=0.8).spikes.requires_grad
    assert not lif(x.detach(), decay=0.8).spikes.requires_grad


def test_nothing_is_kept_for_the_way_back_but_the_input() -> None:
    x, decay = learned(6, 4, 5), torch.full((5,), 0.8, requires_grad=True)
    kept: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        lif(x, decay=decay)
    assert {tensor.data_ptr() for tensor in kept} == {x.data_ptr(), decay.data_ptr()}


def test_parameters_that_were_changed_in_place_since_are_noticed() -> None:
    x, decay = learned(6, 4), torch.full((4,), 0.8, requires_grad=True)
    spikes = lif(x, decay=decay).spikes
    with torch.no_grad():
        decay.mul_(0.5)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        spikes.sum().backward()


def test_the_global_generator_is_neither_used_nor_changed() -> None:
    before = torch.get_rng_state()
    lif(learned(6, 4), decay=0.8, input_noise=0.3, stream=SOURCE).spikes.sum().backward()
    assert torch.equal(torch.get_rng_state(), before)
