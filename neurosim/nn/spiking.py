"""A spiking network that is called like a digital one: images in, logits out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from neurosim.errors import ConfigError
from neurosim.nn.time import SpikingModule, State, takes_time
from neurosim.random import Stream


def repeat(x: Tensor, time_steps: int) -> Tensor:
    """The same input at every step, ``(time, *x.shape)``, without a copy: direct coding."""
    return x.expand(time_steps, *x.shape)


class SpikingNetwork(SpikingModule):
    """A network of neurons behind the interface of a digital classifier: the input is shown for some steps, the outputs are averaged.

    Training loops, loaders, metrics and sensitivity studies that serve digital models serve it as they are.

    Args:
        body: Takes ``(time, batch, *)``: a :class:`SpikingSequential`, a neuron, or anything with ``run``.
        time_steps: How long an input is shown, > 0; an attribute that may be changed.
        encoder: From ``(batch, *)`` and a number of steps to ``(time, batch, *)``; None shows the input as it is at every step.

    Shapes:
        x ``(batch, *)``; result ``(batch, classes)``: the mean over time of what the body gives. :meth:`run` takes and gives sequences.

    Raises:
        ConfigError: The body does not take time, or the number of steps is not positive.

    >>> import torch
    >>> from neurosim.neurons import LIF
    >>> from neurosim.nn.time import SpikingSequential
    >>> net = SpikingNetwork(SpikingSequential(nn.Linear(4, 8), LIF(2e-3, 1e-3), nn.Linear(8, 3)), time_steps=5)
    >>> net(torch.rand(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, body: nn.Module, time_steps: int, encoder: Callable[[Tensor, int], Tensor] | None = None) -> None:
        super().__init__()
        if not takes_time(body) or not callable(getattr(body, "run", None)):
            raise ConfigError(
                f"SpikingNetwork: body must have run(x, state) on (time, batch, *), as SpikingSequential has, got {type(body).__name__}"
            )
        self.body = body
        self.encoder = encoder
        self.time_steps = time_steps

    @property
    def time_steps(self) -> int:
        """How long an input is shown."""
        return self._time_steps

    @time_steps.setter
    def time_steps(self, value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise ConfigError(f"SpikingNetwork.time_steps: must be an integer > 0, got {value!r}")
        self._time_steps = value

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """The mean over time of the outputs for a batch of inputs."""
        shown = repeat(x, self.time_steps) if self.encoder is None else self.encoder(x, self.time_steps)
        return self.run(shown, stream=stream)[0].mean(0)

    def run(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> tuple[Tensor, State]:
        """The body's :meth:`run`: a sequence in, a sequence out."""
        body: Any = self.body
        y, after = body.run(x, state, stream=stream)
        return y, after

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"time_steps={self.time_steps}"
