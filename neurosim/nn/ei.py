r"""Excitation against inhibition: currents of two populations, weighed against each other.

Source:
    P. Liu, J. Ding, Z. Yu, "Training deep normalization-free spiking neural networks with lateral inhibition", ICLR 2026 (arXiv
    2509.23253).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neurosim.hardware.gradient import straight_through


def ei_balance(
    excitation: Tensor,
    inhibition: Tensor | None = None,
    shunt: Tensor | None = None,
    gain: Tensor | None = None,
    bias: Tensor | None = None,
    *,
    feature_dims: int = 1,
) -> Tensor:
    r"""The current that reaches excitatory neurons: subtractive inhibition is taken from it, divisive inhibition divides it.

    .. math:: I = g_E \odot \frac{I_{EE} - I_{EI}}{\tilde I_\mathrm{sh}} + b_E

    where :math:`\tilde I_\mathrm{sh}` is :func:`without_zeros` of the shunting current. What is ``None`` is left out.

    Args:
        excitation: :math:`I_{EE}`.
        inhibition: :math:`I_{EI}`, subtracted.
        shunt: :math:`I_\mathrm{sh}`, which divides.
        gain: :math:`g_E`.
        bias: :math:`b_E`.
        feature_dims: How many of the last axes belong to one sample: 1 for features, 3 for feature maps.

    Shapes:
        Currents ``(*, *features)``, all equal; gain and bias broadcast to them. Result like the currents.

    Source:
        Liu et al. 2026, and the authors' code, https://github.com/vwOvOwv/DeepEISNN (commit 28eec3b).

    >>> ei_balance(torch.tensor([[3.0, 1.0]]), torch.tensor([[1.0, 1.0]]), torch.tensor([[4.0, 0.0]]))
    tensor([[0.5000, 0.0000]])
    """
    balance = excitation if inhibition is None else excitation - inhibition
    if gain is not None:
        balance = gain * balance
    if shunt is not None:
        balance = balance / without_zeros(shunt, feature_dims=feature_dims)
    return balance if bias is None else balance + bias


def without_zeros(shunt: Tensor, *, feature_dims: int = 1) -> Tensor:
    r"""A current that can divide: where there is none, the smallest that the same sample has elsewhere.

    .. math:: \tilde I_i = I_i \text{ where } I_i > 0, \text{ else } \min\{I_j : I_j > 0\}; \qquad
        \partial \tilde I_i / \partial I_i := 1

    A sample without any current gives infinity: what it divides becomes 0, in value and gradient. Ideal currents are 0 or more; noise of a
    simulated circuit may carry them below 0, which counts as none. NaN stays NaN.

    Args:
        shunt: The current.
        feature_dims: How many of the last axes belong to one sample.

    Returns:
        A tensor like ``shunt``; the gradient passes it unchanged, the replaced elements too.

    Source:
        Liu et al. 2026 ("adaptive stabilization" in the authors' code); Bengio et al. 2013 (arXiv 1308.3432), section 4, for the gradient.

    >>> without_zeros(torch.tensor([[0.0, 2.0, 3.0], [0.0, 0.0, 0.0]]))
    tensor([[2., 2., 3.],
            [inf, inf, inf]])
    """
    value = shunt.detach()
    none = value <= 0
    smallest = value.masked_fill(none, torch.inf).amin(tuple(range(-feature_dims, 0)), keepdim=True)
    return straight_through(shunt, torch.where(none, smallest, value))


class _ScaleGradient(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, factor: float) -> Tensor:
        return x.view_as(x)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, float], output: Tensor) -> None:
        ctx.factor = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return grad * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x``, with its gradient multiplied by a number.

    >>> x = torch.ones(1, requires_grad=True)
    >>> torch.autograd.grad(scale_gradient(x, 0.25), x)
    (tensor([0.2500]),)
    """
    apply: Any = _ScaleGradient.apply
    result: Tensor = apply(x, factor)
    return result
