"""``convert`` within torch: its own checks, compilation, transforms, autocast, checkpoints, one derivative and no second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from neurosim.errors import RunError
from neurosim.ops import quantize_plan as codes
from neurosim.ops.quantize import Error, LearnedLevels, Levels, Limits, convert
from neurosim.random import Stream, stream

pytestmark = [pytest.mark.kernel, pytest.mark.usefixtures("implementation")]

SOURCE = stream(5, "layer", draw=2)
X = torch.linspace(-1.4, 1.4, 24).reshape(4, 6)
LOW, HIGH = torch.linspace(-1.0, -0.5, 6), torch.linspace(0.6, 1.1, 6)


def masked(x: Tensor, draw: int | Tensor = 1) -> Tensor:
    source = Stream((1, 2), 0, draw)
    return convert(x, limits=Limits(-1.0, 1.0), levels=Levels(8.0, grad="ste_masked"), after=Error("gaussian", "additive", 0.1, source))


def identity(x: Tensor, draw: int | Tensor = 1) -> Tensor:
    return convert(x, levels=Levels(8.0), after=Error("gaussian", "additive", 0.1, Stream((1, 2), 0, draw)))


def general(x: Tensor, draw: int | Tensor = 1, low: Tensor = LOW, high: Tensor = HIGH) -> Tensor:
    source = Stream((1, 2), 0, draw)
    noise = Error("uniform", "proportional", 0.2, source)
    return convert(x, before=noise, levels=LearnedLevels(17, low, high), after=noise._replace(source=Stream((3, 4), 0, draw)), channel=-1)


FUNCTIONS = [masked, identity, general]


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_compiled_function_is_one_graph_and_gives_the_same_values_and_gradients(function: Callable[..., Tensor]) -> None:
    compiled = torch.compile(lambda x, draw: function(x.sin(), draw).square().sum(), fullgraph=True, backend="aot_eager")
    for draw in (torch.tensor(1), torch.tensor(2)):
        x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
        compiled(x, draw).backward()
        function(y.sin(), draw).square().sum().backward()
        assert torch.equal(x.grad, y.grad)  # type: ignore[arg-type]  # both have one by now


def test_a_compiled_function_follows_counters_without_being_compiled_anew() -> None:
    torch._dynamo.reset()
    compiled = torch.compile(lambda x, draw: masked(x, draw), fullgraph=True, backend="aot_eager")
    for draw in (1, 2, 3):
        compiled(X, draw)
    with torch.compiler.set_stance("fail_on_recompile"):
        for draw in range(5, 15):
            assert torch.equal(compiled(X, draw), masked(X, draw))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_signals_may_be_mapped_over(function: Callable[..., Tensor]) -> None:
    batch = torch.stack([X, X.flip(0), X * 2])
    expected = torch.stack([function(x) for x in batch])
    assert torch.equal(torch.func.vmap(function)(batch), expected)
    assert torch.equal(torch.func.vmap(function, in_dims=1, out_dims=1)(batch.movedim(0, 1)), expected.movedim(0, 1))


def test_signals_may_be_mapped_over_in_one_pass_where_nothing_is_random() -> None:
    batch = torch.stack([X, X.flip(0)])
    for settings in ({"limits": Limits(LOW, HIGH), "channel": 1}, {"limits": Limits(-0.5, 0.5), "levels": Levels(4.0)}):
        mapped = torch.func.vmap(lambda x, settings=settings: convert(x, **settings))(batch)
        assert torch.equal(mapped, torch.stack([convert(x, **settings) for x in batch]))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_chips_may_be_mapped_over_with_their_gradients(function: Callable[..., Tensor]) -> None:
    draws = torch.arange(3)
    values = torch.stack([function(X, draw) for draw in draws])
    assert torch.equal(torch.func.vmap(lambda draw: function(X, draw))(draws), values)
    slopes = torch.func.vmap(torch.func.grad(lambda x, draw: function(x, draw).square().sum()), in_dims=(None, 0))(X, draws)
    for slope, draw in zip(slopes, draws, strict=True):
        x = X.clone().requires_grad_()
        assert torch.allclose(slope, torch.autograd.grad(function(x, draw).square().sum(), x)[0])


def test_gradients_of_bounds_may_be_mapped_over() -> None:
    batch = torch.stack([X, X.flip(1)])
    mapped = torch.func.vmap(torch.func.grad(lambda low, x: general(x, 1, low).sum()), in_dims=(None, 0))(LOW, batch)
    for slope, x in zip(mapped, batch, strict=True):
        low = LOW.clone().requires_grad_()
        assert torch.allclose(slope, torch.autograd.grad(general(x, 1, low).sum(), low)[0])


@pytest.mark.parametrize("function", FUNCTIONS)
def test_the_gradient_by_a_transform_is_that_by_backward(function: Callable[..., Tensor]) -> None:
    x = X.clone().requires_grad_()
    expected = torch.autograd.grad(function(x).square().sum(), x)[0]
    assert torch.allclose(torch.func.grad(lambda x: function(x).square().sum())(X), expected)
    assert torch.allclose(torch.func.vjp(function, X)[1](2 * function(X))[0], expected)


@pytest.mark.parametrize("function", [masked, general])
def test_a_second_derivative_is_refused_by_name(function: Callable[..., Tensor]) -> None:
    x = X.clone().requires_grad_()
    (first,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
    with pytest.raises(RunError, match=r"neurosim::quantize\w*: it has no derivative"):
        first.sum().backward()
    with pytest.raises(RunError, match="can be differentiated once, not twice"):
        torch.func.grad(torch.func.grad(lambda x: function(x * X).sum()))(torch.ones(()))


def test_forward_mode_is_refused_and_not_silently_zero() -> None:
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(masked, (X,), (X,))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_an_activation_checkpoint_changes_nothing(function: Callable[..., Tensor]) -> None:
    x, y = X.clone().requires_grad_(), X.clone().requires_grad_()
    checkpoint(lambda x: function(x.sin()), x, use_reentrant=False).square().sum().backward()
    function(y.sin()).square().sum().backward()
    assert torch.equal(x.grad, y.grad)  # type: ignore[arg-type]  # both have one by now


@pytest.mark.parametrize("function", FUNCTIONS)
def test_autocast_keeps_the_type_of_the_signal(function: Callable[..., Tensor]) -> None:
    expected = function(X)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(function(X), expected)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_no_gradient_is_recorded_where_none_is_wanted(function: Callable[..., Tensor]) -> None:
    assert not function(X).requires_grad
    with torch.no_grad():
        assert not function(X.clone().requires_grad_()).requires_grad
    with torch.inference_mode():
        assert torch.equal(function(X), function(X))


@pytest.mark.parametrize("function", FUNCTIONS)
def test_a_meta_tensor_gets_shape_and_type_without_values(function: Callable[..., Tensor]) -> None:
    settings: dict[str, Any] = {"device": "meta", "dtype": torch.bfloat16}
    if function is general:
        y = general(torch.empty(4, 6, **settings), 1, LOW.to("meta"), HIGH.to("meta"))
    else:
        y = function(torch.empty(4, 6, **settings))
    assert (y.shape, y.dtype, y.is_meta) == ((4, 6), torch.bfloat16, True)


def test_saved_memory_is_one_byte_an_element_for_a_mask_and_none_for_the_identity() -> None:
    sizes: list[int] = []

    def pack(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel() * tensor.element_size())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        masked(X.clone().requires_grad_())
        assert sizes == [X.numel()]
        identity(X.clone().requires_grad_())
        assert sizes == [X.numel()]


KEPT = codes.LIMITS | codes.MASKED | codes.KEEP
STOCHASTIC = codes.ROUNDINGS.index("stochastic") << codes.ROUNDING
LSQ = codes.LEARNED | codes.GENERAL | 1 << codes.CLIP | codes.LEVEL_GRADS.index("lsq") << codes.LEVEL_GRAD
CALLS: dict[str, tuple[list[Any], list[Tensor], list[int], list[float]]] = {
    "mask": ([None] * 8, [], [KEPT, 0, 0], [-1.0, 1.0] + [0.0] * 9),
    "identity": ([None] * 8, [torch.tensor(3)], [codes.FIXED | STOCHASTIC, 0, 0, 1, 2, 0, -1, 0], [0.0, 0.0, 4.0, 0.0, 0.25] + [0.0] * 6),
    "learned": ([None, None, LOW.clone().requires_grad_(), HIGH] + [None] * 4, [], [LSQ, -1, 9], [0.0] * 11),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_op_passes_the_checks_of_torch(name: str) -> None:
    operands, counters, plan, numbers = CALLS[name]
    arguments = (X.clone().requires_grad_(), *operands, counters, plan, numbers)
    assert set(torch.library.opcheck(torch.ops.neurosim.quantize.default, arguments).values()) == {"SUCCESS"}


def test_the_ops_of_the_backward_pass_pass_the_checks_of_torch() -> None:
    operands, counters, plan, numbers = CALLS["learned"]
    arguments: tuple[Any, ...] = (
        X,
        X,
        *[operand.detach() if operand is not None else None for operand in operands],
        counters,
        plan,
        numbers,
    )
    for needs in (0b0001101, 0b0001100):
        assert set(torch.library.opcheck(torch.ops.neurosim.quantize_backward.default, (*arguments, needs)).values()) == {"SUCCESS"}
    masks = torch.library.opcheck(torch.ops.neurosim.quantize_mask_backward.default, (X, X > 0))
    assert set(masks.values()) == {"SUCCESS"}
