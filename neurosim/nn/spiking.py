"""A spiking network that is called like a digital one: images in, logits out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from neurosim.checks import whole
from neurosim.encoding import Encoder, constant
from neurosim.errors import ConfigError
from neurosim.nn.time import SpikingModule, State, takes_time
from neurosim.random import Stream


class SpikingNetwork(SpikingModule):
    """A network of neurons behind the interface of a digital classifier: the input is shown for some steps, the outputs are averaged.

    Training loops, loaders, metrics and sensitivity studies that serve digital models serve it as they are.

    Args:
        body: Takes ``(time, batch, *)``: a :class:`SpikingSequential`, a neuron, or anything with ``run``.
        time_steps: How long an input is shown, > 0; an attribute that may be changed.
        encoder: From ``(batch, *)`` and a number of steps to ``(time, batch, *)``, such as ``neurosim.encoding.latency``; or an entry of
            ``ENCODERS``, which has as many steps and, if it is random, draws from the ``stream`` of each call. By default the input is
            shown as it is at every step.

    Shapes:
        x ``(batch, *)``; result ``(batch, classes)``: the mean over time of what the body gives. :meth:`run` takes and gives sequences.

    Raises:
        ConfigError: The body does not take time, or the number of steps is not positive or not that of the encoder.

    >>> import torch
    >>> from neurosim.neurons import LIF
    >>> from neurosim.nn.time import SpikingSequential
    >>> net = SpikingNetwork(SpikingSequential(nn.Linear(4, 8), LIF(2e-3, 1e-3), nn.Linear(8, 3)), time_steps=5)
    >>> net(torch.rand(2, 4)).shape
    torch.Size([2, 3])
    """

    def __init__(self, body: nn.Module, time_steps: int, encoder: Callable[[Tensor, int], Tensor] | Encoder = constant) -> None:
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
    def time_steps(self, value: int) -> None:
        steps = whole("SpikingNetwork.time_steps", value, 1)
        own = getattr(self.encoder, "steps", steps)
        if own != steps:
            raise ConfigError(f"SpikingNetwork.time_steps: must be the {own} steps of its encoder, got {steps}")
        self._time_steps = steps

    def forward(self, x: Tensor, *, stream: Stream | None = None) -> Tensor:
        """The mean over time of the outputs for a batch of inputs."""
        return self.run(self.encode(x, self.time_steps, stream=stream), stream=stream)[0].mean(0)

    def encode(self, x: Tensor, steps: int, *, stream: Stream | None = None) -> Tensor:
        """The sequence that stands for a batch of inputs, ``(steps, batch, *)``."""
        if isinstance(self.encoder, Encoder):
            shown: Tensor = self.encoder(x, stream=None if stream is None else stream.child("encoder"))
            return shown
        return self.encoder(x, steps)

    def run(self, x: Tensor, state: State | None = None, *, stream: Stream | None = None) -> tuple[Tensor, State]:
        """The body's :meth:`run`: a sequence in, a sequence out."""
        body: Any = self.body
        y, after = body.run(x, state, stream=stream)
        return y, after

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"time_steps={self.time_steps}"
