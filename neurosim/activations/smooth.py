"""Smooth rectifiers without a negative lobe, and what lies between a rectifier and a smooth unit."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from neurosim.activations.cost import Operations
from neurosim.activations.declare import curve
from neurosim.activations.parameter import Parameter, Value, floored, plus_times

_INF = math.inf


def at_least(value: Value, low: float) -> Value:
    """A parameter, kept from falling below its domain while it is learned."""
    return value.clamp(min=low) if isinstance(value, Tensor) else max(value, low)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """GELU of torch, with its limits: kernels of its multiply ±∞ by 0, or double the largest numbers on the way."""
    far = 1e30  # there it is x or 0 in every format
    return torch.where(x > far, x, F.gelu(x.clamp(-far, far), approximate=approximate))


@curve(
    "smelu",
    "0 for x ≤ −b, (x + b)²/4b between, x for x ≥ b",
    b=Parameter(1.0, gt=0),
    bounds=(0.0, _INF),
    smoothness="C1",
    zero_preserving=False,
    operations=Operations(adds=1, multiplies=2, comparisons=2),
    fold="parts",
    hardware="the cheapest rectifier with a continuous slope: one multiplication, exactly 0 below −b",
    cite=("smelu",),
    speed="a clip, a square and a sum are several passes over memory, each as long as the one of ReLU",
)
def smelu(x: Tensor, b: Value) -> Tensor:
    """Smooth ReLU: a parabola joins 0 and x."""
    b = at_least(b, 1e-6)
    beyond, inside = _beyond(x, b, 2 * b)
    return inside * (0.5 / b) * torch.add(beyond, inside, alpha=-0.5)  # in this order nothing overflows on the way


def _beyond(x: Tensor, start: Value, width: Value) -> tuple[Tensor, Tensor]:
    """How far x is above −start, and the part of that up to a width."""
    beyond = (x + start).relu_()
    return beyond, torch.minimum(beyond, width) if isinstance(width, Tensor) else beyond.clamp(max=width)


@curve(
    "rescu",
    "g₋x + (g₊ − g₋)·((c + a)²/2(a + b) + max(0, x − b)), c = clip(x, −a, b)",
    left=Parameter(0.1),
    right=Parameter(1.0),
    start=Parameter(0.5, gt=0),
    stop=Parameter(1.0, gt=0),
    bounds=lambda left, right, start, stop: (-_INF if left > 0 or right < 0 else None, _INF if left < 0 or right > 0 else None),
    monotone=lambda left, right, start, stop: left >= 0 and right >= 0,
    smoothness=lambda left, right, start, stop: "smooth" if left == right else "C1",
    homogeneous=lambda left, right, start, stop: left == right,
    zero_preserving=lambda left, right, start, stop: left == right,
    operations=lambda left, right, start, stop: Operations(
        adds=1 + 2 * (left != 0) + 2 * (right != 0),
        multiplies=2 + (abs(left) not in (0, 1)) + (abs(right) not in (0, 1)),
        comparisons=2 + (left != 0) + (right != 0),
    ),
    fold="parts",
    hardware="generalised SmeLU: a parabola from slope g₋ to slope g₊; integrates any ramp that a current mirror makes",
    cite=("smelu",),
)
def rescu(x: Tensor, left: Value, right: Value, start: Value, stop: Value) -> Tensor:
    """Two slopes, joined by a parabola from −start to stop."""
    start, stop = at_least(start, 1e-6), at_least(stop, 1e-6)
    inside = _beyond(x, start, start + stop)[1]
    bent = inside * plus_times(left, (right - left) / (2 * (start + stop)), inside)
    bent = bent if isinstance(right, float) and right == 0 else plus_times(bent, right, (x - stop).relu_())
    return (
        bent
        if isinstance(left, float) and left == 0
        else plus_times(bent, left, torch.minimum(x, -start) if isinstance(start, Tensor) else x.clamp(max=-start))
    )


@curve(
    "sau",
    "(1 + a)x/2 + (1 − a)x/2·erf(x/(s√2)) + (1 − a)s/√(2π)·e^(−x²/2s²)",
    alpha=Parameter(0.15, learned=True),
    s=Parameter(0.1, gt=0),
    bounds=lambda a, s: (-_INF if a > 0 else (0.0 if a == 0 else None), _INF),
    monotone=lambda a, s: a >= 0,
    smoothness="smooth",
    homogeneous=lambda a, s: a == 1,
    zero_preserving=lambda a, s: a == 1,
    operations=Operations(adds=2, multiplies=5, lookups=2),
    fold="parts",
    hardware="what leaky_relu is on average under Gaussian noise of standard deviation s before it: set s to that of the hardware",
    speed="an error function, an exponential, and a parameter that learns",
    cite=("sau",),
)
def sau(x: Tensor, alpha: Value, s: Value) -> Tensor:
    """Leaky ReLU convolved with a Gaussian."""
    s = at_least(s, 1e-12)
    z = (x * (math.sqrt(0.5) / s)).clamp(-1e30, 1e30)  # so that 2z, the slope of its square, is finite
    bell = F.threshold(-z.square(), -87.0, -87.0).exp()  # numbers too small to be normal are slow
    gate = plus_times((1 + alpha) / 2, (1 - alpha) / 2, torch.erf(z))
    gated = (floored(x) if isinstance(alpha, float) and alpha == 0 else x) * gate
    return plus_times(gated, s * (1 - alpha) / math.sqrt(2 * math.pi), bell)


@curve(
    "softplus",
    "c·log(1 + e^(k(x − x₀)))",
    scale=Parameter(1.0, gt=0),
    sharpness=Parameter(1.0, gt=0),
    shift=Parameter(0.0),
    bounds=(0.0, _INF),
    smoothness="smooth",
    zero_preserving=False,
    operations=lambda scale, sharpness, shift: Operations(adds=1 + (shift != 0), multiplies=(scale != 1) + (sharpness != 1), lookups=2),
    fold=lambda scale, sharpness, shift: "none" if (scale, sharpness, shift) == (1, 1, 0) else "parts",
    hardware="the current of a transistor from weak to strong inversion",
    cite=("softplus",),
)
def softplus(x: Tensor, scale: Value, sharpness: Value, shift: Value) -> Tensor:
    """The smooth ReLU whose derivative is the logistic function."""
    return -scale * F.logsigmoid(-sharpness * (x - shift))


@curve(
    "interpolated",
    "R + i·(G − R), R = max(ax, x), G = xΦ(sx) or xσ(sx)",
    i=Parameter(0.5, ge=0, le=1),
    s=Parameter(1.0, gt=0),
    alpha=Parameter(0.0, le=1),
    target=Parameter("gelu", words=("gelu", "silu")),
    bounds=lambda i, s, alpha, target: (-_INF if alpha > 0 and i < 1 else None, _INF),
    monotone=None,
    smoothness=lambda i, s, alpha, target: "smooth" if i == 1 else "C0",
    homogeneous=lambda i, s, alpha, target: i == 0,
    operations=lambda i, s, alpha, target: Operations(
        adds=int(0 < i < 1),
        multiplies=(i > 0) * (1 + (s != 1)) + (i < 1) * (alpha != 0) + 2 * (0 < i < 1),
        lookups=int(i > 0),
        comparisons=int(i < 1),
    ),
    fold=lambda i, s, alpha, target: "none" if s == 1 else "parts",
    hardware="from ReLU (i = 0) to GELU or SiLU (i = 1) under quantisation and noise; its gradient jumps by (1 − i)(1 − a) at 0",
    speed="a ReLU, a smooth unit that is right at both ends, and their mixture are passes over memory of their own",
    cite=("interpolated_activation",),
)
def interpolated(x: Tensor, i: Value, s: Value, alpha: Value, target: str) -> Tensor:
    """From a leaky ReLU to GELU or SiLU of sharpness s."""
    unit, low = gelu if target == "gelu" else F.silu, floored(x)
    smooth = unit(low) if isinstance(s, float) and s == 1 else unit(floored(s * low)) / s
    if isinstance(i, float) and i == 1:
        return smooth
    ramp = torch.where(x > 0, x, alpha * low) if isinstance(alpha, Tensor) else F.relu(x) if alpha == 0 else F.leaky_relu(x, alpha)
    return ramp if isinstance(i, float) and i == 0 else plus_times((1 - i) * ramp, i, smooth)
