"""Curves whose whole shape is learned: rational, polynomial, and steps of the slope; and the nearest parabola."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from neurosim.activations.cost import Fold, Operations
from neurosim.activations.declare import curve
from neurosim.activations.facts import Facts, facts
from neurosim.activations.parameter import Parameter, Value, plus_times

_INF = math.inf
#: nearest to a leaky ReLU of slope 0.01, as the authors' code starts
_NUMERATOR = (0.0335584, 0.505000, 1.653439, 2.010011, 0.931902, 0.152424)
_DENOMINATOR = (3.3e-6, 3.980216, 5.1e-7, 0.301830)


def _horner(x: Tensor, coefficients: Sequence[float] | Tensor) -> Tensor:
    """The polynomial c₀ + c₁x + c₂x² + …."""
    terms: Sequence[Value] = coefficients.unbind() if isinstance(coefficients, Tensor) else coefficients
    if len(terms) == 1:
        return torch.zeros_like(x) + terms[0]
    found = plus_times(terms[-2], terms[-1], x)
    for one in reversed(terms[:-2]):
        found = plus_times(one, found, x)
    return found


def _products(coefficients: Sequence[float]) -> int:
    """How often it multiplies."""
    return len(coefficients) - 1 - (len(coefficients) > 1 and abs(coefficients[-1]) == 1)


def _rational_ends(numerator: Sequence[float], denominator: Sequence[float]) -> tuple[float | None, float | None]:
    """Bounds that are infinite where the numerator has the higher degree."""
    top = max((at for at, one in enumerate(numerator) if one != 0), default=0)
    bottom = max((at for at, one in enumerate(denominator, 1) if one != 0), default=0)
    if top <= bottom:
        return None, None
    right = numerator[top] > 0
    left = right if top % 2 == 0 else not right
    return (None if right and left else -_INF), (_INF if right or left else None)


def _at_scale_1(numerator: Sequence[float], denominator: Sequence[float]) -> Facts:
    """Where facts are looked up of a rational curve whose input is scaled."""
    return facts("rational", numerator=list(numerator), denominator=list(denominator))


@curve(
    "rational",
    "(a₀ + a₁u + … + aₘuᵐ)/(1 + |b₁||u| + … + |bₙ||u|ⁿ), u = sx",
    numerator=Parameter(_NUMERATOR, learned=True),
    denominator=Parameter(_DENOMINATOR, learned=True),
    scale=Parameter(1.0, gt=0, through="log", kept=True),
    bounds=lambda above, below, scale: _rational_ends(above, below) if scale == 1 else _at_scale_1(above, below).bounds(),
    monotone=lambda above, below, scale: None if scale == 1 else _at_scale_1(above, below).monotone,
    smoothness=lambda above, below, scale: "smooth" if not any(below[::2]) else "C0" if above[0] * below[0] != 0 else "C1",
    zero_preserving=lambda above, below, scale: above[0] == 0,
    operations=lambda above, below, scale: Operations(
        len(above) - 1 + len(below), _products(above) + _products((1, *below)) + (scale != 1), 1
    ),
    fold=lambda above, below, scale: "none" if scale == 1 else "parts",
    hardware="fits a measured curve, see fit_activation(); shared: true makes it one physical curve for all neurons of a model",
    speed="two polynomials, and on the way back a sum over all values for each of ten coefficients",
    cite=("pau", "recurrent_rational"),
)
def rational(x: Tensor, numerator: Sequence[float] | Tensor, denominator: Sequence[float] | Tensor, scale: Value = 1.0) -> Tensor:
    """Padé activation unit whose denominator has no zeros; a scale brings inputs of any unit to where its coefficients are near 1.

    Beyond where its powers would overflow it goes on with the power of x that is the difference of the degrees.
    """
    x = x if isinstance(scale, float) and scale == 1 else x * scale
    below = denominator.abs() if isinstance(denominator, Tensor) else _trimmed([abs(one) for one in denominator])
    above = numerator if isinstance(numerator, Tensor) else _trimmed(numerator)
    far = torch.finfo(x.dtype).max ** (0.9 / max(len(above), len(below) + 1))
    near = x.clamp(min=-far, max=far)
    size, over = near.abs(), len(above) - 1 - len(below)
    inside = _horner(near, above) / plus_times(1.0, _horner(size, below), size)
    return inside if over == 0 else inside * (1 + F.relu(x.abs() - far) / far) ** over


def _trimmed(coefficients: Sequence[float]) -> Sequence[float]:
    """Without zeros at the end."""
    count = max((at for at, one in enumerate(coefficients, 1) if one != 0), default=1)
    return coefficients[:count]


def _leading(a: Sequence[float]) -> float:
    """What decides where a polynomial ends: the last coefficient above order 0 that is not 0; 0 for a constant."""
    return _trimmed((0.0, *a[1:]))[-1]


def _fold_of_powers(a: Sequence[float]) -> Fold:
    if not any(a[1:]):
        return "all"
    return "parts" if a[0] != 0 else "square" if len(a) > 2 and not any((a[1], *a[3:])) else "none"


@curve(
    "polyrelu",
    "a₀ + a₁r + a₂r² + a₃r³, r = max(0, x)",
    coefficients=Parameter((0.0, 1 / 3, 1 / 3, 1 / 3), learned=True),
    bounds=lambda a: (-_INF if _leading(a) < 0 else None, _INF if _leading(a) > 0 else None),
    monotone=lambda a: False if _leading(a) < 0 else None,
    smoothness=lambda a: "smooth" if not any(a[1:]) else "C0" if a[1] != 0 else "C1",
    homogeneous=lambda a: a[0] == 0 and not any(a[2:]),
    zero_preserving=lambda a: a[0] == 0,
    operations=lambda a: Operations(max(sum(one != 0 for one in a) - 1, 0), _products(_trimmed(a)), comparisons=int(any(a[1:]))),
    fold=_fold_of_powers,
    hardware="powers of a rectified signal: needs headroom; clamp before it",
    cite=("polycom",),
)
def polyrelu(x: Tensor, coefficients: Sequence[float] | Tensor) -> Tensor:
    """A polynomial of ReLU."""
    return _horner(F.relu(x), coefficients if isinstance(coefficients, Tensor) else _trimmed(coefficients))


@curve(
    "step_slopes",
    "t_j·x for x in interval j of −1 … 1; the end intervals go on",
    slopes=Parameter((0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0), learned=True),
    bounds=lambda t: (-_INF if t[0] > 0 or t[-1] < 0 else None, _INF if t[0] < 0 or t[-1] > 0 else None),
    monotone=lambda t: _rises(t),
    smoothness=lambda t: "jump" if _jumps(t) else "smooth" if len(set(t)) == 1 else "C0",
    homogeneous=lambda t: not _jumps(t),
    operations=Operations(adds=1, multiplies=2, lookups=1, comparisons=2),
    hardware="a multiplexer and a scale: a look-up table; starts as ReLU; the diagonal of a trainable matrix activation",
    speed="a look-up for every element, and the passes over memory that find its place",
    cite=("tmaf",),
)
def step_slopes(x: Tensor, slopes: Sequence[float] | Tensor) -> Tensor:
    """X times a step function of x; its derivative takes the steps as they are."""
    table = slopes if isinstance(slopes, Tensor) else x.new_tensor(slopes)
    return times_step(x, table, interval_of(x, len(table)))


def interval_of(x: Tensor, count: int) -> Tensor:
    """Which of so many equal intervals of −1 … 1 a number lies in; those at the ends go on, and what is no number lies in any."""
    return plus_times(count / 2, count / 2, x.detach()).nan_to_num_(0.0).clamp(0, count - 0.5).int()


def times_step(x: Tensor, steps: Tensor, place: Tensor) -> Tensor:
    """``x`` times the step at its place among all of them; ±∞ counts as the largest number where the step at that end is 0.

    Args:
        x: ``(*, units)`` with a row of steps for each unit; otherwise any shape.
        steps: ``(J,)`` or ``(units, J)``.
        place: In the flattened steps, of the shape of ``x``.
    """
    reach = torch.full_like(steps, _INF).masked_fill(steps == 0, torch.finfo(x.dtype).max)
    return steps.flatten().index_select(0, place.flatten()).view_as(x) * x.clamp(-reach[..., 0], reach[..., -1])


def _edges(t: Sequence[float]) -> list[float]:
    """Where the slope may change."""
    return [2 * at / len(t) - 1 for at in range(1, len(t))]


def _jumps(t: Sequence[float]) -> bool:
    return any(edge != 0 and low != high for edge, low, high in zip(_edges(t), t, t[1:], strict=False))


def _rises(t: Sequence[float]) -> bool:
    return all(one >= 0 for one in t) and all((high - low) * edge >= 0 for edge, low, high in zip(_edges(t), t, t[1:], strict=False))


@curve(
    "quadratic",
    "ax² + bx + c",
    a=Parameter(0.5 / math.sqrt(2 * math.pi)),
    b=Parameter(0.5),
    c=Parameter(0.5 / math.sqrt(2 * math.pi)),
    bounds=lambda a, b, c: (None if a > 0 else -_INF, None if a < 0 else _INF) if a != 0 or b != 0 else (c, c),
    monotone=lambda a, b, c: a == 0 and b >= 0,
    smoothness="smooth",
    homogeneous=lambda a, b, c: a == 0 and c == 0,
    zero_preserving=lambda a, b, c: c == 0,
    operations=lambda a, b, c: Operations(adds=(a != 0 and b != 0) + (c != 0), multiplies=(a not in (0, 1)) + (a != 0 or b not in (0, 1))),
    fold=lambda a, b, c: "all" if a == 0 else "square" if b == c == 0 else "parts",
    hardware="a square law and no comparator; as it comes, the parabola nearest to ReLU for Gaussian inputs, see fit_quadratic()",
    cite=("autorep",),
)
def quadratic(x: Tensor, a: Value, b: Value, c: Value) -> Tensor:
    """A parabola; a = 1, b = c = 0 is the square."""
    if not isinstance(a, float) or a != 0:
        return (a * x + b) * x + c
    return torch.zeros_like(x) + c if isinstance(b, float) and b == 0 else plus_times(c, b, x)
