r"""When a neuron fires first, with a gradient.

The time is the number of steps before the first spike, T for a neuron that stays silent:

.. math:: t(s) = \sum_{k=0}^{T-1} \prod_{j=0}^{k} (1 - s_j)

For spikes, 0 or 1, every product is 1 until the first spike and 0 from then on. For probabilities of independent spikes it is the expected
time. The function is linear in every :math:`s_j`, so its derivative is exactly what one spike more or less would change: a spike at step j
before the first would make it earlier by :math:`t - j`, taking the first away would leave it to the second, and later spikes do nothing.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from neurosim.checks import one_of
from neurosim.losses.base import sequence

TimeGradient = Literal["flip", "sign"]
Silent = Literal["after", "last"]


def first_spike_time(spikes: Tensor, *, gradient: TimeGradient = "flip", silent: Silent = "after") -> Tensor:
    r"""The step of the first spike of every unit.

    .. math:: t = \min \{k : s_k > 0\}

    Args:
        spikes: 0 or 1, or probabilities with ``gradient="flip"``; larger counts are taken as 1.
        gradient: ``"flip"``: what one spike more or less would change, see the text of this module. ``"sign"``: −1 at the first spike,
            at the last step for units that are silent, and 0 elsewhere.
        silent: The time of units that do not fire: ``"after"`` is T, the step after the last; ``"last"`` is T − 1, as if they fired then.

    Shapes:
        spikes ``(time, batch, *units)``; result ``(batch, *units)``, in steps from 0, of at least 32 bits.

    Raises:
        ConfigError: An argument is not as above.

    Source:
        ``"flip"``: expectation from the survival function. ``"sign"`` with ``"last"`` is ``SpikeTime`` of snnTorch (J. K. Eshraghian et
        al., Proc. IEEE 111 (2023) 1016-1054): that loops over batch and units in Python on the way back, and writes into the
        times it is given as targets.

    >>> spikes = torch.tensor([0.0, 1.0, 0.0, 1.0]).view(4, 1, 1).requires_grad_()
    >>> time = first_spike_time(spikes)
    >>> time.sum().backward()
    >>> time, spikes.grad.flatten()
    (tensor([[1.]], grad_fn=<SumBackward1>), tensor([-1., -2., -0., -0.]))
    """
    check_time_rule("first_spike_time: ", gradient, silent)
    s = sequence("first_spike_time: spikes", spikes, "(time, batch, *units)", 3, None).clamp(0, 1)
    latest = len(s) - (silent == "last")
    if gradient == "flip":
        return (1 - s[:latest]).cumprod(0).sum(0)
    fired = s.detach() > 0
    time = torch.where(fired.any(0), fired.to(torch.uint8).argmax(0), latest)
    at = torch.arange(len(s), device=s.device).view(-1, *[1] * time.dim()) == time.clamp(max=len(s) - 1)
    return time.to(s.dtype) - ((s - s.detach()) * at).sum(0)


def check_time_rule(where: str, gradient: TimeGradient, silent: Silent) -> tuple[TimeGradient, Silent]:
    """Both settings of :func:`first_spike_time`, if they are such.

    Raises:
        ConfigError: One is another word.
    """
    one_of(f"{where}gradient", gradient, get_args(TimeGradient))
    one_of(f"{where}silent", silent, get_args(Silent))
    return gradient, silent
