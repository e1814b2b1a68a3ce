"""Statistics at test time: batch norms that also look at the batch they are given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from neurosim.analysis.inputs import check_chip
from neurosim.analysis.observe import uncompiled
from neurosim.checks import number
from neurosim.errors import ConfigError
from neurosim.nn import MPBN
from neurosim.norms.base import Cost, Operations
from neurosim.norms.batch import BatchNorm, channels_of
from neurosim.norms.calibrated import calibrated_norms, moments_at, set_statistics
from neurosim.norms.registry import register
from neurosim.norms.time_norm import TimeNorm


def mixed_batch_norm(
    x: Tensor, mean: Tensor, var: Tensor, weight: Tensor | None, bias: Tensor | None, *, alpha: float, eps: float = 1e-5
) -> Tensor:
    r"""Batch normalisation by a mixture of known statistics and those of the batch.

    .. math::
        \mu = \alpha\,\mu_0 + (1 - \alpha)\,\mu_B, \qquad \sigma^2 = \alpha\,\sigma_0^2 + (1 - \alpha)\,\sigma_B^2, \qquad
        y = \gamma\,\frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta

    Args:
        x: ``(batch, channels, *)``.
        mean, var: Known statistics, ``(channels,)``.
        weight, bias: γ and β, or None.
        alpha: In [0, 1]: 1 is the norm of evaluation, 0 that of training.
        eps: ε.

    Source:
        F. You, J. Li, Z. Zhao, "Test-time batch statistics calibration for covariate shift", arXiv 2110.04065 (2021), α-BN.
    """
    over, along = [axis for axis in range(x.dim()) if axis != 1], (-1, *(1,) * (x.dim() - 2))
    values = x.to(mean.dtype)
    mixed_mean = alpha * mean + (1 - alpha) * values.mean(over)
    mixed_var = alpha * var + (1 - alpha) * values.var(over, correction=0)
    scale = (mixed_var + eps).rsqrt() if weight is None else (mixed_var + eps).rsqrt() * weight
    y = (values - mixed_mean.reshape(along)) * scale.reshape(along)
    return (y if bias is None else y + bias.reshape(along)).to(x.dtype)


@register(
    "batch_statistics",
    "B7",
    kind="procedure",
    formula="µ = α µ_training + (1 − α) µ_batch, σ² likewise",
    stats="batch",
    fold="F3",
    usage="ns.batch_statistics(model, alpha) in a with statement around the evaluation of a model that has batch norms",
    cost=Cost(Operations(4, 3), Operations(3, 4, 1, 1)),  # as of a group norm, and both statistics of a channel mixed with known ones
)
@contextlib.contextmanager
def batch_statistics(model: nn.Module, alpha: float = 0.9) -> Iterator[None]:
    """Within the ``with`` block, norms in evaluation mode mix their running statistics with those of each batch.

    A gain or an offset that a chip has got since its statistics were taken is seen in every batch and normalised away, in part, without
    labels and without calibration. Outputs depend on what else is in the batch then; :func:`neurosim.recalibrate` freezes new statistics
    instead.

    Batch norms over time (``neurosim.norms``) take the statistics of the whole sequence that one call gives them, those with statistics of
    every step (BNTT) those of each step. Other norms by running statistics (L1, online, PowerNorm, unified, EvoNorm B0 to B2, instance
    norms of torch that track) take those that :func:`neurosim.recalibrate` would find in the batch; no gradient flows through them. A norm
    of the potential within a neuron (MPBN) keeps its own, and so does a :class:`~neurosim.norms.FreezingNorm`.

    Args:
        model: With batch norms of torch that keep running statistics, batch norms over time, or others as above. Compiled ones run
            uncompiled in the block.
        alpha: Weight of the running statistics, in [0, 1]; the smaller the batch, the larger it should be.

    Raises:
        ConfigError: ``model`` is no module, ``alpha`` is out of its domain, or there is no such norm.

    Source:
        F. You, J. Li, Z. Zhao, "Test-time batch statistics calibration for covariate shift", arXiv 2110.04065 (2021), α-BN.

    >>> import torch
    >>> norm = nn.BatchNorm1d(2).eval()
    >>> with batch_statistics(norm, alpha=0.0):
    ...     y = norm(torch.tensor([[1.0, 8.0], [3.0, 9.0]]))
    >>> y.round(decimals=3)
    tensor([[-1., -1.],
            [ 1.,  1.]], grad_fn=<RoundBackward1>)
    """
    check_chip("batch_statistics", model)
    if not 0 <= number("batch_statistics: alpha", alpha, ge=0) <= 1:
        raise ConfigError(f"batch_statistics: alpha must be in [0, 1], got {alpha}")
    inner = {id(part) for module in model.modules() if isinstance(module, MPBN) for part in module.modules()}
    norms = [norm for norm in calibrated_norms(model) if id(norm) not in inner]
    if not norms:
        raise ConfigError("batch_statistics: the model has no norm with running statistics; those in MPBN and FreezingNorm keep their own")
    before = [norm.__dict__.get("forward") for norm in norms]
    with uncompiled():
        try:
            for norm in norms:
                mixed = _mixed_over_time if isinstance(norm, TimeNorm) else _mixed if isinstance(norm, _BatchNorm) else _mixed_found
                norm.__dict__["forward"] = partial(mixed, norm, norm.forward, alpha)
            yield
        finally:
            for norm, own in zip(norms, before, strict=True):
                norm.__dict__.pop("forward", None)
                if own is not None:
                    norm.__dict__["forward"] = own


def _mixed(norm: Any, forward: Any, alpha: float, x: Tensor) -> Tensor:
    if norm.training:
        trained: Tensor = forward(x)
        return trained
    (norm.check if isinstance(norm, BatchNorm) else norm._check_input_dim)(x)
    axis = channels_of(norm)
    y = mixed_batch_norm(x.movedim(axis, 1), norm.running_mean, norm.running_var, norm.weight, norm.bias, alpha=alpha, eps=norm.eps)
    return y.movedim(1, axis)


def _mixed_found(norm: Any, forward: Any, alpha: float, x: Any) -> Tensor:
    if norm.training or not isinstance(x, Tensor) or not x.numel():
        known: Tensor = forward(x)
        return known
    before = {name: value for name, value in norm._buffers.items() if value.is_floating_point()}
    norm._buffers.update({name: value.clone() for name, value in before.items()})
    try:
        set_statistics(norm, moments_at(norm, x, own=True))
        for name, value in before.items():
            norm._buffers[name].lerp_(value, alpha)
        y: Tensor = forward(x)
    finally:
        norm._buffers.update(before)
    return y


def _mixed_over_time(norm: Any, forward: Any, alpha: float, x: Any, *how: Any) -> Tensor:
    given = any(isinstance(one, tuple) for one in how)  # a mean and a variance
    if norm.training or given or not isinstance(x, Tensor) or not x.numel():
        known: Tensor = forward(x, *how)
        return known
    before = norm.running_mean, norm.running_var
    norm.running_mean, norm.running_var = norm.mixed(x, alpha, *how[:1])
    try:
        y: Tensor = forward(x, *how)
    finally:
        norm.running_mean, norm.running_var = before
    return y
