"""How a function becomes an entry of the registry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad

from neurosim.activations.base import ACTIVATIONS, Bounds, Curve, Function, Kind, Layer, Smoothness
from neurosim.activations.cost import Cost, Fold, Operations
from neurosim.activations.parameter import Parameter
from neurosim.errors import ConfigError

_BLOCK: Final = 1 << 16  #: elements of a thread that stay in its cache while a curve passes over them several times


def in_float32(function: Function, coefficients: Sequence[bool] = (), where: str = "activation") -> Function:
    """The function, computed in float32 for numbers of 16 bits; parameters are taken in the type of the computation.

    Without gradients, large tensors on a CPU are computed block by block, so that passes over memory are passes over a cache.

    Args:
        function: Element by element.
        coefficients: Of each parameter, whether it holds several numbers for every element alike.
        where: What errors name.

    Raises:
        ConfigError: By the function that is returned, if its input does not consist of floating-point numbers.
    """

    @wraps(function)
    def run(x: Tensor, *parameters: Any) -> Tensor:
        if not x.is_floating_point():  # the result has the type of the input, and would be cut to it
            raise ConfigError(f"{where}: input must consist of floating-point numbers, got {x.dtype}".replace("torch.", ""))
        if _goes_in_blocks(x, parameters, coefficients):
            y, size = torch.empty_like(x), _BLOCK * torch.get_num_threads()
            for into, part in zip(torch.split(y.view(-1), size), torch.split(x.view(-1), size), strict=True):
                into.copy_(whole(part, *parameters))
            return y
        return whole(x, *parameters)

    def whole(x: Tensor, *parameters: Any) -> Tensor:
        wide = x.float() if x.dtype.itemsize < 4 else x
        given = [one.to(wide.dtype) if isinstance(one, Tensor) else one for one in parameters]
        return function(wide, *given).to(x.dtype)

    return run


def _goes_in_blocks(x: Tensor, parameters: Sequence[Any], coefficients: Sequence[bool]) -> bool:
    """Whether nobody needs to see the whole as one operation, and it is worth it."""
    if torch.is_grad_enabled() or type(x) is not Tensor or x.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    if x.numel() <= 2 * _BLOCK * torch.get_num_threads() or not x.is_contiguous():
        return False
    if torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0:
        return False
    many = [one for at, one in enumerate(parameters) if isinstance(one, Tensor) and not (at < len(coefficients) and coefficients[at])]
    return all(one.numel() == 1 for one in many)


def curve(
    name: str,
    formula: str,
    *,
    bounds: Bounds | Callable[..., Bounds],
    smoothness: Smoothness | Callable[..., Smoothness],
    hardware: str,
    cite: Sequence[str] = (),
    monotone: bool | Callable[..., bool | None] | None = True,
    homogeneous: bool | Callable[..., bool] = False,
    zero_preserving: bool | Callable[..., bool] = True,
    own_gradient: bool = False,
    operations: Operations | Callable[..., Operations] | None = None,
    fold: Fold | Callable[..., Fold] = "none",
    module: Callable[..., nn.Module | None] | None = None,
    rising: Sequence[str] = (),
    speed: str = "",
    **parameters: Parameter,
) -> Callable[[Function], Function]:
    """Register a function ``f(x, *parameters)`` as a curve; see :class:`Curve`. It becomes safe for numbers of 16 bits.

    ``fold`` is that of a curve which is not homogeneous; of one that is, ``scale``, and ``all`` where it is linear.
    """

    def folds(*values: Any) -> Fold:
        if homogeneous(*values) if callable(homogeneous) else homogeneous:
            return "all" if (smoothness(*values) if callable(smoothness) else smoothness) == "smooth" else "scale"
        return fold(*values) if callable(fold) else fold

    def add(function: Function) -> Function:
        safe = in_float32(function, [isinstance(one.default, tuple) for one in parameters.values()], f"activation {name}")
        facts = (bounds, monotone, smoothness, homogeneous, zero_preserving)
        parts = (safe, parameters, *facts, own_gradient, operations, folds, module, tuple(rising))
        ACTIVATIONS.add(name, Curve(name, formula, "curve", tuple(cite), hardware, *parts, speed=speed))
        return safe

    return add


def layer(
    name: str,
    formula: str,
    kind: Kind,
    *,
    hardware: str,
    cite: Sequence[str] = (),
    bounds: Bounds = (-math.inf, math.inf),
    homogeneous: bool = False,
    zero_preserving: bool = False,
    cost: Cost | None = None,
    fold: Fold | None = None,
    speed: str = "",
) -> Callable[[type[Any]], type[Any]]:
    """Register a class as a :class:`Layer`; ``fold`` is by default ``scale`` where it is homogeneous, else ``none``."""

    def add(made: type[Any]) -> type[Any]:
        folds: Fold = fold or ("scale" if homogeneous else "none")
        parts = (made, bounds, homogeneous, zero_preserving, cost, folds)
        ACTIVATIONS.add(name, Layer(name, formula, kind, tuple(cite), hardware, *parts, speed=speed))
        return made

    return add
