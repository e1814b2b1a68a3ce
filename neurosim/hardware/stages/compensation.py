"""Drift compensation: outputs are scaled so that the mean response stays that of the programmed array."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from neurosim.hardware.stage import STAGES, Spec, Stage, unchanged

LEAST = 1e-4  #: smallest mean response that is divided by, in full scales


class Compensation(Spec):
    """Multiplies outputs by what their mean response has lost since programming."""

    kind: Literal["compensation"] = "compensation"
    per: Literal["tile", "column"] = "tile"
    """One factor for all outputs of an array (global), or one for each output."""


def compensation(now: Tensor, programmed: Tensor, per: Literal["tile", "column"]) -> Tensor:
    r"""The digital factor of each output.

    .. math:: \alpha = \frac{\overline{|W(0)|}}{\overline{|W(t)|}}

    The mean is over a tile, or over one output's part of it: what reading the array with one input at a time gives, without noise of
    sources and detectors.

    Args:
        now: Signed matrix that the array holds at this time, ``(groups, outputs, tiles, rows)``.
        programmed: The same at the time of programming.
        per: See :class:`Compensation`.

    Returns:
        ``(tiles, groups, outputs)``, or with 1 for groups and outputs; without gradient.

    Source:
        V. Joshi et al., "Accurate deep neural network inference using computational phase-change memory", Nat. Commun. 11 (2020) 2473,
        section "Global drift compensation".

    >>> programmed = torch.tensor([[[[1.0, -1.0]], [[0.5, 0.5]]]])
    >>> compensation(programmed * torch.tensor([0.5, 0.25]).reshape(1, 2, 1, 1), programmed, "column").flatten()
    tensor([2., 4.])
    """
    over = (0, 1, 3) if per == "tile" else (3,)
    with torch.no_grad():
        before, after = (one.abs().mean(over, keepdim=True).clamp(min=LEAST) for one in (programmed, now))
        return (before / after).squeeze(3).permute(2, 0, 1)


def _describe(spec: Compensation) -> str:
    return f"drift compensated by one factor for every {'array' if spec.per == 'tile' else 'output'}"


STAGES.add("compensation", Stage(Compensation, unchanged, _describe, structural=True))
