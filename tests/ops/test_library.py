"""What every op gets from the way it is declared: dispatch, one derivative, batching, tracing."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from neurosim.errors import RunError
from neurosim.ops.library import define


def _cube(x: Tensor, factor: float) -> Tensor:
    return x * x * x * factor


def _slope(grad: Tensor, x: Tensor, factor: float) -> Tensor:
    return grad * (3 * factor) * x * x


def _setup(ctx: Any, args: tuple[Any, ...], result: Tensor) -> None:
    ctx.save_for_backward(args[0])
    ctx.factor = args[1]


@pytest.fixture(scope="module")
def cube() -> Callable[..., Any]:
    slope = define(
        "test_slope(Tensor grad, Tensor x, float factor) -> Tensor",
        _slope,
        lambda grad, x, factor: torch.empty_like(x),
    )

    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return slope(grad, ctx.saved_tensors[0], ctx.factor), None

    return define(
        "test_cube(Tensor x, float factor) -> Tensor",
        _cube,
        lambda x, factor: torch.empty_like(x),
        setup_context=_setup,
        backward=backward,
    )


def test_an_op_passes_the_checks_of_torch(cube: Callable[..., Any]) -> None:
    results = torch.library.opcheck(torch.ops.neurosim.test_cube.default, (torch.randn(5, requires_grad=True), 2.0))
    assert set(results.values()) == {"SUCCESS"}


def test_the_gradient_is_that_of_finite_differences(cube: Callable[..., Any]) -> None:
    x = torch.linspace(-1, 1, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: cube(x, 2.0), x)


def test_batching_gives_what_a_loop_gives(cube: Callable[..., Any]) -> None:
    x = torch.arange(6.0).reshape(2, 3)
    assert torch.equal(torch.func.vmap(lambda x: cube(x, 1.0))(x), x**3)
    assert torch.equal(torch.func.vmap(lambda x: cube(x, 1.0), in_dims=1, out_dims=1)(x), x**3)


def test_transforms_of_torch_func_differentiate_once(cube: Callable[..., Any]) -> None:
    x = torch.arange(3.0)
    assert torch.equal(torch.func.grad(lambda x: cube(x, 1.0).sum())(x), 3 * x * x)
    assert torch.equal(torch.func.vmap(torch.func.grad(lambda x: cube(x, 1.0)))(x), 3 * x * x)


def test_a_compiled_function_is_one_graph_and_gives_the_same(cube: Callable[..., Any]) -> None:
    compiled = torch.compile(lambda x: cube(x.sin(), 2.0).sum(), fullgraph=True, backend="aot_eager")
    x, y = (torch.linspace(-1, 1, 5, requires_grad=True) for _ in range(2))
    compiled(x).backward()
    cube(y.sin(), 2.0).sum().backward()
    assert x.grad is not None
    assert y.grad is not None
    assert torch.equal(x.grad, y.grad)


def test_a_second_derivative_is_refused_by_name(cube: Callable[..., Any]) -> None:
    x = torch.ones(3, requires_grad=True)
    (first,) = torch.autograd.grad(cube(x, 1.0).sum(), x, create_graph=True)
    with pytest.raises(RunError, match="neurosim::test_slope: it has no derivative"):
        first.sum().backward()


@pytest.mark.parametrize("twice", [lambda f: torch.func.grad(torch.func.grad(f)), torch.func.hessian])
def test_a_second_derivative_of_torch_func_is_refused(cube: Callable[..., Any], twice: Callable[..., Any]) -> None:
    with pytest.raises(RunError, match="neurosim::test_cube: it can be differentiated once, not twice"):
        twice(lambda x: cube(x, 1.0).sum())(torch.ones(()))


def test_forward_mode_is_refused_and_not_silently_zero(cube: Callable[..., Any]) -> None:
    with pytest.raises(NotImplementedError, match="jvp"):
        torch.func.jvp(lambda x: cube(x, 1.0), (torch.ones(3),), (torch.ones(3),))


class Seen(TorchDispatchMode):
    """Lists the ops that are called within it."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


def test_a_mode_sees_the_op_and_its_derivative(cube: Callable[..., Any]) -> None:
    x = torch.arange(3.0, requires_grad=True)
    with Seen() as seen:
        cube(x, 1.0).sum().backward()
    assert {"neurosim.test_cube.default", "neurosim.test_slope.default"} <= set(seen.names)
    assert x.grad is not None
    assert torch.equal(x.grad, 3 * x.detach() ** 2)


def test_tensors_without_values_get_the_shape_alone(cube: Callable[..., Any]) -> None:
    with FakeTensorMode() as mode:
        fake = torch.empty(3, 4)
    assert cube(fake, 1.0).shape == (3, 4), "outside of its mode too"
    with mode:
        assert cube(fake, 1.0).shape == (3, 4)
    assert cube(torch.empty(3, 4, device="meta"), 1.0).device.type == "meta"


def test_a_parameter_is_an_ordinary_tensor_with_a_gradient(cube: Callable[..., Any]) -> None:
    x = torch.nn.Parameter(torch.arange(3.0))
    cube(x, 2.0).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, 6 * x.detach() ** 2)


def test_nothing_is_recorded_where_no_gradient_is_wanted(cube: Callable[..., Any]) -> None:
    assert not cube(torch.ones(3), 1.0).requires_grad
    with torch.no_grad():
        assert not cube(torch.ones(3, requires_grad=True), 1.0).requires_grad


def test_a_traced_op_computes_what_it_is_given(cube: Callable[..., Any]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # torch's own, about tracing
        traced = torch.jit.trace(lambda x: cube(x, 1.0), (torch.ones(3),))
    x = torch.arange(3.0)
    assert torch.equal(traced(x), x**3)


def test_a_negative_view_has_its_sign(cube: Callable[..., Any]) -> None:
    x = torch.arange(3.0)
    assert torch.equal(cube(torch._neg_view(x), 1.0), -(x**3))


def test_a_zero_without_memory_is_a_zero(cube: Callable[..., Any]) -> None:
    assert torch.equal(cube(torch._efficientzerotensor((3,)), 1.0), torch.zeros(3))


def test_gradients_can_be_batched(cube: Callable[..., Any]) -> None:
    x = torch.arange(3.0, requires_grad=True)
    (rows,) = torch.autograd.grad(cube(x, 1.0), x, torch.eye(3), is_grads_batched=True)
    assert torch.equal(rows, torch.diag(3 * x.detach() ** 2))


def test_an_inference_tensor_is_computed_with(cube: Callable[..., Any]) -> None:
    with torch.inference_mode():
        assert torch.equal(cube(torch.arange(3.0), 1.0), torch.arange(3.0) ** 3)
