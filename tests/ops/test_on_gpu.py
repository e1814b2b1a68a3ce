"""The kernels on a GPU against the definition on the CPU, and what only a GPU shows: streams, graphs, threads, no waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from torch import Tensor

from neurosim.ops import cuda
from neurosim.ops.cuba_lif import cuba_lif
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from neurosim.ops.neuron_arguments import RESETS
from neurosim.ops.quantize import Error, Levels, Limits, convert
from neurosim.random import stream
from neurosim.surrogate import SURROGATES, surrogate
from tests.ops.quantize_cases import Case, cases, equal_bits, run, signal

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16)
PARAMETERS = ("decay", "threshold", "reset_by", "gain", "bias", "v_reset")
Op = Callable[..., tuple[Tensor | None, ...]]


@pytest.fixture(autouse=True)
def kernels_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """On the GPU the kernels, on the CPU the definition."""
    original = cuda.available
    monkeypatch.setenv("NEUROSIM_NATIVE", "off")

    def available(device: torch.device) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("NEUROSIM_NATIVE", "require")
            return original(device)

    monkeypatch.setattr(cuda, "available", available)


def normal(name: str, shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    return stream(0, name).normal(shape, like=torch.empty(0, dtype=torch.float64)).to(dtype)


def on(device: str, op: Op, given: dict[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """Outputs, and gradients of a random weighting of them, on the CPU."""
    leaves = {name: tensor.to(device).requires_grad_() for name, tensor in given.items()}
    outputs = [out for out in op(**leaves) if out is not None]
    weights = [normal(f"out{at}", tuple(out.shape), torch.float64).to(device) for at, out in enumerate(outputs)]
    loss = torch.stack([(out * weight).sum() for out, weight in zip(outputs, weights, strict=True)]).sum()
    grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
    return [out.detach().cpu() for out in outputs], [grad.cpu() for grad in grads]


def agree(op: Op, given: dict[str, Tensor], error: float = 0.0, grad_error: float = 1e-5) -> None:
    (wanted, wanted_grads), (found, grads) = on("cpu", op, given), on("cuda", op, given)
    for one, other in zip(wanted, found, strict=True):
        torch.testing.assert_close(other, one, rtol=0, atol=error)
    for one, other in zip(wanted_grads, grads, strict=True):
        torch.testing.assert_close(other, one, rtol=grad_error, atol=grad_error * float(one.abs().max()) if one.numel() else 0)


def drive(shape: tuple[int, ...], dtype: torch.dtype = torch.float32, each: tuple[int, ...] | None = None) -> dict[str, Tensor]:
    compute = torch.float64 if dtype == torch.float64 else torch.float32
    given = {"x": 0.5 + 0.5 * normal("x", shape, dtype), "v": normal("v", shape[1:], compute)}
    return given | ({} if each is None else {name: 0.7 + 0.1 * normal(name, each, compute) for name in PARAMETERS})


def lif_op(**choices: Any) -> Op:
    def op(x: Tensor, v: Tensor | None = None, **parameters: Tensor) -> tuple[Tensor | None, ...]:
        return lif(x, v, **({"decay": 0.6, "record": True} | choices | parameters))

    return op


def test_the_kernels_are_usable() -> None:
    found = cuda.status()
    assert found.usable, found.reason


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("count", "offset"), [(1 << 20, 0), (1001, 3), (0, 0)])
def test_random_numbers(dtype: torch.dtype, count: int, offset: int) -> None:
    source, cpu, gpu = stream(3, "u", chip=2), torch.empty(0, dtype=dtype), torch.empty(0, dtype=dtype, device="cuda")
    assert torch.equal(source.uniform((count,), like=gpu, offset=offset).cpu(), source.uniform((count,), like=cpu, offset=offset))
    wanted, found = source.normal((count,), like=cpu, offset=offset), source.normal((count,), like=gpu, offset=offset).cpu()
    error = {torch.float16: 1e-3, torch.bfloat16: 8e-3}.get(dtype, 1e-6)
    assert bool(((found - wanted).abs() <= error * wanted.abs().clamp(min=1)).all())


@pytest.mark.parametrize("attached", [False, True])
@pytest.mark.parametrize("reset", RESETS)
def test_neurons_with_every_reset(reset: str, attached: bool) -> None:
    agree(lif_op(reset=reset, detach_reset=not attached), drive((7, 3, 5, 2), each=(5, 1)))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(4, 1 << 18), (16, 1 << 17), (32, 300, 7), (100, 1001), (1, 8), (0, 8), (3, 0)])
def test_neurons_of_every_type_and_size(dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    agree(lif_op(), drive(shape, dtype), grad_error=1e-5 if dtype.itemsize > 2 else 1e-2)


@pytest.mark.parametrize("name", [name for name in SURROGATES if SURROGATES[name].code is not None])
def test_neurons_with_every_surrogate(name: str) -> None:
    agree(lif_op(surrogate=surrogate(name)), drive((6, 100)))


@pytest.mark.parametrize("steps", [8, 70])
def test_neurons_with_a_synapse(steps: int) -> None:
    def op(x: Tensor, v: Tensor, **parameters: Tensor) -> tuple[Tensor | None, ...]:
        choices: dict[str, Any] = {"syn_decay": v, "detach_reset": False, "record": True} | parameters
        out = cuba_lif(x, w_in=choices.pop("reset_by"), **choices)
        return out.spikes, *out.state, out.record

    agree(op, drive((steps, 4, 6), each=(6,)))


def test_leaky_integrators() -> None:
    agree(lambda x, v: li(x, v, decay=0.7), drive((9, 33)))


def test_noisy_neurons() -> None:
    """To the precision of a normal number; no membrane is near enough to the threshold for that to matter."""
    agree(lif_op(input_noise=0.2, membrane_noise=0.1, stream=stream(5, "n", draw=3)), drive((5, 8)), error=2e-6)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(case=cases())
def test_the_quantiser(case: Case) -> None:
    x = signal(case.shape)
    there = {name: None if part is None else part._replace(**_moved(part)) for name, part in case.settings.items()}
    wanted, found = run(case, x), run(case._replace(settings=there), x.cuda())
    if case.is_exact:
        assert equal_bits(wanted.y, found.y.cpu())
    torch.testing.assert_close(found.y.cpu(), wanted.y, rtol=2e-6, atol=2e-6, equal_nan=True)
    for one, other in zip(wanted.grads, found.grads, strict=True):
        assert (one is None) is (other is None)
        if one is not None and other is not None:
            largest = float(one[one.isfinite()].abs().max()) if one.isfinite().any() else 0.0
            torch.testing.assert_close(other.cpu(), one, rtol=2e-5, atol=2e-5 * largest, equal_nan=True)


def _moved(part: Any) -> dict[str, Any]:
    return {
        name: value.detach().cuda().requires_grad_(value.requires_grad)
        for name, value in part._asdict().items()
        if isinstance(value, Tensor)
    }


@pytest.fixture
def work() -> Callable[[Tensor], list[Tensor]]:
    """All kinds of kernels, forward and backward, on one input."""
    noise = Error("gaussian", "additive", 0.1, stream(1, "noise"), "through")

    def everything(x: Tensor) -> list[Tensor]:
        spikes = lif(x, decay=0.5).spikes
        y = convert(x, before=noise, limits=Limits(-1.0, 1.0, "through"), levels=Levels(8.0, 0.0, -1.0, 1.0, "half_even", "before", "ste"))
        drawn = stream(2, "u").uniform((5,), like=x)
        return [spikes.detach(), y.detach(), drawn, *torch.autograd.grad(spikes.sum() + (y * y).sum(), x)]

    return everything


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def test_a_graph_is_captured_and_replayed_on_new_numbers(work: Callable[[Tensor], list[Tensor]]) -> None:
    x = normal("x", (4, 1000)).cuda().requires_grad_()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        work(x)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = work(x)
    with torch.no_grad():
        x.copy_(normal("other", (4, 1000)))
    graph.replay()
    assert same(captured, work(x))


def test_a_kernel_may_be_needed_for_the_first_time_while_a_graph_is_captured() -> None:
    x = normal("x", (13, 999)).cuda()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        spikes = lif(x, decay=0.5, reset="hard_next_erasing", strict=True, record=True).spikes
    graph.replay()
    assert torch.equal(spikes, lif(x, decay=0.5, reset="hard_next_erasing", strict=True, record=True).spikes)


def test_kernels_run_on_the_current_stream() -> None:
    """The input is there late: a kernel on another stream would read zeros."""
    x, late = torch.zeros(4, 1 << 16, device="cuda"), torch.ones(4, 1 << 16, device="cuda")
    torch.cuda.synchronize()
    side = torch.cuda.Stream()
    with torch.cuda.stream(side):
        torch.cuda._sleep(50_000_000)
        x.copy_(late)
        spikes = lif(x, decay=0.5).spikes
    side.synchronize()
    assert bool(spikes.all())


def test_nothing_waits_for_the_gpu(work: Callable[[Tensor], list[Tensor]]) -> None:
    x = normal("x", (4, 1000)).cuda().requires_grad_()
    work(x)
    torch.cuda.synchronize()
    mark = torch.cuda.Event()
    torch.cuda._sleep(2_000_000_000)
    work(x)
    mark.record()
    assert not mark.query()
    torch.cuda.synchronize()


def test_a_new_thread_can_start_kernels(work: Callable[[Tensor], list[Tensor]]) -> None:
    x = normal("x", (4, 1000)).cuda().requires_grad_()
    found: list[list[Tensor]] = []
    thread = threading.Thread(target=lambda: found.append(work(x)))
    thread.start()
    thread.join()
    assert same(found[0], work(x))


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
def test_memory_decides_on_which_gpu_a_kernel_runs(work: Callable[[Tensor], list[Tensor]]) -> None:
    x = normal("x", (4, 1000))
    first, second = (work(x.to(f"cuda:{index}").requires_grad_()) for index in (0, 1))
    assert same([part.cpu() for part in first], [part.cpu() for part in second])
