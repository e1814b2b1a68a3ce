"""How a function becomes an entry of the registry."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any

from torch import Tensor, nn

from neurosim.activations.base import ACTIVATIONS, Bounds, Curve, Function, Kind, Layer, Smoothness
from neurosim.activations.cost import Cost, Fold, Operations
from neurosim.activations.parameter import Parameter


def in_float32(function: Function) -> Function:
    """The function, computed in float32 for numbers of 16 bits; parameters are taken in the type of the computation."""

    @wraps(function)
    def run(x: Tensor, *parameters: Any) -> Tensor:
        wide = x.float() if x.dtype.itemsize < 4 else x
        given = [one.to(wide.dtype) if isinstance(one, Tensor) else one for one in parameters]
        return function(wide, *given).to(x.dtype)

    return run


def curve(
    name: str,
    formula: str,
    *,
    bounds: Bounds | Callable[..., Bounds],
    smoothness: Smoothness | Callable[..., Smoothness],
    hardware: str,
    cite: Sequence[str] = (),
    monotone: bool | Callable[..., bool] | None = True,
    homogeneous: bool | Callable[..., bool] = False,
    zero_preserving: bool | Callable[..., bool] = True,
    own_gradient: bool = False,
    operations: Operations | Callable[..., Operations] | None = None,
    fold: Fold | Callable[..., Fold] = "none",
    module: Callable[..., nn.Module | None] | None = None,
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
        safe = in_float32(function)
        facts = (bounds, monotone, smoothness, homogeneous, zero_preserving)
        parts = (safe, parameters, *facts, own_gradient, operations, folds, module)
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
