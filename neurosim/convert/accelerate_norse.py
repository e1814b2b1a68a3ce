r"""Which layers of norse the fused neuron can stand for, and under which convention.

With κ = dt · ``tau_mem_inv`` and λ = dt · ``tau_syn_inv``, one step of norse is

.. math:: j = i + x, \quad h = v + \kappa (v_{leak} - v + j), \quad z = \Theta(h - v_{th}),
    \quad v' = (1 - z) h + z\,v_{reset}, \quad i' = j - \lambda j

which is the op's step with decay 1 − κ, gain κ and bias κ v_leak, a current filter of decay 1 − λ, a hard reset and gradients through it.
``LIFBoxCell`` has no current (j = x) and may subtract the threshold instead. Sums are taken in another order than norse's: membranes agree
to rounding, spikes but for ties.

Source:
    norse 1.1.0, ``torch/functional/lif.py``, ``lif_box.py``, ``threshold.py``, ``superspike.py``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

from norse.torch.functional.lif import lif_feed_forward_step
from norse.torch.functional.lif_box import lif_box_feed_forward_step
from norse.torch.functional.reset import reset_subtract, reset_value
from norse.torch.functional.threshold import threshold
from norse.torch.module.lif import LIF, LIFCell
from norse.torch.module.lif_box import LIFBoxCell
from norse.torch.module.snn import SNN, SNNCell, SNNRecurrent, SNNRecurrentCell
from torch import Tensor, nn

from neurosim.convert.accelerate_rules import Convention, Plan, Refusal, agrees, as_number, spelled
from neurosim.convert.norse_layers import FusedLIF, FusedLIFBoxCell, FusedLIFCell
from neurosim.errors import ConfigError
from neurosim.surrogate import Surrogate, surrogate

_FUSED: Final[Mapping[type[nn.Module], type[nn.Module]]] = {LIF: FusedLIF, LIFCell: FusedLIFCell, LIFBoxCell: FusedLIFBoxCell}

#: the gradient of each method of norse, from its α; releases differ, so the one is taken that agrees with what is installed
_FORMULAS: Final[Mapping[str, Callable[[float], list[Surrogate]]]] = {
    "super": lambda alpha: [surrogate("fast_sigmoid", slope=alpha), surrogate("fast_sigmoid", slope=1)],
    "triangle": lambda alpha: [surrogate("triangle", height=alpha, width=1)],
    "tanh": lambda alpha: [surrogate("logistic", alpha=2 * alpha, scale=2 / alpha)],
    "heavi_erfc": lambda alpha: [surrogate("gaussian", sigma=1 / (math.sqrt(2) * alpha), scale=2 / alpha)],
}
_WITHOUT: Final = surrogate("rectangle")  # stands where spikes have no gradient; nothing of it is used


def judge(module: nn.Module) -> Plan | Refusal | None:
    """A plan for a layer, or why there is none; None if it is no neuron of norse."""
    if not isinstance(module, SNN | SNNCell | SNNRecurrent | SNNRecurrentCell):
        return None
    kind = next((parent for parent in type(module).__mro__ if parent in _FUSED), None)
    if kind is None:
        recurrent = isinstance(module, SNNRecurrent | SNNRecurrentCell)
        return Refusal(
            "its spikes come back as its input at every step" if recurrent else "only LIF, LIFCell and LIFBoxCell have a fused form"
        )
    if type(module) not in (kind, _FUSED[kind]):
        return Refusal(f"{type(module).__name__} is a class of its own: what it changes of {kind.__name__} is not known")
    layer: Any = module
    if layer.p.method == "adjoint":
        return Refusal('method="adjoint": it has a gradient of its own, not that of the steps')
    box = kind is LIFBoxCell
    if layer.activation is not (lif_box_feed_forward_step if box else lif_feed_forward_step) or layer.state_fallback.__self__ is not layer:
        return Refusal("its activation or state_fallback was replaced")
    subtracts = box and layer.p.reset_method is reset_subtract
    if box and not subtracts and layer.p.reset_method is not reset_value:
        return Refusal("its reset_method is none of norse's own")
    if not box and _forgets(layer):
        return Refusal("dt · tau_syn_inv is 1: its current forgets everything within a step")
    found = surrogate_of(layer.p)
    if isinstance(found, Refusal):
        return found
    differentiable = layer.p.method != "heaviside"
    gradient = f"gradient {spelled(found)}" if differentiable else "no gradient"
    words = f"reset {'by the threshold' if subtracts else 'to v_reset'}, at once; fires above the threshold; {gradient}"
    return Plan(_FUSED[kind], Convention("soft" if subtracts else "hard", not differentiable, found, differentiable, words))


def _forgets(layer: Any) -> bool:
    rate = layer.p.tau_syn_inv
    return bool((layer.dt * rate == 1).any()) if isinstance(rate, Tensor) else layer.dt * rate == 1


def surrogate_of(p: Any) -> Surrogate | Refusal:
    """Our formula for the surrogate gradient that parameters of norse name, or why there is none."""
    if p.method == "heaviside":
        return _WITHOUT
    if p.method not in _FORMULAS:
        return Refusal(f"its surrogate gradient, method={p.method!r}, is none of the fused formulas")
    alpha = as_number(p.alpha)
    if alpha is None:
        return Refusal(f"its surrogate has alpha={p.alpha!r}, which is no fixed number")
    try:
        candidates = _FORMULAS[p.method](alpha)
    except (ConfigError, ZeroDivisionError):
        return Refusal(f"its surrogate has alpha={alpha:g}, which must be > 0")

    def spikes(z: Tensor) -> Tensor:
        fired: Tensor = threshold(z, p.method, p.alpha)
        return fired

    agreeing = [shape for shape in candidates if agrees(spikes, shape)]
    return agreeing[0] if agreeing else Refusal(f"its surrogate gradient, method={p.method!r}, is not what it was in norse 1.1.0")
