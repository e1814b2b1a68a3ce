"""Lp normalization of a signal or a weight: rows or the whole, optionally scaled to a largest magnitude of one."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neurosim.hardware.gradient import straight_through
from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit

Over = Literal["row", "whole"]


class LpNorm(Spec):
    """Divides a signal by its Lp norm."""

    kind: Literal["lp_norm"] = "lp_norm"
    p: Annotated[float, Field(ge=1, le=100), Unit("1")] = 2.0
    """Order of the norm, ≥ 1."""
    over: Over = "row"
    """``row``: one norm for each index of the first axis (a sample, an output's weights); ``whole``: one norm of everything."""
    max_one: bool = False
    """Divide by the largest magnitude of the whole tensor afterwards. On activations this couples the samples of a batch."""
    floor: Annotated[float, Field(gt=0), Unit("fs")] = 1e-4
    """Smallest norm that is divided by."""
    grad: Literal["through", "ste"] = "through"
    """Gradient rule; AnalogVNN's default is ``ste``."""


def lp_norm(
    x: Tensor,
    p: float = 2.0,
    *,
    over: Over = "row",
    max_one: bool = False,
    floor: float = 1e-4,
    grad: Literal["through", "ste"] = "through",
) -> Tensor:
    r"""Normalise by an Lp norm.

    .. math:: y = x / \max(\lVert x \rVert_p, \epsilon) \quad\text{and, with } \mathtt{max\_one},\quad y \leftarrow y / \max|y|

    Args:
        x: Signal, any shape; a 1-D tensor is one row.
        p: Order of the norm, ≥ 1.
        over, max_one, floor, grad: See :class:`LpNorm`.

    Returns:
        Same shape and dtype as ``x``. A signal of zeros stays zeros.

    Source:
        AnalogVNN 1.0.8 ``LPNorm`` and ``LPNormW``; with ``max_one`` those give NaN on a signal of zeros, this does not.

    >>> lp_norm(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
    tensor([[0.6000, 0.8000],
            [0.0000, 0.0000]])
    """
    if grad == "ste":
        return straight_through(x, lp_norm(x.detach(), p, over=over, max_one=max_one, floor=floor))
    if x.numel() == 0:
        return x.clone()
    rows = x.reshape(1, -1) if over == "whole" or x.dim() < 2 else x.flatten(1)
    y: Tensor = rows / torch.linalg.vector_norm(rows, p, dim=1, keepdim=True).clamp(min=floor)
    if max_one:
        largest = y.abs().amax()
        y = y / torch.where(largest > 0, largest, torch.ones_like(largest))
    return y.reshape(x.shape)


def _apply(x: Tensor, spec: LpNorm, params: Params, device: None, ctx: Context) -> Tensor:
    return lp_norm(x, spec.p, over=spec.over, max_one=spec.max_one, floor=spec.floor, grad=spec.grad)


def _describe(spec: LpNorm) -> str:
    return (
        f"L{spec.p:g} norm of {'each row' if spec.over == 'row' else 'the whole tensor'}{', largest magnitude 1' if spec.max_one else ''}"
    )


STAGES.add("lp_norm", Stage(LpNorm, _apply, _describe))
