"""Loss of pulses: some do not arrive."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from neurosim.hardware.stage import STAGES, Context, Params, Spec, Stage, Unit
from neurosim.random import Stream


class Drop(Spec):
    """Sets each element to 0 with a probability, independently of all others."""

    kind: Literal["drop"] = "drop"
    probability: Annotated[float, Field(ge=0, le=1), Unit("1")]
    """That an element is lost."""


def drop(x: Tensor, probability: float, stream: Stream) -> Tensor:
    r"""What is left of a signal.

    .. math:: y = m\,x, \qquad m \sim \mathrm{Bernoulli}(1 - p)

    Nothing is scaled up to make good for the loss, as dropout does in training: a lost spike is lost.

    Args:
        x: Signal, any shape; of spikes, each is lost by itself.
        probability: p, in [0, 1].
        stream: Random numbers.

    Returns:
        Same shape and dtype as ``x``; the gradient passes where the signal does.

    >>> from neurosim.random import stream
    >>> drop(torch.ones(3), 1.0, stream(0, "x"))
    tensor([0., 0., 0.])
    """
    like = x.new_empty((), dtype=torch.promote_types(x.dtype, torch.float32))  # a 16-bit number could not tell rare losses from none
    return torch.where(stream.uniform(x.shape, like=like) >= probability, x, torch.zeros_like(x))


def _apply(x: Tensor, spec: Drop, params: Params, device: None, ctx: Context) -> Tensor:
    probability = spec.probability * ctx.strength
    return x if ctx.stream is None or probability == 0 else drop(x, probability, ctx.stream)


def _describe(spec: Drop) -> str:
    return f"{100 * spec.probability:.3g} % of the pulses are lost" if spec.probability else "no pulses are lost"


STAGES.add("drop", Stage(Drop, _apply, _describe, random=lambda spec: spec.probability > 0))
