"""Activations that are exact forwards, and backwards a few steps: what training must keep of an input is one or two bits."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as F

from neurosim.activations.base import Bounds, Smoothness
from neurosim.activations.cost import Operations
from neurosim.activations.declare import curve
from neurosim.activations.facts import facts
from neurosim.activations.parameter import Parameter, floored
from neurosim.activations.smooth import gelu
from neurosim.errors import ConfigError


class Steps(NamedTuple):
    """A derivative of a few steps.

    Args:
        edges: Where it jumps, rising.
        slopes: Its values between them, one more than edges.
    """

    edges: tuple[float, ...]
    slopes: tuple[float, ...]

    @property
    def bits(self) -> int:
        """What has to be kept of every input."""
        return 1 if len(self.slopes) <= 2 else 2

    def at(self, x: float) -> float:
        """The derivative there."""
        return self.slopes[bisect_right(self.edges, x)]


#: by name: the derivative of ReLU, and those of the sums of three ReLUs that are nearest to GELU and to SiLU
STEPS: Final[dict[str, Steps]] = {
    "relu": Steps((0.0,), (0.0, 1.0)),
    "gelu2": Steps((-3.18588, -0.00118, 3.19083), (0.0, -0.04922, 1.04874, 1.0)),
    "silu2": Steps((-6.30505, -0.00087, 6.32582), (0.0, -0.04060, 1.04033, 1.0)),
}
#: curves that tend to ReLU on both sides
BASES: Final[dict[str, Callable[[Tensor], Tensor]]] = {"gelu": gelu, "hardswish": F.hardswish, "mish": F.mish, "silu": F.silu}


def stepped_backward(x: Tensor, y: Tensor, steps: Steps) -> Tensor:
    r"""The values ``y``, with a gradient to ``x`` of a few steps, for which 1 or 2 bits an element are kept.

    .. math:: \frac{\partial y}{\partial x} := s_j \quad \text{for } e_{j-1} \le x < e_j

    Args:
        x: The input; it is not kept.
        y: The values at it, of the same shape; no gradient flows through them.
        steps: The derivative; at most 4 slopes.

    Raises:
        ConfigError: There are more than 4 slopes.

    Source:
        Y. Yang et al., "Reducing fine-tuning memory overhead by approximate and memory-sharing backpropagation", ICML 2024, section 4.
    """
    if any(low >= high for low, high in zip(steps.edges, steps.edges[1:], strict=False)):
        raise ConfigError(f"stepped_backward: edges must rise, got {steps.edges}")
    if len(steps.slopes) > 4:
        raise ConfigError(f"stepped_backward: must have at most 4 slopes, which 2 bits can tell apart, got {len(steps.slopes)}")
    with torch.no_grad():
        kept = _packed(torch.bucketize(x.detach(), x.new_tensor(steps.edges), right=True), steps.bits)
    apply: Any = _Stepped.apply
    found: Tensor = apply(x, y.detach(), kept, steps.slopes, steps.bits)
    return found


class _Stepped(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, y: Tensor, kept: Tensor, slopes: tuple[float, ...], bits: int) -> Tensor:
        return y.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, _, kept, ctx.slopes, ctx.bits = inputs
        ctx.save_for_backward(kept)
        ctx.save_for_forward(kept)

    @staticmethod
    def jvp(ctx: Any, *tangents: Any) -> Tensor:
        tangent: Tensor = tangents[0]
        return tangent * _slopes(ctx.saved_tensors[0], ctx.slopes, ctx.bits, tangent)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (gradient,) = gradients
        return gradient * _slopes(ctx.saved_tensors[0], ctx.slopes, ctx.bits, gradient), None, None, None, None


def _slopes(kept: Tensor, slopes: tuple[float, ...], bits: int, like: Tensor) -> Tensor:
    """The derivative that was kept, of the shape and type of a gradient."""
    at = _unpacked(kept, bits, like.numel())
    return like.new_tensor(slopes).index_select(0, at).reshape(like.shape)


def _packed(codes: Tensor, bits: int) -> Tensor:
    """Small whole numbers, as many in a byte as will go."""
    each = 8 // bits
    flat = F.pad(codes.flatten(), (0, -codes.numel() % each)).reshape(-1, each)
    return (flat << torch.arange(each, device=codes.device) * bits).sum(1).to(torch.uint8)


def _unpacked(kept: Tensor, bits: int, count: int) -> Tensor:
    each = 8 // bits
    codes: Tensor = (kept.long().unsqueeze(1) >> torch.arange(each, device=kept.device) * bits) & (2**bits - 1)
    return codes.flatten()[:count]


def _bounds(base: str, backward: str) -> Bounds:
    return facts(base).bounds()


def _smoothness(base: str, backward: str) -> Smoothness:
    return facts(base).smoothness


@curve(
    "approx_backward",
    "f(x), exact; backward a derivative of 2 or 4 steps",
    base=Parameter("gelu", words=BASES),
    backward=Parameter("gelu2", words=tuple(STEPS)),
    bounds=_bounds,
    monotone=lambda base, backward: facts(base).monotone,
    smoothness=_smoothness,
    own_gradient=True,
    operations=lambda base, backward: facts(base).operations or Operations(),
    fold=lambda base, backward: facts(base).fold,
    hardware="inference is that of f; training on a chip keeps 1 bit (relu) or 2 bits (gelu2, silu2) of an input instead of the input",
    cite=("approx_bp",),
    speed="training packs 1 or 2 bits of every element into bytes: it trades time for memory",
)
def approx_backward(x: Tensor, base: str, backward: str) -> Tensor:
    """f(x) with the derivative of a sum of ReLUs: ``gelu2`` of ``gelu`` is ReGELU2, ``silu2`` of ``silu`` ReSiLU2.

    ``relu``, the mask of one bit, is in the manner of MobileTL, which has it for hard-swish.
    """
    with torch.no_grad():
        y = BASES[base](floored(x.detach()))
    return stepped_backward(x, y, STEPS[backward]) if torch.is_grad_enabled() or forward_ad._current_level >= 0 else y
