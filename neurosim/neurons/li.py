"""Leaky integrator: a membrane that never fires."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from torch import Tensor

from neurosim.neurons.base import NEURONS, Neuron
from neurosim.ops.li import li
from neurosim.random import Stream


class LIState(NamedTuple):
    """What one step hands to the next."""

    v: Tensor  #: membrane potential, ``(batch, *units)``


@NEURONS.register("li")
class LI(Neuron[LIState]):
    r"""Leaky integrators: the read-out of a spiking network. They send on their potential.

    .. math:: v_t = a\,v_{t-1} + g\,x_t + b

    Args:
        tau_mem: Membrane time constant, seconds, > 0.
        dt: Step of the input, seconds, > 0.
        v_leak: Resting potential: where the neuron starts, and where it decays to.
        r: Membrane resistance: potential per unit of constant input. None is 1/(1 − a): every input counts once, g = 1;
            it must be None where ``tau_mem`` is infinite.
        learn: Parameters to learn, of ``tau_mem``, ``v_leak``, ``r``.

    Shapes:
        x ``(time, batch, *units)``; the potential after every step likewise; state ``v`` ``(batch, *units)``. Parameters are numbers or
        broadcast to ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        NIR ``LI`` (J. E. Pedersen et al., Nature Communications 15:8122 (2024), doi:10.1038/s41467-024-52259-9).

    >>> import math, torch
    >>> LI(tau_mem=1e-3 / math.log(2), dt=1e-3)(torch.tensor([1.0, 0.0, 0.0]).reshape(3, 1, 1)).flatten()
    tensor([1.0000, 0.5000, 0.2500])
    """

    learnable: ClassVar = ("tau_mem", "v_leak", "r")

    def __init__(
        self,
        tau_mem: float | Tensor,
        dt: float,
        *,
        v_leak: float | Tensor = 0.0,
        r: float | Tensor | None = None,
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__(dt, learn)
        self._keep_leak(tau_mem, r, v_leak)

    @property
    def tau_mem(self) -> float | Tensor:
        """Membrane time constant, seconds."""
        return self._time("tau_mem")

    def run(self, x: Tensor, state: LIState | None = None, *, stream: Stream | None = None) -> tuple[Tensor, LIState]:
        """The potential after every step, and the state to hand to the next chunk.

        Args:
            x: Input current, ``(time, batch, *units)``.
            state: What the chunk before returned; None starts from rest.
            stream: Not used: it is noiseless.
        """
        self._check(x, state, LIState)
        membrane, v = li(x, self._rest(x) if state is None else state.v, **self._leak())
        return membrane, LIState(v)
