"""The spike as a function: what neurons that are written in plain torch are made of."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurosim.surrogate import Surrogate
from neurosim.surrogate import surrogate as by_name


def spike(z: Tensor, surrogate: Surrogate | str = "arctan", *, strict: bool = False) -> Tensor:
    r"""1 where a potential has reached its threshold, with a surrogate gradient.

    .. math:: s = \Theta(z), \qquad \partial s / \partial z := g(z)

    Args:
        z: Potential minus threshold, floating point; NaN does not fire.
        surrogate: g: a name in ``SURROGATES``, or what ``surrogate`` returned.
        strict: Whether Θ(0) is 0 instead of 1.

    Returns:
        0 or 1, like ``z``.

    Raises:
        ConfigError: No surrogate has that name.

    >>> z = torch.tensor([-1.0, 0.0, 1.0], requires_grad=True)
    >>> spike(z, "triangle")
    tensor([0., 1., 1.], grad_fn=<_SpikeBackward>)
    """
    formula = by_name(surrogate) if isinstance(surrogate, str) else surrogate
    fired: Tensor = _Spike.apply(z, formula, strict)  # type: ignore[no-untyped-call]  # torch does not type it
    return fired


class _Spike(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(z: Tensor, surrogate: Surrogate, strict: bool) -> Tensor:
        return (z > 0 if strict else z >= 0).to(z.dtype)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Surrogate, bool], output: Tensor) -> None:
        z, ctx.surrogate, _ = inputs
        ctx.save_for_backward(z)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        (z,) = ctx.saved_tensors
        return grad * ctx.surrogate.gradient(z), None, None
