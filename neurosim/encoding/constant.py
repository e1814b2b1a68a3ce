"""Direct coding: the value itself, at every step."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from neurosim.checks import whole
from neurosim.encoding.base import ENCODERS, Encoder, values
from neurosim.random import Stream


def constant(x: Tensor, steps: int) -> Tensor:
    r"""A current that stays on; the first layer of neurons turns it into spikes.

    .. math:: y_t = x

    Args:
        x: Values, any range.
        steps: Length of the sequence, ≥ 1.

    Shapes:
        x ``(batch, *units)``; result ``(steps, batch, *units)``, a view of ``x`` that takes no memory: clone it before writing to it.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        B. Rueckauer et al., "Conversion of continuous-valued deep networks to efficient event-driven networks for image classification",
        Front. Neurosci. 11:682 (2017).

    >>> import torch
    >>> constant(torch.tensor([[0.2, 0.7]]), steps=3).shape
    torch.Size([3, 1, 2])
    """
    return values("constant", x).expand(whole("constant: steps", steps, 1), *x.shape)


@ENCODERS.register("constant")
class Constant(Encoder):
    """The value itself at every step: :func:`constant` with its settings.

    Args:
        steps: Length of the sequence, ≥ 1.
    """

    def __init__(self, steps: Annotated[int, Field(ge=1)]) -> None:
        super().__init__()
        self.steps = whole("Constant.steps", steps, 1)

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """See :func:`constant`."""
        return constant(x, self.steps)
