"""Gradients of the neuron ops: against autograd through equations of this test's own, and against finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from neurosim.ops.cuba_lif import CubaLIFState, cuba_lif
from neurosim.ops.li import li
from neurosim.ops.lif import lif
from neurosim.ops.neuron_arguments import RESETS, Reset
from neurosim.surrogate import SURROGATES, surrogate
from tests.ops.neuron_cases import CUBA_LIF, LIF, model, normal, parameter

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation", "poisoned")]

T, UNITS = 9, (3, 4)
SHAPES = dict(zip(CUBA_LIF, ((4,), (3, 1), (3, 4), (), (4,), (1,), (4,), (4,), (3, 1)), strict=True))


def leaves(names: tuple[str, ...]) -> tuple[Tensor, Tensor, Tensor, dict[str, Any]]:
    """Input, current, membrane, and tensors that can be handed on by name, whatever the argument."""
    shapes = {"x": (T, *UNITS), "i": UNITS, "v": UNITS}
    x, i, v = ((0.3 + normal(name, shape, torch.float64)).requires_grad_() for name, shape in shapes.items())
    parameters = {name: parameter(name, SHAPES[name], torch.float64).requires_grad_(name != "sign") for name in names}
    return x, i, v, parameters


def grads_of(outputs: tuple[Tensor, ...], wanted: list[Tensor]) -> list[Tensor]:
    loss = sum(((out * normal(f"g{at}", tuple(out.shape), torch.float64)).sum() for at, out in enumerate(outputs)), torch.zeros(()))
    found: Any = torch.autograd.grad(loss, wanted, allow_unused=True)
    return [torch.zeros_like(leaf) if grad is None else grad for leaf, grad in zip(wanted, found, strict=True)]


@pytest.mark.parametrize("synapse", [False, True], ids=["lif", "cuba_lif"])
@pytest.mark.parametrize("detach", [True, False], ids=["detached", "attached"])
@pytest.mark.parametrize("strict", [False, True], ids=["lax", "strict"])
@pytest.mark.parametrize("reset", RESETS)
def test_all_gradients_are_those_of_autograd_through_the_equations(reset: Reset, strict: bool, detach: bool, synapse: bool) -> None:
    names = CUBA_LIF if synapse else LIF
    flags: dict[str, Any] = {"reset": reset, "strict": strict, "detach_reset": detach}
    x, i, v, p = leaves(names)
    wanted = [x, v, *([i] if synapse else []), *(tensor for name, tensor in p.items() if name != "sign")]
    spikes, current, after, record = model(x, (i, v), p, synapse, shape=surrogate("arctan"), **flags)
    expected = grads_of((spikes, after, record, *([current] if synapse else [])), wanted)
    if synapse:
        cuba = cuba_lif(x, CubaLIFState(i, v), **p, **flags, record=True)
        outputs = (cuba.spikes, cuba.state.v, cuba.record, cuba.state.i)
    else:
        out = lif(x, v, **p, **flags, record=True)
        outputs = (out.spikes, out.v, out.record)  # type: ignore[assignment]  # one fewer
    found = grads_of(tuple(part for part in outputs if part is not None), wanted)
    assert torch.equal(outputs[0], spikes)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(name for name in SURROGATES if SURROGATES[name].code is not None))
def test_every_surrogate_reaches_every_parameter(name: str) -> None:
    x, i, v, p = leaves(LIF)
    wanted = [x, v, *(tensor for key, tensor in p.items() if key != "sign")]
    shape = surrogate(name)
    expected = grads_of(model(x, (i, v), p, False, reset="hard", detach_reset=False, shape=shape)[:1], wanted)
    found = grads_of((lif(x, v, **p, reset="hard", detach_reset=False, surrogate=shape).spikes,), wanted)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("reset", ["none", "soft", "hard", "soft_next", "hard_next_erasing"])
def test_the_gradient_of_detached_spikes_is_the_slope_of_smooth_ones_with_the_same_resets(reset: Reset) -> None:
    """With resets held where they are, spikes replaced by the surrogate's smooth step have a true derivative: finite differences of it."""
    x = (0.5 + normal("x", (12, 5), torch.float64)).requires_grad_()
    weight = normal("w", (12, 5), torch.float64)
    a, theta = 0.8, 0.7
    out = lif(x, decay=a, threshold=theta, reset=reset, v_reset=0.1, surrogate=surrogate("logistic", alpha=3), record=True)
    assert out.record is not None
    (found,) = torch.autograd.grad((out.spikes * weight).sum(), x)
    fired = out.spikes.detach() > 0
    before = torch.cat([torch.zeros(1, 5, dtype=torch.bool), out.record.detach()[:-1] >= theta])

    def loss(x: Tensor) -> Tensor:
        v, total = torch.zeros(5, dtype=torch.float64), torch.zeros((), dtype=torch.float64)
        for x_t, s, r, w in zip(x, fired, before, weight, strict=True):
            h = a * v + x_t - (theta * r if reset == "soft_next" else 0)
            h = torch.where(r, 0.1, h) if reset == "hard_next_erasing" else h
            total = total + (w * torch.sigmoid(3 * (h - theta))).sum()
            v = h - theta * s if reset == "soft" else torch.where(s, 0.1, h) if reset == "hard" else h
        return total

    step = 1e-6
    for t, unit in ((0, 0), (3, 1), (7, 2), (11, 4)):
        moved = torch.zeros_like(weight)
        moved[t, unit] = step
        slope = (loss(x.detach() + moved) - loss(x.detach() - moved)) / (2 * step)
        torch.testing.assert_close(found[t, unit], slope, rtol=1e-6, atol=1e-9)


def test_without_spikes_all_derivatives_are_those_of_finite_differences() -> None:
    parameters = {name: parameter(name, (3,), torch.float64).requires_grad_() for name in ("decay", "gain", "bias")}
    x, v = (normal(name, shape, torch.float64).requires_grad_() for name, shape in (("x", (5, 2, 3)), ("v", (2, 3))))

    def integrate(x: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        return li(x, v, **dict(zip(parameters, rest, strict=True)))

    def record(x: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
        named: dict[str, Any] = dict(zip(parameters, rest, strict=True))
        out = lif(x, v, **named, threshold=1e9, record=True)
        assert out.record is not None
        return out.record, out.v

    for function in (integrate, record):
        assert torch.autograd.gradcheck(function, (x, v, *parameters.values()))


def test_a_filtered_input_has_the_derivatives_of_finite_differences() -> None:
    tensors = [normal(name, shape, torch.float64).requires_grad_() for name, shape in (("x", (5, 2, 3)), ("i", (2, 3)), ("v", (2, 3)))]
    tensors += [parameter(name, (3,), torch.float64).requires_grad_() for name in ("syn_decay", "w_in", "decay", "gain")]

    def run(x: Tensor, i: Tensor, v: Tensor, *rest: Tensor) -> tuple[Tensor, ...]:
        parameters: dict[str, Any] = dict(zip(("syn_decay", "w_in", "decay", "gain"), rest, strict=True))
        out = cuba_lif(x, CubaLIFState(i, v), **parameters, threshold=1e9, record=True)
        assert out.record is not None
        return out.record, *out.state

    assert torch.autograd.gradcheck(run, tensors)


@pytest.mark.parametrize("shape", [(), (1,), (4,), (3, 1), (3, 4)])
def test_a_gradient_is_summed_over_what_its_parameter_broadcasts_to(shape: tuple[int, ...]) -> None:
    x = (0.3 + normal("x", (T, *UNITS))).requires_grad_()
    one = parameter("threshold", shape, torch.float32).requires_grad_()
    full = one.detach().expand(UNITS).clone().requires_grad_()
    weight = normal("w", (T, *UNITS))
    (small,) = torch.autograd.grad((lif(x, decay=0.8, threshold=one).spikes * weight).sum(), one)
    (large,) = torch.autograd.grad((lif(x, decay=0.8, threshold=full).spikes * weight).sum(), full)
    torch.testing.assert_close(small, large.sum_to_size(shape))


def test_a_parameter_in_another_precision_gets_its_gradient_in_its_own() -> None:
    x = 0.3 + normal("x", (T, *UNITS), torch.bfloat16)
    for dtype in (torch.float64, torch.float32, torch.bfloat16):
        decay = torch.full((4,), 0.75, dtype=dtype, requires_grad=True)
        (grad,) = torch.autograd.grad(lif(x, decay=decay).spikes.float().sum(), decay)
        assert grad.dtype == dtype


def test_the_threshold_that_is_subtracted_gets_both_parts_of_its_gradient() -> None:
    x = 0.3 + normal("x", (T, *UNITS))
    weight = normal("w", (T, *UNITS))
    theta, rho = (torch.full((4,), 0.75, requires_grad=True) for _ in range(2))
    (whole,) = torch.autograd.grad((lif(x, decay=0.8, threshold=theta).spikes * weight).sum(), theta)
    parts = torch.autograd.grad((lif(x, decay=0.8, threshold=theta, reset_by=rho).spikes * weight).sum(), (theta, rho))
    torch.testing.assert_close(whole, parts[0] + parts[1])


@pytest.mark.parametrize("used", ["spikes", "v", "record"])
def test_results_that_are_not_used_add_nothing(used: str) -> None:
    x, _, v, p = leaves(LIF)
    wanted = [x, v, *(tensor for name, tensor in p.items() if name != "sign")]
    out = lif(x, v, **p, detach_reset=False, record=True)._asdict()
    weights = {name: normal(name, tuple(part.shape), torch.float64) for name, part in out.items()}
    alone = torch.autograd.grad((out[used] * weights[used]).sum(), wanted, allow_unused=True, retain_graph=True)
    zeros = sum(((part * (weights[name] if name == used else 0)).sum() for name, part in out.items()), torch.zeros(()))
    together = torch.autograd.grad(zeros, wanted, allow_unused=True)
    for one, other in zip(alone, together, strict=True):
        assert one is not None
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(
    "make", [lambda w: w.expand(T, *UNITS), lambda w: w[:, :1].expand(3, 4).expand(T, *UNITS), lambda w: w.mean().expand(T, 3, 4)]
)
def test_gradients_with_stride_0_are_read_as_what_they_stand_for(make: Callable[[Tensor], Tensor]) -> None:
    x = (0.3 + normal("x", (T, *UNITS))).requires_grad_()
    upstream = make(normal("w", UNITS))
    spikes = lif(x, decay=0.8).spikes
    (expanded,) = torch.autograd.grad(spikes, x, upstream, retain_graph=True)
    (dense,) = torch.autograd.grad(spikes, x, upstream.contiguous())
    assert torch.equal(expanded, dense)


def test_only_what_needs_a_gradient_gets_one() -> None:
    x, _, v, p = leaves(LIF)
    p = {name: tensor.detach() for name, tensor in p.items()}
    p["decay"].requires_grad_()
    lif(x.detach(), v.detach(), **p).spikes.sum().backward()
    assert p["decay"].grad is not None
    assert x.grad is None
    assert v.grad is None
