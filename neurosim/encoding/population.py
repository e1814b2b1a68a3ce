"""Population code: every value excites a row of units, each of which prefers a value of its own."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from neurosim.checks import number, one_of, whole
from neurosim.encoding.base import ENCODERS, Encoder, at_least_32_bits, source, values
from neurosim.encoding.constant import constant
from neurosim.encoding.latency import latency
from neurosim.encoding.rate import rate
from neurosim.errors import ConfigError
from neurosim.random import Stream

Code = Literal["latency", "rate", "constant"]
_CODES: Final = get_args(Code)


def receptive_fields(x: Tensor, cells: int, *, low: float = 0.0, high: float = 1.0, sharpness: float = 1.5) -> Tensor:
    r"""How strongly each of a row of units responds to the value.

    .. math:: y_i = \exp\Big(-\frac{(x - \mu_i)^2}{2\sigma^2}\Big), \quad
        \mu_i = l + \frac{2i - 3}{2}\,\frac{h - l}{n - 2}, \quad \sigma = \frac{1}{\beta}\,\frac{h - l}{n - 2}, \qquad i = 1 \dots n

    Args:
        x: Values, mostly from ``low`` to ``high``. Gradients flow.
        cells: n, units per value, ≥ 3: the first and the last prefer values half a spacing out of the range.
        low: l, lower end of the range.
        high: h, upper end, > ``low``.
        sharpness: β, > 0: how much narrower the fields are than their spacing.

    Shapes:
        x ``(batch, *units)``; result ``(batch, *units, cells)``, 0 to 1.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        S. M. Bohte, J. N. Kok, H. La Poutré, "Error-backpropagation in temporally encoded networks of spiking neurons", Neurocomputing 48
        (2002) 17-37, where inputs are encoded so.

    >>> receptive_fields(torch.tensor([[0.5]]), cells=3).round(decimals=3)
    tensor([[[0.3250, 1.0000, 0.3250]]])
    """
    count, beta = whole("receptive_fields: cells", cells, 3), number("receptive_fields: sharpness", sharpness, gt=0)
    _check_range("receptive_fields: ", low, high)
    wide = at_least_32_bits(values("receptive_fields", x))
    spacing = (high - low) / (count - 2)
    centres = low + spacing * (torch.arange(count, device=x.device, dtype=wide.dtype) - 0.5)
    return torch.exp(-0.5 * ((wide[..., None] - centres) * (beta / spacing)).square()).to(x.dtype)


def population(
    x: Tensor,
    steps: int,
    *,
    cells: int,
    low: float = 0.0,
    high: float = 1.0,
    sharpness: float = 1.5,
    code: Code = "latency",
    threshold: float = 0.1,
    stream: Stream | None = None,
) -> Tensor:
    """The responses of :func:`receptive_fields` as a sequence.

    Args:
        x: Values, mostly from ``low`` to ``high``.
        steps: Length of the sequence, ≥ 1.
        cells: Units per value, ≥ 3.
        low: Lower end of the range.
        high: Upper end, > ``low``.
        sharpness: How much narrower the fields are than their spacing, > 0.
        code: How a response is sent: as the time of one spike, as in the source, as a rate, or as a constant current.
        threshold: With ``"latency"``, responses up to it do not fire, 0 ≤ threshold < 1.
        stream: Where ``"rate"`` draws from.

    Shapes:
        x ``(batch, *units)``; result ``(steps, batch, *units, cells)``.

    Raises:
        ConfigError: An argument is not as above, or ``"rate"`` has no stream.

    Source:
        As :func:`receptive_fields`, where late spikes are left out too.
    """
    how = one_of("population: code", code, _CODES)
    response = receptive_fields(x, cells, low=low, high=high, sharpness=sharpness)
    if how == "latency":
        return latency(response, steps, threshold=threshold)
    return rate(response, steps, stream=source("population", stream)) if how == "rate" else constant(response, steps)


def _check_range(where: str, low: float, high: float) -> tuple[float, float]:
    if number(f"{where}low", low) >= number(f"{where}high", high):
        raise ConfigError(f"{where}low: must be below high, got low={low:g}, high={high:g}")
    return low, high


@ENCODERS.register("population")
class Population(Encoder):
    """Every value as a row of units with receptive fields: :func:`population` with its settings.

    Args:
        steps: Length of the sequence, ≥ 1.
        cells: Units per value, ≥ 3.
        low: Lower end of the range of the values.
        high: Upper end, > ``low``.
        sharpness: How much narrower the fields are than their spacing, > 0.
        code: How a response is sent: ``"latency"``, ``"rate"`` or ``"constant"``.
        threshold: With ``"latency"``, responses up to it do not fire, 0 ≤ threshold < 1.
    """

    def __init__(
        self,
        steps: Annotated[int, Field(ge=1)],
        cells: Annotated[int, Field(ge=3)],
        low: float = 0.0,
        high: float = 1.0,
        sharpness: Annotated[float, Field(gt=0)] = 1.5,
        code: Code = "latency",
        threshold: Annotated[float, Field(ge=0, lt=1)] = 0.1,
    ) -> None:
        super().__init__()
        one_of("Population.code", code, _CODES)
        self.steps, self.cells = whole("Population.steps", steps, 1), whole("Population.cells", cells, 3)
        self.low, self.high = _check_range("Population.", low, high)
        self.sharpness = number("Population.sharpness", sharpness, gt=0)
        self.code, self.threshold = code, number("Population.threshold", threshold, ge=0, lt=1)

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """See :func:`population`."""
        return population(
            x,
            self.steps,
            cells=self.cells,
            low=self.low,
            high=self.high,
            sharpness=self.sharpness,
            code=self.code,
            threshold=self.threshold,
            stream=stream,
        )
