"""Delta modulation: a spike where a signal has changed."""

from __future__ import annotations

from typing import Annotated, Final, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor

from neurosim.checks import number, one_of
from neurosim.encoding.base import ENCODERS, Encoder, values
from neurosim.random import Stream

Reference = Literal["sent", "previous"]
_REFERENCES: Final = get_args(Reference)


def delta(x: Tensor, *, threshold: float = 0.1, reference: Reference = "sent", off_spikes: bool = True, from_zero: bool = True) -> Tensor:
    r"""Spikes where a sequence has risen by the threshold, and negative ones where it has fallen by it.

    .. math:: s_t = \begin{cases} 1 & x_t - r_t \ge \theta \\ -1 & x_t - r_t \le -\theta \\ 0 & \text{else}\end{cases}
        \qquad r_{t+1} = r_t + \theta s_t \;\text{("sent")} \quad\text{or}\quad r_{t+1} = x_t \;\text{("previous")}

    With ``"sent"``, a receiver that adds up the spikes knows the signal to within θ for as long as it moves by at most θ a step: what is
    below the threshold is sent later. With ``"previous"``, a signal that rises by less than θ a step never fires, however far it goes.

    Args:
        x: The signal. No gradient.
        threshold: θ, in the unit of x, > 0.
        reference: What the signal is compared with: what the spikes have told so far, or the step before.
        off_spikes: Whether there are negative spikes. Without them ``"sent"`` follows rises only.
        from_zero: Whether the signal is compared with 0 at first, instead of with its own first step.

    Shapes:
        x ``(time, batch, *units)``; result the same, −1, 0 or 1.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        M. Miskowicz, "Send-on-delta concept: an event-based data reporting strategy", Sensors 6 (2006) 49-63. ``"previous"`` is
        ``spikegen.delta`` of snnTorch, which runs.

    >>> ramp = torch.linspace(0, 0.5, 6).view(6, 1, 1)
    >>> delta(ramp, threshold=0.2).flatten(), delta(ramp, threshold=0.2, reference="previous").flatten()
    (tensor([0., 0., 1., 0., 1., 0.]), tensor([0., 0., 0., 0., 0., 0.]))
    """
    level, known = number("delta: threshold", threshold, gt=0), one_of("delta: reference", reference, _REFERENCES)
    x = values("delta", x, "(time, batch, *units)", 3).detach()
    if known == "sent":
        return _send_on_delta(x, level, off_spikes, from_zero)
    if len(x) == 0:
        return x
    from snntorch import spikegen

    found: Tensor = spikegen.delta(x, threshold=level, padding=not from_zero, off_spike=off_spikes)
    return found


def _send_on_delta(x: Tensor, level: float, off_spikes: bool, from_zero: bool) -> Tensor:
    wide = torch.float64 if x.dtype == torch.float64 else torch.float32
    signal = x.to(wide)
    start = signal.new_zeros(x.shape[1:]) if from_zero or len(x) == 0 else signal[0]
    sent, spikes = torch.zeros_like(start), []  # counted, not added up: 0.1 + 0.1 + 0.1 is not 0.3
    for now in signal.unbind(0):
        change = now - (start + level * sent)
        spike = (change >= level).to(wide)
        if off_spikes:
            spike = spike - (change <= -level).to(wide)
        sent = sent + spike
        spikes.append(spike)
    return torch.stack(spikes).to(x.dtype) if spikes else x


@ENCODERS.register("delta")
class Delta(Encoder):
    """Spikes where a sequence has changed: :func:`delta` with its settings.

    Args:
        threshold: Change that makes a spike, in the unit of the signal, > 0.
        reference: What the signal is compared with: what the spikes have told so far (``"sent"``), or the step before (``"previous"``).
        off_spikes: Whether there are negative spikes.
        from_zero: Whether the signal is compared with 0 at first, instead of with its own first step.
    """

    def __init__(
        self,
        threshold: Annotated[float, Field(gt=0)] = 0.1,
        reference: Reference = "sent",
        off_spikes: bool = True,
        from_zero: bool = True,
    ) -> None:
        super().__init__()
        one_of("Delta.reference", reference, _REFERENCES)
        self.threshold, self.reference = number("Delta.threshold", threshold, gt=0), reference
        self.off_spikes, self.from_zero = off_spikes, from_zero

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """See :func:`delta`."""
        return delta(x, threshold=self.threshold, reference=self.reference, off_spikes=self.off_spikes, from_zero=self.from_zero)
