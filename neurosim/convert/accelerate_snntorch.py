r"""Which layers of snnTorch the fused neuron can stand for, and under which convention.

With R = 1 where the incoming membrane m lies above θ (R never carries a gradient), a = clamp(β), and the drive c = x for ``Leaky``,
c = i = clamp(α) i + x for ``Synaptic``:

============ =============== ==================================================== ============================== =====================
mechanism    ``reset_delay`` h                                                    m after the step               reset of the op
============ =============== ==================================================== ============================== =====================
``subtract`` True (default)  a m + c − θ R                                        h                              ``soft_next``
``subtract`` False           a m + c − θ R                                        h − θ (s − R), s not detached  ``soft_both``
``zero``     True            ``Leaky``: a (1 − R) m + c                           h                              ``hard_next``
``zero``     True            ``Synaptic``: (1 − R)(a m + c)                       h                              ``hard_next_erasing``
``zero``     False           as with True                                         h − (s − R) h, s not detached  ``hard``
``none``     either          a m + c                                              h                              ``none``
============ =============== ==================================================== ============================== =====================

s = 1 where h > θ, strictly. ``hard`` stands for its row while no membrane above θ comes in, and no call leaves one behind where θ ≥ 0;
steps into which one does come run on snnTorch's own code, and so do steps whose types or shapes the op does not take.

Source:
    snnTorch 1.0.0, ``_neurons/leaky.py``, ``_neurons/synaptic.py``, ``surrogate.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import snntorch as snn
from torch import nn

from neurosim.convert.accelerate_rules import Convention, Plan, Refusal, agrees, as_number, spelled
from neurosim.convert.snntorch_layers import FusedLeaky, FusedSynaptic, taken_apart
from neurosim.errors import ConfigError
from neurosim.ops.neuron_arguments import Reset
from neurosim.surrogate import Surrogate, surrogate

_FUSED: Final[Mapping[type[nn.Module], type[nn.Module]]] = {snn.Leaky: FusedLeaky, snn.Synaptic: FusedSynaptic}

_RESETS: Final[Mapping[tuple[str, bool], Reset]] = {
    ("subtract", True): "soft_next",
    ("subtract", False): "soft_both",
    ("zero", True): "hard_next",
    ("zero", False): "hard",
    ("none", True): "none",
    ("none", False): "none",
}
_STATE_FUNCTIONS: Final = {"_base_sub": "subtract", "_base_zero": "zero", "_base_int": "none"}

#: factory of snnTorch: our formula, its parameter for theirs
_FORMULAS: Final = {
    "atan": ("arctan", "alpha", "alpha"),
    "fast_sigmoid": ("fast_sigmoid", "slope", "slope"),
    "sigmoid": ("logistic", "alpha", "slope"),
}
_ODD: Final[Mapping[str, str]] = {
    "triangular": "it changes sign at the threshold",
    "heaviside": "it is 1 above the threshold and 0 below",
    "spike_rate_escape": "its peak lies 1 above the threshold",
    "SSO": "it draws random numbers",
    "LSO": "it draws random numbers",
    "SFS": "it is 0 up to an offset from the threshold",
    "custom_surrogate": "it runs a function of its author's",
}
_WITHOUT: Final = surrogate("rectangle")  # stands where spikes have no gradient; nothing of it is used
_EVERYWHERE: Final = 3e38  # as wide as float32 can say


def judge(module: nn.Module) -> Plan | Refusal | None:
    """A plan for a layer, or why there is none; None if it is no neuron of snnTorch."""
    if not isinstance(module, snn.SpikingNeuron):
        return None
    found = convention_of(module, known=tuple(_FUSED))
    if isinstance(found, Refusal):
        return found
    return Plan(_FUSED[next(parent for parent in type(module).__mro__ if parent in _FUSED)], *found)


def convention_of(module: nn.Module, known: tuple[type[nn.Module], ...]) -> tuple[Convention, str] | Refusal:
    """The convention of a neuron of one of the known classes and a note where its gradient differs, or why there is none."""
    kind = next((parent for parent in type(module).__mro__ if parent in known), None)
    if kind is None:
        return Refusal(f"only {_and(known)} have a fused form" if known == tuple(_FUSED) else f"only {_and(known)} are known")
    if type(module) not in (kind, _FUSED.get(kind)):
        return Refusal(f"{type(module).__name__} is a class of its own: what it changes of {kind.__name__} is not known")
    layer: Any = module
    reason = _unfit(layer)
    if reason:
        return Refusal(reason)
    mechanism = _STATE_FUNCTIONS[layer.state_function.__name__]
    reset = _RESETS[mechanism, bool(layer.reset_delay)]
    if reset == "hard_next" and kind is not snn.Leaky:
        reset = "hard_next_erasing"
    found = _surrogate_of(layer)
    if isinstance(found, Refusal):
        return found
    differentiable, shape, note = not layer.surrogate_disable, *found
    when = "" if mechanism == "none" else ", with the next step" if layer.reset_delay else ", at once"
    words = f"reset {mechanism}{when}; fires above the threshold; {f'gradient {spelled(shape)}' if differentiable else 'no gradient'}"
    detach_reset = not (differentiable and reset in ("soft_both", "hard"))
    return Convention(reset, detach_reset, shape, differentiable, words), note


def _and(kinds: tuple[type[nn.Module], ...]) -> str:
    *first, last = (kind.__name__ for kind in kinds)
    return f"{', '.join(first)} and {last}"


def _unfit(layer: Any) -> str:
    """What about the layer, its surrogate aside, the op cannot do; an empty string if nothing."""
    name = getattr(layer.state_function, "__name__", "")
    if name not in _STATE_FUNCTIONS or layer.state_function.__self__ is not layer:
        return "its state_function was replaced"
    if (
        _STATE_FUNCTIONS[name] != layer.reset_mechanism
        or int(layer.reset_mechanism_val) != snn.SpikingNeuron.reset_dict[layer.reset_mechanism]
    ):
        return "its reset_mechanism was changed after it was made, which changes only a part of what snnTorch does"
    if layer.inhibition:
        return "inhibition=True: the neurons of a sample compete at every step, those of the op are independent"
    if layer.state_quant:
        return "state_quant: a function of its author's runs on the state at every step"
    if isinstance(layer, snn.RSynaptic) and not layer.reset_delay:
        return "reset_delay=False: snnTorch's RSynaptic resets the state that was handed to it, not its own"
    if not layer.reset_delay and bool((layer.graded_spikes_factor == 0).any()):
        return "reset_delay=False divides by graded_spikes_factor, which is 0"
    return ""


def _surrogate_of(layer: Any) -> tuple[Surrogate, str] | Refusal:
    """Our formula and a note where it differs."""
    if layer.surrogate_disable:
        return _WITHOUT, ""
    apart = taken_apart(layer.spike_grad)
    if apart is None:
        return Refusal("spike_grad is no surrogate of snntorch.surrogate: its formula is not known")
    factory, arguments = apart
    if factory in _ODD:
        return Refusal(f"its surrogate, {factory}, is none of the fused formulas: {_ODD[factory]}")
    if factory == "straight_through_estimator":
        shape, note = surrogate("rectangle", height=1, width=_EVERYWHERE), ""
    elif factory in _FORMULAS:
        ours, parameter, theirs = _FORMULAS[factory]
        value = as_number(arguments.get(theirs))
        if value is None:
            return Refusal(f"its surrogate, {factory}, has {theirs}={arguments.get(theirs)!r}, which is no fixed number")
        try:
            shape = surrogate(ours, **{parameter: value})
        except ConfigError as error:
            return Refusal(f"its surrogate, {factory}, has {theirs}={value:g}: {error}")
        note = f"where snnTorch's gradient overflows to NaN, {88 / value:.3g} below the threshold and further, this is 0" * (
            factory == "sigmoid"
        )
    else:
        return Refusal(f"its surrogate, {factory}, is not one that is known here")
    if not agrees(layer.spike_grad, shape):
        return Refusal(f"its surrogate, {factory}, is not what it was in snnTorch 1.0.0")
    return shape, note
