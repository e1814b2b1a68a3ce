"""How an op is declared: schema, implementation, shape rule, gradient and batching rule, all in one call.

``Library.define`` with an autograd function of our own costs about a third of what ``torch.library.custom_op`` does per call, which matters
for small layers; where no tracing, transform or mode has to see the call, the dispatcher is left out altogether. An implementation gets
every argument by position, so schemas have no defaults.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any, Final

import torch
from torch import Tensor
from torch._functorch.autograd_function import (  # type: ignore[attr-defined]  # torch re-exports it without saying so
    enable_single_level_autograd_function,
)
from torch.autograd import forward_ad
from torch.autograd.function import _SingleLevelFunction
from torch.nn import Parameter

from neurosim.errors import RunError
from neurosim.registry import Registry

NAMESPACE: Final = "neurosim"
_LIBRARY: Any = torch.library.Library(NAMESPACE, "FRAGMENT")  # type: ignore[no-untyped-call]  # torch does not type it

OPS: Registry[str] = Registry("op")
"""The schema of every op that has been declared, by name."""

_DEVICES: Final = ("cpu", "cuda")
_PLAIN: Final = frozenset((bool, int, float, str, list, tuple, torch.Size, torch.dtype))


_modes = torch._C._len_torch_dispatch_stack  # names of this module, which are found more quickly at every call
_functions = torch._C._len_torch_function_stack
_transforms = torch._C._are_functorch_transforms_active
_tracing = torch._C._get_tracing_state
_profiling = torch._C._autograd._profiler_enabled
_keys = torch._C._dispatch_keys

SetUp = Callable[[Any, tuple[Any, ...], Any], None]


def define(
    schema: str,
    implementation: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    setup_context: SetUp | None = None,
    backward: Callable[..., Any] | None = None,
    vmap: Callable[..., Any] | None = None,
) -> Callable[..., Any]:
    """Declare one op and return it.

    Args:
        schema: ``name(Tensor x, …) -> Tensor``, functional, without defaults.
        implementation: Computes it on any device; chooses between kernel and reference itself. A result may be None where the schema
            has a tensor: through the dispatcher it is an empty tensor without derivatives, and it costs nothing otherwise.
        fake: Shapes and dtypes of the results, for tracing, with None likewise.
        setup_context, backward: As in ``torch.autograd.Function``; without them, differentiating the result is an error, which is
            how an op that computes a gradient refuses a second derivative.
        vmap: As for ``torch.library.register_vmap``: ``(info, in_dims, *args) -> (result, out_dims)``; :func:`in_turn` where there is none.

    Returns:
        The op, callable with positional arguments.
    """
    _LIBRARY.define(schema)
    name = schema.partition("(")[0]
    OPS.add(name, schema)
    _LIBRARY.impl(name, _whole(implementation), "CompositeExplicitAutograd")
    torch.library.register_fake(f"{NAMESPACE}::{name}", _whole(fake), lib=_LIBRARY)
    op: Callable[..., Any] = getattr(torch.ops.neurosim, name).default
    rules = setup_context or _no_context, backward or _refusing(name)
    _LIBRARY.impl(name, _differentiable(name, op, *rules), "Autograd")
    torch.library.register_vmap(f"{NAMESPACE}::{name}", vmap or in_turn(op), lib=_LIBRARY)
    return _direct(name, op, implementation, *rules)


def _whole(compute: Callable[..., Any]) -> Callable[..., Any]:
    """The same with an empty tensor for each result that is None."""

    def call(*args: Any) -> Any:
        results = compute(*args)
        if isinstance(results, Tensor) or all(result is not None for result in results):
            return results
        like: Tensor = next(result for result in results if result is not None)
        return tuple(like.new_empty(0, dtype=torch.bool) if result is None else result for result in results)

    return call


def _direct(
    name: str, op: Callable[..., Any], implementation: Callable[..., Any], setup_context: SetUp, backward: Callable[..., Any]
) -> Callable[..., Any]:
    """The op; on ordinary tensors, and while nobody looks at what is called, without the dispatcher, which takes longest of all."""

    def forward(ctx: Any, *args: Any) -> Any:
        result = implementation(*args)
        setup_context(ctx, args, result)
        return result

    # no transform is active here, which torch.autograd.Function would look for once more
    function: Any = type(name, (_SingleLevelFunction,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})

    def call(*args: Any) -> Any:
        if torch.compiler.is_compiling() or (differentiable := ordinary(args)) is None:
            return op(*args)
        if differentiable and torch.is_grad_enabled():
            return function.apply(*args)
        return implementation(*args)

    return call


def ordinary(args: tuple[Any, ...]) -> bool | None:
    """Whether a gradient is wanted of an argument, if nothing but the implementation has to see the call; else None.

    That is so where nobody traces, transforms or watches it, and tensors are plain memory.
    """
    if _modes() or _functions() or _transforms() or _tracing() is not None or _profiling() or forward_ad._current_level >= 0:
        return None
    found = differentiable = False
    for arg in args:
        if arg is None:
            continue
        kind = type(arg)
        if kind is Tensor or kind is Parameter:
            if _keys(arg).raw_repr() != _plain_keys(arg.is_cuda):
                return None
            found = True
            if arg.requires_grad:
                differentiable = True
        elif kind is torch.device:
            found = arg.type in _DEVICES
        elif kind not in _PLAIN:
            return None
    return differentiable if found else None


@cache
def _plain_keys(cuda: bool) -> int:
    """What the dispatcher knows of a tensor that is its memory: no negative view, no zero without memory, not sparse, not batched."""
    with torch.inference_mode(False):
        return torch._C._dispatch_keys(torch.empty(0, device="cuda" if cuda else "cpu")).raw_repr()


def _differentiable(name: str, op: Callable[..., Any], setup_context: SetUp, backward: Callable[..., Any]) -> Callable[..., Any]:
    def below(*args: Any) -> Any:
        with torch._C._AutoDispatchBelowAutograd():
            return op(*args)

    def forward(ctx: Any, *args: Any) -> Any:
        result = below(*args)
        setup_context(ctx, args, result)
        return result

    # The dispatcher has already taken nested torch.func transforms apart: this function is for one level of them.
    # torch.autograd.Function would take them apart once more, and refuses to.
    function: Any = type(name, (_SingleLevelFunction,), {"forward": staticmethod(forward), "backward": staticmethod(backward)})

    def call(*args: Any) -> Any:
        wanted = torch.is_grad_enabled() and any(isinstance(arg, Tensor) and arg.requires_grad for arg in args)
        if not wanted and forward_ad._current_level < 0:  # in forward mode the function says that it has no such rule
            return below(*args)
        if torch._C._are_functorch_transforms_active():
            levels = [str(level.key()) for level in torch._C._functorch.get_interpreter_stack() or ()]
            if sum("Vmap" not in level for level in levels) > 1:
                raise RunError(
                    f"neurosim::{name}: it can be differentiated once, not twice, got {len(levels)} nested transforms of torch.func"
                )
            with enable_single_level_autograd_function():
                return function.apply(*args)
        return function.apply(*args)

    return call


def _no_context(ctx: Any, args: tuple[Any, ...], result: Any) -> None:
    pass


def _refusing(name: str) -> Callable[..., Any]:
    def refuse(ctx: Any, *grads: Tensor) -> Any:
        raise RunError(f"neurosim::{name}: it has no derivative; an op of neurosim can be differentiated once, not twice")

    return refuse


def _instance(arg: Any, dim: Any, index: int) -> Any:
    if isinstance(arg, list):
        return [_instance(item, inner, index) for item, inner in zip(arg, dim, strict=True)] if dim is not None else arg
    return arg if dim is None else arg.select(dim, index)


def in_turn(op: Callable[..., Any]) -> Callable[..., Any]:
    """A batching rule that calls the op once per instance and stacks the results: one kernel call per chip.

    Args:
        op: What :func:`define` returned.
    """

    def rule(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        if info.batch_size == 0:
            raise RunError(f"{op}: a batch needs at least one instance, got none")
        results = [op(*(_instance(arg, dim, index) for arg, dim in zip(args, in_dims, strict=True))) for index in range(info.batch_size)]
        if isinstance(results[0], Tensor):
            return torch.stack(results), 0
        stacked = tuple(torch.stack(parts) for parts in zip(*results, strict=True))
        return stacked, (0,) * len(stacked)

    return rule
