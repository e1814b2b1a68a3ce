"""How a gradient passes a stage whose own derivative is zero, undefined or unwanted.

======================  ==========================================================================================
``through``             the derivative of what was computed, by autograd
``ste``                 identity (straight-through estimator)
``ste_masked``          identity inside the range of the stage, zero outside
``mean``                the derivative of the stage's mean over its noise
``forward``             the stage applied to the gradient itself: an analog backward pass
======================  ==========================================================================================

Source:
    Y. Bengio, N. Léonard, A. Courville, "Estimating or propagating gradients through stochastic neurons", arXiv 1308.3432 (2013), section
    4. ``forward`` is AnalogVNN's ``BackwardUsingForward``: Shah and Youngblood 2023.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor

GradRule = Literal["through", "ste", "ste_masked", "mean", "forward"]


class _StraightThrough(torch.autograd.Function):
    """Value of the second argument, gradient to the first."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, value: Tensor) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:
        pass

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad, None


class _ThroughForward(torch.autograd.Function):
    """Value of the second argument, gradient to the first after the function has acted on it."""

    @staticmethod
    def forward(x: Tensor, value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
        return value.view_as(value)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Callable[[Tensor], Tensor]], output: Tensor) -> None:
        ctx.function = inputs[2]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        with torch.no_grad():
            return ctx.function(grad), None, None


def straight_through(x: Tensor, value: Tensor) -> Tensor:
    """``value``, with the gradient going to ``x`` unchanged.

    Args:
        x: What receives the gradient.
        value: What is computed with; same shape as ``x``, any gradient of its own is cut.

    Returns:
        A tensor equal to ``value`` bit for bit.

    >>> x = torch.tensor([0.3], requires_grad=True)
    >>> y = straight_through(x, x.detach().round())
    >>> y.item(), torch.autograd.grad(y, x)[0].item()
    (0.0, 1.0)
    """
    result: Tensor = _StraightThrough.apply(x, value.detach())  # type: ignore[no-untyped-call]  # torch does not type apply
    return result


def through_forward(x: Tensor, value: Tensor, function: Callable[[Tensor], Tensor]) -> Tensor:
    """``value``, with the gradient going to ``x`` after ``function`` has acted on it; arguments as in :func:`straight_through`."""
    result: Tensor = _ThroughForward.apply(x, value.detach(), function)  # type: ignore[no-untyped-call]  # torch does not type apply
    return result
