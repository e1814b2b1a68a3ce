r"""The definition of ``neurosim::quantize`` and of its derivatives, in torch: what every kernel has to give.

Four steps, each of which may be absent, in the compute type (float64 for float64, else float32):

.. math:: x_1 = x + s_b\,\xi_b\,m(x), \quad x_2 = \min(\max(x_1, l), h), \quad
   x_3 = \frac{1}{p}\big(\mathrm{round}(p\,x_2 - o) + o\big), \quad y = x_3 + s_a\,\xi_a\,m(x_3)

with :math:`m(x) = 1, |x|, \sqrt{|x|}` for additive, proportional and shot noise. No product is contracted with a sum, so that the result is
the same everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from neurosim.ops.philox import drawn
from neurosim.ops.quantize_plan import DISTRIBUTIONS, GIVEN, NEAREST, ErrorPlan, Numbers, Plan, decode

Operands = Sequence[Tensor | None]  #: limit_low, limit_high, level_low, level_high, before_scale, after_scale, before_noise, after_noise
Value = float | Tensor
GRADIENTS = 6  #: the first so many operands can have a gradient


class Grid(NamedTuple):
    """Where the levels are: at (k + shift) / p for integer k."""

    p: Value
    shift: Value
    unit: Value
    low: Value
    high: Value
    shifted: bool
    first: Value  #: k of the level at low; NaN where there is none
    last: Value  #: the same at high


class Steps(NamedTuple):
    """What the forward pass goes through."""

    x: Tensor
    x1: Tensor
    x2: Tensor
    v: Tensor | None  #: in steps, before rounding
    k: Tensor | None  #: after rounding
    x3: Tensor
    y: Tensor
    before: Tensor | None  #: standard noise
    after: Tensor | None


def compute_dtype(dtype: torch.dtype) -> torch.dtype:
    """What a tensor of that type is computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def standard_noise(kind: int, shape: Sequence[int], words: Sequence[int], counters: Sequence[Tensor], like: Tensor) -> Tensor:
    """Noise of scale 1; ``kind`` is one more than the index of the distribution."""
    distribution = DISTRIBUTIONS[kind - 1]
    noise = drawn(shape, words, counters, 0, distribution == "gaussian", like.dtype, like.device)
    if distribution == "gaussian":
        return noise
    noise -= 0.5
    if distribution == "uniform":
        return noise
    return noise.sign().mul_(noise.abs_().mul_(-2.0).log1p_().neg_())


def forward(
    x: Tensor, operands: Operands, counters: Sequence[Tensor], plan: Sequence[int], numbers: Sequence[float]
) -> tuple[Tensor, Tensor | None]:
    """The result in the type of ``x``, and the mask if it is to be kept."""
    settings = decode(plan)
    steps = _run(x, operands, counters, settings, Numbers(*numbers))
    mask = None
    if settings.keep:
        mask = torch.ones(x.shape, dtype=torch.bool, device=x.device)
        if settings.limits and not settings.limits_ste:
            mask &= (steps.x1 >= numbers[0]) & (steps.x1 <= numbers[1])
        if settings.grad == "ste_masked":
            grid = _grid(operands, settings, Numbers(*numbers), steps.x2)
            mask &= (steps.x2 >= grid.low) & (steps.x2 <= grid.high)
    y = steps.y.to(x.dtype)
    return (y.clone() if y is x else y).contiguous(), mask


def _run(x: Tensor, operands: Operands, counters: Sequence[Tensor], plan: Plan, numbers: Numbers) -> Steps:
    limit_low, limit_high, _, _, before_scale, after_scale, before_noise, after_noise = operands
    x = x.to(compute_dtype(x.dtype))
    before = _noise(plan.before, before_noise, counters, x)
    x1 = _with_error(x, before, plan.before, _each(before_scale, numbers.before_scale, plan, x))
    x2 = x1
    if plan.limits and limit_low is None and limit_high is None:
        x2 = x1.clamp(numbers.limit_low, numbers.limit_high)
    elif plan.limits:
        x2 = _least(_most(x1, _each(limit_low, numbers.limit_low, plan, x)), _each(limit_high, numbers.limit_high, plan, x))
    v, k, x3 = None, None, x2
    if plan.fixed or plan.learned:
        grid = _grid(operands, plan, numbers, x2)
        v = (_least(_most(x2, grid.low), grid.high) if plan.clip == "before" else x2) * grid.p
        if grid.shifted:
            v = v - grid.shift
        if plan.rounding not in NEAREST:
            v = _at_ends(v, x2, plan.clip == "before", grid)
        k = _round(v, x2, plan.rounding, grid.shifted, plan.words, counters)
        x3 = (k + grid.shift if grid.shifted else k) * grid.unit
        if plan.clip == "after":
            x3 = _least(_most(x3, grid.low), grid.high)
    after = _noise(plan.after, after_noise, counters, x3)
    return Steps(x, x1, x2, v, k, x3, _with_error(x3, after, plan.after, _each(after_scale, numbers.after_scale, plan, x)), before, after)


def _each(tensor: Tensor | None, number: float, plan: Plan, x: Tensor) -> Value:
    """The operand in a shape that broadcasts against the signal."""
    if tensor is None:
        return number
    if tensor.numel() == 1:
        return tensor.reshape(())
    return tensor.reshape((-1,) + (1,) * (-plan.channel - 1))


def _noise(plan: ErrorPlan, given: Tensor | None, counters: Sequence[Tensor], like: Tensor) -> Tensor | None:
    if plan.kind == GIVEN:
        return given
    return standard_noise(plan.kind, like.shape, plan.words, counters, like) if plan.kind else None


def _with_error(x: Tensor, noise: Tensor | None, plan: ErrorPlan, scale: Value) -> Tensor:
    if noise is None:
        return x
    error = noise * scale
    if plan.growth == "additive":
        return x + error
    return x + error * (x.abs() if plan.growth == "proportional" else _root(x))


def _root(x: Tensor) -> Tensor:
    """The square root of the size; torch's own in float32 is not always the nearest number."""
    return x.abs().double().sqrt().to(x.dtype)


def _most(x: Tensor, low: Value) -> Tensor:
    """The larger one; NaN if either is; of two zeros that of ``x``."""
    return torch.where((x < low) | low.isnan(), low, x) if isinstance(low, Tensor) else x.clamp(min=low)


def _least(x: Tensor, high: Value) -> Tensor:
    return torch.where((x > high) | high.isnan(), high, x) if isinstance(high, Tensor) else x.clamp(max=high)


def _grid(operands: Operands, plan: Plan, numbers: Numbers, x: Tensor) -> Grid:
    if not plan.learned:
        shifted = numbers.shift != 0
        return Grid(numbers.steps_per_unit, numbers.shift, numbers.unit, numbers.low, numbers.high, shifted, numbers.first, numbers.last)
    low, high = (_each(bound, 0.0, plan, x) for bound in operands[2:4])
    low64, high64 = torch.as_tensor(low).double(), torch.as_tensor(high).double()
    span = torch.where(high64 > low64, high64 - low64, torch.nan)  # bounds that have crossed give NaN, not a guess
    p = torch.full_like(span, plan.levels - 1) / span  # a number over a tensor would be rounded twice
    origin = low64 * p
    first = (origin - 0.5).ceil()
    last = first + (plan.levels - 1)
    steps, shift, unit, bottom, top = (part.to(x.dtype) for part in (p, origin - first, 1 / p, first, last))
    return Grid(steps, shift, unit, low, high, True, bottom, top)


def _at_ends(v: Tensor, x: Tensor, clipped: bool, grid: Grid) -> Tensor:
    """The signal in steps, an end that is a level being that level, which the rounding of p x - o may miss by a last bit.

    From an end on, a signal has at least the steps of that end; where it is clipped before rounding, it has no more.
    """
    for end, k, side in ((grid.high, grid.last, 1), (grid.low, grid.first, -1)):
        short, beyond = (v < k, v > k) if side > 0 else (v > k, v < k)
        moved = short & (x >= end if side > 0 else x <= end)
        v = torch.where(moved | beyond if clipped else moved, k, v)
    return v


def _round(v: Tensor, x: Tensor, rounding: str, shifted: bool, words: Sequence[int], counters: Sequence[Tensor]) -> Tensor:
    """Round; rules that look at the sign look at that of the signal ``x``, which is that of ``v`` where zero is a level."""
    if rounding == "stochastic":
        below = v.floor()
        return below + (v - below > drawn(v.shape, words, counters, 0, False, v.dtype, v.device))
    if rounding == "half_to_zero":
        return torch.where(x > 0, (v - 0.5).ceil(), (v + 0.5).floor()) if shifted else (v.abs() - 0.5).ceil().copysign(v)
    if rounding == "to_zero":
        return torch.where(x > 0, v.floor(), v.ceil()) if shifted else v.trunc()
    if rounding == "away_from_zero":
        return torch.where(x > 0, v.ceil(), v.floor()) if shifted else v.abs().ceil().copysign(v)
    return {"floor": torch.floor, "ceil": torch.ceil, "half_even": torch.round}[rounding](v)


def backward(
    grad: Tensor, x: Tensor, operands: Operands, counters: Sequence[Tensor], plan: Sequence[int], numbers: Sequence[float], needs: int
) -> tuple[Tensor | None, Tensor]:
    """The gradient to ``x``, and those to the first operands.

    Args:
        needs: Bit 0: the gradient to ``x``; bit 1 + i: that to operand i.

    Returns:
        The first (None if it is not needed) in the type of ``x``. The second: one row per operand, one column per channel (only the first
        is used by an operand of one element), in the compute type.
    """
    settings, values = decode(plan), Numbers(*numbers)
    steps = _run(x, operands, counters, settings, values)
    parts: list[Tensor | None] = [None] * GRADIENTS
    g = grad.to(steps.x.dtype)
    g, parts[5] = _error_slope(g, steps.x3, steps.after, settings.after, _each(operands[5], values.after_scale, settings, x))
    if settings.fixed or settings.learned:
        g, parts[2], parts[3] = _level_slope(g, steps, settings, _grid(operands, settings, values, steps.x2))
    if settings.limits and not settings.limits_ste:
        low, high = _each(operands[0], values.limit_low, settings, x), _each(operands[1], values.limit_high, settings, x)
        if operands[0] is None and operands[1] is None:
            g = torch.where((steps.x1 >= low) & (steps.x1 <= high), g, 0.0)
        else:
            g, parts[1] = _limit_slope(g, _most(steps.x1, low), high, -1)
            g, parts[0] = _limit_slope(g, steps.x1, low, 1)
    g, parts[4] = _error_slope(g, steps.x, steps.before, settings.before, _each(operands[4], values.before_scale, settings, x))
    sums = torch.zeros(GRADIENTS, columns(operands), dtype=steps.x.dtype, device=x.device)
    for row, (part, operand) in enumerate(zip(parts, operands, strict=False)):
        if part is not None and operand is not None and needs >> row + 1 & 1:
            if operand.numel() == 1:
                sums[row, 0] = part.sum()
            else:
                axes = [axis for axis in range(-x.dim(), 0) if axis != settings.channel]
                sums[row, : operand.numel()] = part.sum(axes) if axes else part
    return (g.to(x.dtype).contiguous() if needs & 1 else None), sums


def columns(operands: Operands) -> int:
    """Width of the table of gradients: channels of the per-channel operands, or 1."""
    return max((operand.numel() for operand in operands[:GRADIENTS] if operand is not None), default=1)


def _error_slope(g: Tensor, x: Tensor, noise: Tensor | None, plan: ErrorPlan, scale: Value) -> tuple[Tensor, Tensor | None]:
    """What an error does to the gradient, and that of its scale. Shot noise has slope 1 at zero, where its own is infinite."""
    if noise is None or plan.ste:
        return g, None
    if plan.growth == "additive":
        return g, g * noise
    error = noise * scale
    if plan.growth == "proportional":
        return g * (1 + error * x.sign()), g * (noise * x.abs())
    root = _root(x)
    return g * torch.where(root > 0, 1 + error * x.sign() * (0.5 / root), 1.0), g * (noise * root)


def _level_slope(g: Tensor, steps: Steps, plan: Plan, grid: Grid) -> tuple[Tensor, Tensor | None, Tensor | None]:
    x, v, k = steps.x2, steps.v, steps.k
    if plan.grad == "ste" or v is None or k is None:
        return g, None, None
    if plan.grad == "through":
        share = (k - grid.first) / (plan.levels - 1) if plan.learned else None
        return torch.zeros_like(g), None if share is None else g * (1 - share), None if share is None else g * share
    below, above, inside = x < grid.low, x > grid.high, (x >= grid.low) & (x <= grid.high)
    to_low, to_high = torch.where(below, g, 0.0), torch.where(above, g, 0.0)
    if plan.grad == "lsq":
        share = torch.where(inside, g * ((v - k) / (plan.levels - 1)), 0.0)  # u - k/n, without the cancellation
        to_low, to_high = to_low + share, to_high - share
    return torch.where(inside, g, 0.0), to_low, to_high


def _limit_slope(g: Tensor, x: Tensor, bound: Value, side: int) -> tuple[Tensor, Tensor]:
    """Gradients of max(x, bound) for side 1 and min(x, bound) for -1: a tie is shared, NaN gets all of both."""
    shared = torch.where(x == bound, g / 2, g)
    beyond, inside = (x < bound, x > bound) if side > 0 else (x > bound, x < bound)
    return shared.masked_fill(beyond, 0.0), shared.masked_fill(inside, 0.0)
