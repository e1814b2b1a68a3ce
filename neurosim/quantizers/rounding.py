"""Rounding to the numbers of a format: one search in a table of borders, whatever the format and the rule."""

from __future__ import annotations

import math
from typing import Final, Literal, get_args

import torch
from torch import Tensor
from torch.autograd import forward_ad

from neurosim.checks import number, one_of
from neurosim.errors import ConfigError
from neurosim.ops.quantize import Rounding
from neurosim.quantizers.formats import Format, number_format
from neurosim.random import Stream

Grad = Literal["ste_masked", "ste", "lsq", "through"]
ROUNDINGS: Final = get_args(Rounding)
GRADS: Final = get_args(Grad)


def round_to(x: Tensor, form: Format, rounding: Rounding = "half_even", stream: Stream | None = None) -> Tensor:
    """The number of a format for every number, in units of the format; what is beyond its ends becomes the last one. No gradient.

    Args:
        x: Any shape, float32 or float64. NaN stays NaN.
        form: The format.
        rounding: ``half_even``: the nearest number; of two, the one with the even code. ``half_to_zero``: of two, the smaller one.
            ``to_zero``, ``away_from_zero``, ``floor``, ``ceil``: the next one on that side. ``stochastic``: one of both neighbours, with
            the probabilities that make the mean exact.
        stream: Random numbers for ``stochastic``; None rounds half to even instead.

    >>> round_to(torch.tensor([0.2, 2.4, 2.5, 5.0, 99.0]), number_format("e2m1"))
    tensor([0., 2., 2., 4., 6.])
    """
    x = x.detach()
    values = torch.tensor(form.values, dtype=x.dtype, device=x.device)
    if rounding == "stochastic" and stream is not None:
        below = torch.bucketize(x, values, right=True).sub_(1).clamp_(0, len(values) - 2)
        low, high = values[below], values[below + 1]
        level = torch.where((x - low) / (high - low) > stream.uniform(x.shape, like=x), high, low)
    else:
        level = values[torch.bucketize(x, _borders(values, form, rounding))]
    return torch.where(x.isnan(), x, level)


def _borders(values: Tensor, form: Format, rounding: Rounding) -> Tensor:
    """The largest number that is rounded to each of the format's numbers but the last."""
    below, above = values[:-1], values[1:]
    positive = above > 0
    if rounding in ("floor", "ceil", "to_zero", "away_from_zero"):
        up = {"floor": positive | True, "ceil": positive & False, "to_zero": positive, "away_from_zero": ~positive}[rounding]
        places = torch.where(up, above, below)  # and what lies on a number stays there
    else:
        places = (below + above) / 2
        odd = (torch.arange(len(below), device=values.device) - form.values.index(0.0)) % 2 == 1
        up = ~positive if rounding == "half_to_zero" else odd
    return torch.where(up, torch.nextafter(places, places.new_tensor(-math.inf)), places)


def _differentiated(x: Tensor) -> bool:
    """Whether somebody may want derivatives, backwards or forwards."""
    return (torch.is_grad_enabled() and x.requires_grad) or forward_ad._current_level >= 0


def fake_quantize(
    x: Tensor,
    form: str | Format,
    limit: float | Tensor,
    *,
    rounding: Rounding = "half_even",
    grad: Grad = "ste_masked",
    stream: Stream | None = None,
) -> Tensor:
    r"""A signal in a number format whose largest number is the limit.

    .. math:: y = s\,Q(x / s), \qquad s = r / \max_k |v_k|

    with Q the rounding to the numbers v of the format, and r the limit. Numbers beyond the ends of the format become its ends.

    Args:
        x: Any shape, floating point; 16-bit types are computed in float32 and rounded at the end. NaN stays NaN.
        form: The format, or its name in :data:`neurosim.quantizers.FORMATS`.
        limit: r, > 0, in units of ``x``; a tensor that broadcasts to ``x``: one for each channel has the shape ``(C, 1, 1)``, say. Where
            it is 0 the result is 0.
        rounding: See :func:`round_to`.
        grad: The derivative by ``x``: ``ste_masked`` is 1 between the ends and 0 beyond, ``ste`` is 1, ``through`` is 0, the true one.
            ``lsq`` is ``ste_masked`` and gives the limit a gradient as well: that of s with Q taken for the identity between the ends,
            :math:`Q(x/s) - x/s`, and for constant beyond.
        stream: Random numbers for ``stochastic``; None rounds half to even instead.

    Returns:
        Same shape and dtype as ``x``.

    Raises:
        ConfigError: There is no such format, rounding or gradient, ``x`` is not floating point, or the limit is below 0 or does not
            broadcast to ``x``.

    Source:
        Y. Bengio, N. Léonard, A. Courville, "Estimating or propagating gradients through stochastic neurons", arXiv 1308.3432 (2013), for
        ``ste``; S. K. Esser et al., "Learned step size quantization", ICLR 2020, equation 3, for ``lsq``, without the factor of section
        2.2; S. Gupta et al., "Deep learning with limited numerical precision", ICML 2015, for ``stochastic``.

    >>> fake_quantize(torch.tensor([0.1, 0.4, -2.0]), "e2m1", 1.0)
    tensor([ 0.0833,  0.3333, -1.0000])
    """
    if not isinstance(limit, Tensor):
        number("fake_quantize: limit", limit, ge=0)
    elif not (torch.compiler.is_compiling() or torch._C._are_functorch_transforms_active()) and bool((limit < 0).any()):
        raise ConfigError(f"fake_quantize: limit must be ≥ 0, got {float(limit.detach().min())}")
    return in_format(x, form, limit, rounding=rounding, grad=grad, stream=stream)


def in_format(
    x: Tensor, form: str | Format, limit: float | Tensor, *, rounding: Rounding, grad: Grad, stream: Stream | None = None
) -> Tensor:
    """:func:`fake_quantize` for limits that are known to be ≥ 0, which looks at no number of theirs."""
    form = number_format(form)
    one_of("fake_quantize: rounding", rounding, ROUNDINGS)
    one_of("fake_quantize: grad", grad, GRADS)
    if not x.is_floating_point():
        raise ConfigError(f"fake_quantize: x must be floating point, got {x.dtype}")
    if isinstance(limit, Tensor) and not _broadcasts(limit.shape, x.shape):
        raise ConfigError(f"fake_quantize: limit must broadcast to x, shape {tuple(x.shape)}, got shape {tuple(limit.shape)}")
    signal = x.float() if x.dtype.itemsize < 4 else x
    learned = grad == "lsq"
    scale = torch.as_tensor(limit, dtype=signal.dtype, device=x.device) / form.largest
    if not learned:
        scale = scale.detach()
    ratio = signal / torch.where(scale > 0, scale, 1.0)
    level = round_to(ratio, form, rounding, stream)
    if grad != "through" and _differentiated(ratio):
        through = ratio if grad == "ste" else ratio.clamp(form.values[0], form.values[-1])
        through = torch.where(through.detach().isfinite(), through, 0)
        level = level + (through - through.detach())  # exactly 0, with the derivative of a straight line
    return (level * scale).to(x.dtype)


def _broadcasts(shape: torch.Size, to: torch.Size) -> bool:
    """Whether a tensor can be expanded to a shape."""
    return len(shape) <= len(to) and all(own in (1, other) for own, other in zip(reversed(shape), reversed(to), strict=False))
