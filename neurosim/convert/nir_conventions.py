r"""What the numbers of a NIR graph mean to the library that wrote them.

NIR defines neurons by differential equations without a step; every library that writes one has a step in mind:

================ ============ ====================================== ================== ======= =======================================
convention       dt           decay a, gain g                        fires              reset   of the writer
================ ============ ====================================== ================== ======= =======================================
``nir``          must be said exp(−dt/τ), r (1 − a)                  above θ            hard    the equations, input constant in a step
``euler``        must be said 1 − dt/τ, r dt/τ                       above θ            hard    the equations, a step of Euler's method
``snntorch``     1e-4         1 − dt/τ, 1                            above θ            unknown writes v_reset = 0 for every reset
``norse``        must be said 1 − dt/τ', r dt/τ', where τ' = τ/dt    above θ            hard    writes dt · τ; IF, synapses: per step
``spikingjelly`` must be said 1 − dt/τ, r dt/τ                       at θ or above      hard    refuses to write soft resets
================ ============ ====================================== ================== ======= =======================================

Source:
    nir 1.0.8, ``ir/neuron.py``; snnTorch 1.0.0, ``export_nir.py``; norse 1.1.0, ``torch/utils/export_nir.py``; SpikingJelly 2.0.0,
    ``activation_based/nir_exchange/to_nir.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from neurosim.convert.time_constants import seconds, tau_of
from neurosim.errors import ConfigError, ConversionError, nearest
from neurosim.ops.neuron_arguments import RESETS, Reset
from neurosim.surrogate import Surrogate

Array = NDArray[np.floating]
Value = float | Tensor


class Convention(NamedTuple):
    """How a writer's numbers are to be read."""

    euler: bool = False  #: a = 1 − dt/τ
    strict: bool = True  #: fires above the threshold only
    reset: Reset | None = "hard"  #: None: the writer does not tell
    dt: float | None = None  #: the step that the writer always takes
    times_dt: bool = False  #: time constants are written times dt
    per_step: bool = False  #: an input of a synapse, and of a neuron without leak, counts once a step, not dt times
    unit: bool = False  #: every gain it writes is 1


CONVENTIONS: Final[Mapping[str, Convention]] = {
    "nir": Convention(),
    "euler": Convention(euler=True),
    "snntorch": Convention(euler=True, reset=None, dt=1e-4, unit=True),
    "norse": Convention(euler=True, times_dt=True, per_step=True),
    "spikingjelly": Convention(euler=True, strict=False),
}


class Reading(NamedTuple):
    """A convention, with what it leaves open."""

    name: str
    convention: Convention
    dt: float
    reset: Reset
    strict: bool
    surrogate: Surrogate | str


def reading(
    where: str, name: str | None, dt: float | None, reset: Reset | None, strict: bool | None, surrogate: Surrogate | str
) -> Reading:
    """The convention of that name with the user's settings.

    Raises:
        ConfigError: There is no such convention or reset, or something is left open that it does not tell.
    """
    if name is None:
        raise ConfigError(
            f"{where}: the graph does not say in which steps its neurons run, so convention must be given: "
            f"the library that wrote it, or 'nir' for the equations as they are; valid: {', '.join(map(repr, CONVENTIONS))}"
        )
    if name not in CONVENTIONS:
        raise ConfigError(f"{where}: no convention is named {name!r}{nearest(name, CONVENTIONS)}")
    convention = CONVENTIONS[name]
    dt = convention.dt if dt is None else dt
    if dt is None:
        raise ConfigError(f"{where}: dt must be given, the step in seconds: a graph with convention {name!r} does not say it")
    dt = seconds(where, dt)
    reset = convention.reset if reset is None else reset
    if reset is None:
        raise ConfigError(
            f"{where}: reset must be given: {name} writes v_reset = 0 whatever the reset is; 'soft_next' for its default, "
            "reset_mechanism='subtract', 'soft_both' for that with reset_delay=False, 'hard_next' for 'zero', 'hard' for that without delay"
        )
    if reset not in RESETS:
        raise ConfigError(f"{where}: no reset is named {reset!r}{nearest(str(reset), RESETS)}")
    return Reading(name, convention, dt, reset, convention.strict if strict is None else strict, surrogate)


def leak(where: str, tau: Array, r: Array, read: Reading) -> tuple[Value, Value | None]:
    """Time constant and resistance as our neurons take them; a resistance of None is a gain of 1.

    Args:
        where: Node, for messages.
        tau: Its time constant.
        r: Its resistance, or what a synapse multiplies its input by.
        read: The convention.

    Raises:
        ConversionError: The step is longer than a time constant, or the numbers are not what the writer writes.
    """
    rule, dt = read.convention, read.dt
    if not bool((np.isfinite(tau) & (tau > 0)).all()):
        raise ConversionError(f"{where}: time constants must be finite and > 0")
    if not rule.euler:
        return compact(tau), compact(r)
    precision = 4 * float(np.finfo(tau.dtype).eps)
    exact = tau.astype(np.float64)
    share = (rule.dt or dt) / (exact / dt if rule.times_dt else exact)
    decay = (1 - share).astype(tau.dtype).astype(np.float64)  # the writer's own number, of which tau is a rounded function
    if bool((decay < 0).any()):
        raise ConversionError(f"{where}: dt must be at most the time constant, is {share.max():.3g} of it; check dt and convention")
    gain = r.astype(np.float64) * share
    if rule.unit and not np.allclose(gain, 1, rtol=0, atol=1e-4):
        got = f"a gain of {gain.max():.4g}"
        raise ConversionError(f"{where}: with convention {read.name!r} r must be tau/dt, so that an input counts once; got {got}")
    tau_here = tau_of(where, compact(decay), dt)
    if rule.unit or np.allclose(gain, 1, rtol=0, atol=precision):
        return tau_here, None
    if bool((decay == 1).any()):
        raise ConversionError(f"{where}: a time constant is so long that nothing leaks in a step: it must be an IF, I or shorter")
    return tau_here, compact(r)  # r dt/τ is r (1 − a)


def synapse(where: str, tau: Array, w_in: Array, read: Reading) -> tuple[Value, Value | None]:
    """Time constant of a synapse and what it multiplies inputs by, as our neurons take them; None is 1 a step. As :func:`leak`."""
    if not read.convention.per_step:
        return leak(where, tau, w_in, read)
    tau_here, _ = leak(where, tau, np.ones_like(tau), read)
    if not np.array_equal(w_in, np.ones_like(w_in)):
        raise ConversionError(f"{where}: with convention {read.name!r} w_in must be 1, got {np.max(w_in):.4g}")
    return tau_here, None


def compact(value: Array) -> Value:
    """A number where all are equal, else a tensor with one element along axes where they are."""
    if value.size and bool((value == value.flat[0]).all()):
        return float(value.flat[0])
    for axis in range(value.ndim):
        first = np.take(value, [0], axis)
        if bool((value == first).all()):
            value = first
    return torch.from_numpy(np.ascontiguousarray(value))
