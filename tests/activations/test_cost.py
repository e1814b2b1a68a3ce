"""What activations cost and what of them folds, against the operations that torch is asked for and against the values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from neurosim.activations import ACTIVATIONS, FOLDS, Curve, Facts, Layer, Operations, facts
from neurosim.activations.catalogue import table_of_activations
from tests.activations.cases import VARIANT_IDS, VARIANTS, function, off_kinks

_COUNT = 96
#: what a call of torch on all elements computes of each
_CALLS: dict[str, Operations] = {
    **dict.fromkeys(["add", "sub", "rsub"], Operations(adds=1)),
    **dict.fromkeys(["mul", "square", "pow"], Operations(multiplies=1)),
    **dict.fromkeys(["relu", "clamp_min", "clamp_max", "threshold", "minimum", "maximum", "gt", "ge"], Operations(comparisons=1)),
    **dict.fromkeys(["exp", "sin", "cos", "tanh", "sigmoid", "erf", "atan2", "atan", "log", "index_select"], Operations(lookups=1)),
    "hardtanh": Operations(comparisons=2),
    **dict.fromkeys(
        ["abs", "neg", "sign", "eq", "where", "nan_to_num", "floor", "clone", "_to_copy", "copy", "detach", "alias"], Operations()
    ),
    **dict.fromkeys(["view", "_unsafe_view", "reshape", "expand", "unsqueeze", "split", "slice"], Operations()),
    **dict.fromkeys(["full_like", "ones_like", "zeros_like", "empty_like", "new_full", "new_ones", "lift_fresh"], Operations()),
    **dict.fromkeys(["sum", "mean"], Operations(adds=1)),
    "var": Operations(adds=2, multiplies=1),
    "amax": Operations(comparisons=1),
    "expm1": Operations(adds=1, lookups=1),
    "log_sigmoid_forward": Operations(adds=1, lookups=2),
    "gelu": Operations(multiplies=1, lookups=1),
    "silu": Operations(multiplies=1, lookups=1),
    "mish": Operations(adds=1, multiplies=1, lookups=3),
    "elu": Operations(adds=1, multiplies=2, lookups=1, comparisons=1),
    "hardswish": Operations(adds=1, multiplies=2, comparisons=2),
    "hardsigmoid": Operations(adds=1, multiplies=1, comparisons=2),
    "leaky_relu": Operations(multiplies=1, comparisons=1),
    "lerp": Operations(adds=2, multiplies=1),
    "addcmul": Operations(adds=1, multiplies=1),
    "addcdiv": Operations(adds=1, multiplies=1, divisions=1),
}


class Counted(TorchDispatchMode):
    """Adds up what torch is asked for, of calls that take or give as many elements as the input has."""

    def __init__(self) -> None:
        super().__init__()
        self.total = Operations()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        result = func(*args, **given)
        if _COUNT in [one.numel() for one in (*args, *(result if isinstance(result, tuple) else [result])) if isinstance(one, Tensor)]:
            self.total = _plus(self.total, _of(func.overloadpacket.__name__.rstrip("_"), args, given))
        return result


def _of(name: str, args: tuple[Any, ...], given: dict[str, Any]) -> Operations:
    numbers = [one for one in args[1:] if isinstance(one, int | float)]
    if name == "clamp":  # a guard against infinite inputs is for computers
        return Operations(comparisons=sum(abs(one) < 1e30 for one in numbers))
    if name == "div":
        return Operations(divisions=1) if isinstance(args[1], Tensor) and isinstance(args[0], Tensor) else Operations(multiplies=1)
    if name == "gelu" and given.get("approximate") == "tanh":
        return Operations(adds=2, multiplies=5, lookups=1)
    found = _CALLS[name]
    if name in ("clamp_min", "clamp_max", "gt") and abs(numbers[0]) >= 1e30:
        return Operations()
    factor = given.get("alpha", args[2] if name == "rsub" and len(args) > 2 else 1)
    return _plus(found, Operations(multiplies=1)) if abs(factor) != 1 else found


def _plus(*parts: Operations) -> Operations:
    return Operations(*(sum(column) for column in zip(*parts, strict=True)))


#: what torch is asked for beside what is said: products with 1, sums with 0, and what keeps numbers in range
_BESIDE: dict[str, Operations] = {
    "cst": Operations(adds=2, comparisons=2),  # both signs, instead of one magnitude
    "crrelu": Operations(comparisons=2),
    "expanded_gate": Operations(multiplies=1),
    "polyrelu": Operations(adds=1),
    "elu": Operations(multiplies=1, comparisons=1),
    "gaussian": Operations(multiplies=1),
    "golu": Operations(adds=1, comparisons=1),
    "heaviside": Operations(adds=1),
    "qcfs": Operations(adds=2, multiplies=2),
    "rational": Operations(adds=2, multiplies=3, comparisons=1),
    "sau": Operations(comparisons=1),
    "sine": Operations(multiplies=1),
    "smelu": Operations(adds=1, multiplies=1),
    "soft_threshold": Operations(adds=2, comparisons=1),
    "softplus": Operations(adds=1, multiplies=2),
}


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=VARIANT_IDS)
def test_what_it_costs_is_what_torch_is_asked_for(name: str, settings: dict[str, Any]) -> None:
    curve, x = function(name, settings), off_kinks(_COUNT)
    said = curve.operations
    assert said is not None
    with torch.no_grad(), Counted() as counted:
        curve(x)
    if not settings:
        assert counted.total == _plus(said, _BESIDE.get(name, Operations()))
    assert sum(said) <= sum(counted.total)
    assert said.lookups <= counted.total.lookups
    assert said.divisions <= counted.total.divisions


#: layers that ask torch for what they are said to cost and not for a sort
_PLAIN = ["centred", "glu", "relu_scores", "scaled", "sigmoid_scores", "statistical_top_k", "stochastic", "variance_scaled"]


@pytest.mark.parametrize("name", _PLAIN)
def test_what_a_layer_costs_is_what_torch_is_asked_for(name: str) -> None:
    entry = ACTIVATIONS[name]
    assert isinstance(entry, Layer)
    assert entry.cost is not None
    module, x = entry().double().eval(), off_kinks(_COUNT * (1 + (name == "glu")))
    with torch.no_grad(), Counted() as counted:
        module(x)
    assert counted.total == entry.cost.per_element


def test_every_entry_says_what_it_costs_and_what_of_it_folds() -> None:
    for name in ACTIVATIONS:
        told = facts(name) if isinstance(ACTIVATIONS[name], Curve) else Facts(ACTIVATIONS[name], {})
        assert told.operations is not None, name
        assert told.fold in FOLDS, name
    costs = [entry.cost for name in ACTIVATIONS if isinstance(entry := ACTIVATIONS[name], Layer)]
    assert all(costs)


def test_a_cost_reads_as_a_short_text() -> None:
    rows = {row["name"]: row for row in table_of_activations()}
    assert (rows["identity"]["operations"], rows["identity"]["fold"]) == ("0", "all")
    assert (rows["smelu"]["operations"], rows["smelu"]["fold"]) == ("1+ 2× 2<", "parts")
    assert rows["polynorm"]["operations"] == "6+ 7× / 3+ 3× 3÷ 3√"


def test_a_curve_of_a_user_may_leave_its_cost_out() -> None:
    told = facts("gcu")
    assert Facts(replace(told.curve, operations=None), {}).operations is None


# --- folding ---------------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "settings"), VARIANTS, ids=VARIANT_IDS)
def test_gains_pass_a_curve_exactly_if_it_says_so(name: str, settings: dict[str, Any]) -> None:
    curve = function(name, settings)
    x = torch.cat([off_kinks(), torch.tensor([-6e-4, 6e-4], dtype=torch.float64)])

    def holds(wanted: Callable[[float], Tensor]) -> bool:
        return all(torch.allclose(curve(gain * x), wanted(gain), rtol=1e-9, atol=1e-12) for gain in (0.3, 2.0, 7.0))

    zero = curve(torch.zeros((), dtype=torch.float64))
    line = zero + x * (curve(torch.ones((), dtype=torch.float64)) - zero)
    affine = torch.allclose(curve(x), line, rtol=1e-9, atol=1e-12)
    scale = holds(lambda gain: gain * curve(x))
    square = holds(lambda gain: gain**2 * curve(x))
    assert (curve.fold == "all", curve.fold == "scale", curve.fold == "square") == (affine, scale and not affine, square)


_Map = tuple[dict[str, Any], str, dict[str, Any], Sequence[float]]
#: settings, and a fixed shape with what is before and after it: f(x) = a·g(s·x + t) + b
_SHAPES: dict[str, _Map] = {
    "relu_n": ({"n": 3.0}, "relu_n", {"n": 1.0}, (1 / 3, 0, 3, 0)),
    "hardtanh": ({"min_val": 0.5, "max_val": 2.0}, "hardtanh", {}, (4 / 3, -5 / 3, 0.75, 1.25)),
    "hardsigmoid": ({}, "hardtanh", {}, (1 / 3, 0, 0.5, 0.5)),
    "gaussian": ({"s": 0.5}, "gaussian", {}, (2, 0, 1, 0)),
    "lipswish": ({"beta": 2.0}, "silu", {}, (2, 0, 1 / 2.2, 0)),
    "silu": ({"beta": 2.0}, "silu", {}, (2, 0, 0.5, 0)),
    "selu": ({}, "elu", {"alpha": 1.6732632423543772}, (1, 0, 1.0507009873554805, 0)),
    "aptx": ({"alpha": 2.0, "beta": 0.5, "gamma": 2.0}, "aptx", {"alpha": 2.0, "gamma": 1.0}, (0.5, 0, 4, 0)),
    "apa": ({"lam": 0.3, "kappa": 2.0}, "apa", {"lam": 0.3, "kappa": 1.0}, (2, 0, 1, 0)),
    "aglu": ({"lam": 0.3, "kappa": 2.0}, "aglu", {"lam": 0.3, "kappa": 1.0}, (2, 0, 0.5, 0)),
    "golu": ({"alpha": 2.0, "beta": 0.5, "gamma": 4.0}, "golu", {"beta": 0.5}, (4, 0, 0.5, 0)),
    "snake": ({"a": 0.25}, "snake", {"a": 1.0}, (0.25, 0, 4, 0)),
    "sine": ({"omega": 3.0}, "sine", {}, (3, 0, 1, 0)),
    "smelu": ({"b": 0.5}, "smelu", {}, (2, 0, 0.5, 0)),
    "rescu": ({"start": 0.5, "stop": 1.5}, "rescu", {"start": 1.0, "stop": 3.0}, (2, 0, 0.5, 0)),
    "sau": ({"s": 0.5}, "sau", {"s": 1.0}, (2, 0, 0.5, 0)),
    "softplus": ({"scale": 2.0, "sharpness": 3.0, "shift": 0.5}, "softplus", {}, (3, -1.5, 2, 0)),
    "interpolated": ({"i": 0.3, "s": 2.0}, "interpolated", {"i": 0.3}, (2, 0, 0.5, 0)),
    "shifted_relu": ({"tau": 0.7}, "relu", {}, (1, -0.7, 1, 0)),
    "soft_threshold": ({"tau": 0.5}, "soft_threshold", {}, (2, 0, 0.5, 0)),
    "crelu": ({"tau": 0.5, "m": 3.0}, "relu_n", {"n": 1.0}, (1 / 3, -0.5 / 3, 3, 0)),
    "cst": ({"tau": 0.5, "m": 2.0}, "cst", {"tau": 1.0, "m": 4.0}, (2, 0, 0.5, 0)),
    "jumprelu": ({"theta": 0.5}, "jumprelu", {"theta": 0.25}, (0.5, 0, 2, 0)),
    "heaviside": ({"threshold": 0.7}, "heaviside", {"threshold": 0.0}, (1, -0.7, 1, 0)),
    "qcfs": ({"limit": 2.0, "levels": 4}, "qcfs", {"limit": 1.0, "levels": 4}, (0.5, 0, 2, 0)),
    "rational": ({"scale": 3.0}, "rational", {}, (3, 0, 1, 0)),
    "polyrelu": ({"coefficients": [0.5, 1.0, -1.0]}, "polyrelu", {"coefficients": [0.0, 1.0, -1.0]}, (1, 0, 1, 0.5)),
    "quadratic": ({"a": -1.0, "b": 0.5, "c": 0.2}, "quadratic", {"a": 1.0, "b": 0.0, "c": 0.0}, (1, -0.25, -1, 0.2625)),
}


@pytest.mark.parametrize("name", _SHAPES)
def test_gains_and_offsets_stand_around_a_fixed_shape_where_it_is_said(name: str) -> None:
    settings, core, fixed, (gain, offset, factor, constant) = _SHAPES[name]
    curve, shape, x = facts(name, **settings), facts(core, **fixed), off_kinks(101)
    assert curve.fold == "parts"
    torch.testing.assert_close(curve(x), factor * shape(gain * x + offset) + constant, rtol=1e-9, atol=1e-9)


def test_no_curve_says_that_parts_of_it_fold_without_being_checked() -> None:
    assert {name for name, settings in VARIANTS if function(name, settings).fold == "parts"} <= set(_SHAPES)


def test_channels_that_fold_differently_fold_as_the_least_of_them() -> None:
    told = facts("quadratic")
    assert Facts(told.entry, {"a": [0.0, 1.0], "b": [1.0, 0.0], "c": [0.0, 0.0]}).fold == "none"
    assert Facts(told.entry, {"a": [0.0, 0.0], "b": [1.0, 2.0], "c": [0.0, 0.0]}).fold == "all"
