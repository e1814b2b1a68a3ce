"""Leaky integrate-and-fire."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from neurosim.neurons.base import NEURONS, FiringNeuron, Passed
from neurosim.ops.lif import lif
from neurosim.ops.neuron_arguments import Reset
from neurosim.random import Stream
from neurosim.surrogate import Surrogate


class LIFState(NamedTuple):
    """What one step hands to the next."""

    v: Tensor  #: membrane potential after the reset, ``(batch, *units)``
    step: int | Tensor = 0  #: steps since rest; only noise depends on it


class Circuit(NamedTuple):
    """What a layer of neurons computes with in one run: its own parameters, or those of a chip."""

    x: Tensor  #: the current that arrives
    settings: dict[str, Any]  #: of :func:`neurosim.ops.lif.lif`
    held: Callable[[float | Tensor], float | Tensor] | None = None  #: the threshold that there is for one that is set; None: that one
    sent: Callable[[Tensor], Tensor] | None = None  #: what arrives of the spikes; None: all


def lif_steps(x: Tensor, v: Tensor | None, *, step: int | Tensor, **settings: Any) -> Passed[LIFState]:
    """What :func:`neurosim.ops.lif.lif` gives, with the state that streams.

    Args:
        x: Input, ``(time, batch, *units)``.
        v: Potential before the first step; None is 0.
        step: Steps since rest.
        settings: Those of the op.
    """
    out = lif(x, v, step=step, **settings)
    return out.spikes, out.record, LIFState(out.v, step + x.shape[0])


@NEURONS.register("lif")
class LIF(FiringNeuron[LIFState]):
    r"""Leaky integrate-and-fire neurons, one per unit of the input; with ``tau_mem=math.inf``, integrate-and-fire.

    .. math:: h_t = a\,v_{t-1} + g\,x_t + b, \qquad s_t = \Theta(\sigma(h_t - \theta)), \qquad v_t = h_t - \rho\,s_t

    with :math:`a = e^{-\Delta t/\tau}`, :math:`g = r\,(1-a)`, :math:`b = v_\mathrm{leak}\,(1-a)`, and the reset that ``reset`` names:

    ===================== ================================================== ================================
    reset                 :math:`h_t`                                        :math:`v_t`
    ===================== ================================================== ================================
    ``soft``              a v + g x + b                                      h − ρ s
    ``hard``              a v + g x + b                                      ``v_reset`` where s, else h
    ``none``              a v + g x + b                                      h
    ``soft_next``         a v + g x + b − ρ q                                h
    ``soft_next_decayed`` a (v − ρ q) + g x + b                              h
    ``hard_next``         a (``v_reset`` where q, else v) + g x + b          h
    ``hard_next_erasing`` ``v_reset`` where q, else a v + g x + b            h
    ``soft_both``         a v + g x + b − ρ q                                h − ρ (s − q)
    ===================== ================================================== ================================

    Here v is the potential before the step, and q says whether it lies at the threshold or beyond. All but the first three exist for
    equality with other libraries: snnTorch's ``Leaky`` is ``soft_next``, or ``soft_both`` without delay.

    Args:
        tau_mem: Membrane time constant, seconds, > 0.
        dt: Step of the input, seconds, > 0.
        v_threshold: Potential θ from which the neuron fires; ±∞ allowed (then give ``reset_by``).
        v_reset: Where hard resets lead.
        v_leak: Resting potential: where the neuron starts, and where it decays to.
        r: Membrane resistance: potential per unit of constant input. None is 1/(1 − a): every input counts once, g = 1;
            it must be None where ``tau_mem`` is infinite.
        reset: What a spike does to the potential; see the table.
        reset_by: What soft resets subtract, ρ; None is the threshold.
        sign: σ; −1 for units that fire at or below their threshold, as after folding a norm with a negative scale.
        strict: Fire above the threshold only, not at it.
        detach_reset: Whether gradients ignore that a spike changes the potential.
        surrogate: What stands in for the derivative of the spike: a name in ``SURROGATES``, or what ``surrogate`` returned.
        input_noise: Standard deviation of the noise on every input, in its unit; needs a ``stream`` at every call.
        membrane_noise: Standard deviation of the noise on the potential before the threshold, likewise.
        learn: Parameters to learn, of ``tau_mem``, ``v_threshold``, ``v_reset``, ``v_leak``, ``r``, ``reset_by``.

    Shapes:
        x ``(time, batch, *units)``; spikes the same; state ``v`` ``(batch, *units)``. Parameters are numbers or broadcast to ``units``.

    Raises:
        ConfigError: An argument, an input or a state is not as above.

    Source:
        W. Gerstner, W. M. Kistler, R. Naud, L. Paninski, "Neuronal Dynamics", Cambridge 2014, section 1.3. Learned time constants: W. Fang
        et al., ICCV 2021, who learn the logit of 1 − a; names and units: NIR (J. E. Pedersen et al., Nature Communications 15 (2024)).

    >>> import torch
    >>> LIF(tau_mem=20e-3, dt=1e-3)(torch.full((6, 1, 1), 0.4)).flatten()
    tensor([0., 0., 1., 0., 0., 1.])
    """

    learnable: ClassVar = ("tau_mem", "v_threshold", "v_reset", "v_leak", "r", "reset_by")

    def __init__(
        self,
        tau_mem: float | Tensor,
        dt: float,
        *,
        v_threshold: float | Tensor = 1.0,
        v_reset: float | Tensor = 0.0,
        v_leak: float | Tensor = 0.0,
        r: float | Tensor | None = None,
        reset: Reset = "soft",
        reset_by: float | Tensor | None = None,
        sign: float | Tensor = 1.0,
        strict: bool = False,
        detach_reset: bool = True,
        surrogate: Surrogate | str = "arctan",
        input_noise: float = 0.0,
        membrane_noise: float = 0.0,
        learn: Sequence[str] = (),
    ) -> None:
        super().__init__(dt, learn)
        self._keep_leak(tau_mem, r, v_leak)
        self._keep_firing(
            v_threshold=v_threshold,
            v_reset=v_reset,
            reset=reset,
            reset_by=reset_by,
            sign=sign,
            strict=strict,
            detach_reset=detach_reset,
            surrogate=surrogate,
            input_noise=input_noise,
            membrane_noise=membrane_noise,
        )

    @property
    def tau_mem(self) -> float | Tensor:
        """Membrane time constant, seconds."""
        return self._time("tau_mem")

    def _steps(self, x: Tensor, state: LIFState | None, stream: Stream | None, record: bool) -> Passed[LIFState]:
        self._check(x, state, LIFState)
        v, step = (self._rest(x), 0) if state is None else state
        circuit = self._circuit(x, stream, step)
        return lif_steps(circuit.x, v, **circuit.settings, record=record)

    def _circuit(self, x: Tensor, stream: Stream | None, step: int | Tensor, reset_by: float | Tensor | None = None) -> Circuit:
        """What this run computes with; ``reset_by`` takes the place of what soft resets subtract."""
        settings = {**self._leak(), **self._firing(stream, step)}
        return Circuit(x, settings if reset_by is None else {**settings, "reset_by": reset_by})
