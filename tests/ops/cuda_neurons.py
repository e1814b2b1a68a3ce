"""A neuron op on the emulation of CUDA beside the definition in torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from neurosim.ops.cuda_cache import Kernel
from neurosim.ops.lif import lif
from neurosim.random import stream
from tests.ops.cuda_tools import on_emulation

Op = Callable[[Tensor, Tensor, dict[str, Tensor]], tuple[Tensor | None, ...]]


class Result(NamedTuple):
    outputs: list[Tensor]
    grads: list[Tensor]
    started: list[Kernel]  #: the neurons' kernels


def normal(seed: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return stream(0, seed).normal(shape, like=torch.empty(0, dtype=torch.float64)).to(dtype)


def inputs(shape: tuple[int, ...], dtype: torch.dtype, tensors: Mapping[str, tuple[int, ...]]) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    parameters = {name: 0.7 + 0.1 * normal(name, size, compute) for name, size in tensors.items()}
    return 0.5 + 0.5 * normal("x", shape, dtype), normal("v", shape[1:], compute), parameters


def run(op: Op, x: Tensor, v: Tensor, parameters: dict[str, Tensor], emulated: bool) -> Result:
    """Outputs, and gradients of a random weighting of them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEUROSIM_NATIVE", "off")
        started = on_emulation(patch) if emulated else []
        leaves = [tensor.detach().requires_grad_() for tensor in (x, v, *parameters.values())]
        outputs = [out for out in op(leaves[0], leaves[1], dict(zip(parameters, leaves[2:], strict=True))) if out is not None]
        loss = sum(
            ((out.double() * normal(f"out{at}", tuple(out.shape)).double()).sum() for at, out in enumerate(outputs)), torch.zeros(())
        )
        grads = torch.autograd.grad(loss, leaves, allow_unused=True)
        neurons = [kernel for kernel in started if kernel.entry.startswith("neurons")]
        return Result([out.detach() for out in outputs], list(grads), neurons)


def agree(
    op: Op,
    shape: tuple[int, ...],
    dtype: torch.dtype = torch.float32,
    tensors: Mapping[str, tuple[int, ...]] | None = None,
    error: float = 0.0,
    grad_error: float = 1e-5,
) -> Result:
    """Both ways give the same forward (to the bit, or to ``error``), and the same gradients; what the emulation gave."""
    given = inputs(shape, dtype, tensors or {})
    wanted, found = run(op, *given, emulated=False), run(op, *given, emulated=True)
    assert bool(found.started) == (given[1].numel() > 0)
    for one, other in zip(wanted.outputs, found.outputs, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=error)
    for one, other in zip(wanted.grads, found.grads, strict=True):
        torch.testing.assert_close(other, one, rtol=grad_error, atol=grad_error * float(one.abs().max()) if one.numel() else 0)
    return found


def lif_op(**settings: Any) -> Op:
    def op(x: Tensor, v: Tensor, parameters: dict[str, Tensor]) -> tuple[Tensor | None, ...]:
        return lif(x, v, **({"decay": 0.6, "record": True} | settings | parameters))

    return op


def settings_of(kernel: Kernel) -> dict[str, str]:
    return dict(kernel.definitions)
