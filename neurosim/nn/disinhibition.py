r"""Learning without backpropagation: circuits in which dis-inhibition tells every synapse the sign of its change.

Each unit is a pair of an excitatory and an inhibitory neuron, of potentials u and v and rates :math:`\varphi(u)`, φ the softplus:

.. math::
    \tau_E \dot u_l &= -u_l + W_l\,\varphi(u_{l-1}) + b_l - \varphi(v_l), &
    \tau_I \dot v_l &= -v_l + \varphi(u_l) - F_l^\top c, \\
    \tau_E \dot y &= -y + W_\mathrm{out}\,\varphi(u_L) + c, &
    \tau_c \dot s &= e - s, \quad c = k_I s + k_P e, \quad e = \operatorname{onehot} - \operatorname{softmax}(y)

Without the controller (c = 0) the circuit settles where :math:`u + \varphi(\varphi(u))` equals the input: that is the network's forward
pass. With it, inhibition is lifted where that lowers the loss. What the inhibitory neuron then lacks of the rate that drives it is an error
signal at the synapses' own place, and learning needs nothing else:

.. math:: \delta_l = \bigl(\hat v_l - \varphi(u_l)\bigr)\,\varphi'(u_l), \qquad \Delta W_l \propto -\delta_l\,\varphi(u_{l-1})^\top

In the settled state :math:`v - \varphi(u) = -F^\top c`: the error has the sign of the gradient if the feedback weights F have that of the
effect of inhibition on the outputs.

Source:
    J. Rossbroich, F. Zenke, "Dis-inhibitory neuronal circuits can control the sign of synaptic plasticity", NeurIPS 2023
    (arXiv:2310.19614): circuit, controller and rules; their program for the feedback weights.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Final, Literal, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

from neurosim.checks import one_of, whole
from neurosim.errors import ConfigError
from neurosim.nn.arguments import number

Rule = Literal["exact", "linear"]
Feedback = Literal["sample", "average"]

_RULES: Final = get_args(Rule)
_FEEDBACKS: Final = get_args(Feedback)
_NEWTON_STEPS: Final = 8  #: the function is convex with a slope from 1 to 2; what is left after 5 is below 1e-16 of what was there


class LocalUpdate(NamedTuple):
    """What a circuit has learned from a batch."""

    outputs: Tensor  #: of the network by itself, before the controller acted, ``(batch, classes)``
    controlled: Tensor  #: where the controller has brought the outputs, ``(batch, classes)``
    gradients: dict[str, Tensor]  #: by parameter name, the mean over the batch; weights change against them


class _Settled(NamedTuple):
    """Potentials of a circuit, one tensor a layer, ``(batch, units)``."""

    excitatory: tuple[Tensor, ...]
    inhibitory: tuple[Tensor, ...]
    y: Tensor


def equilibrium(drive: Tensor) -> Tensor:
    r"""The excitatory potential at which a pair rests: the u with :math:`u + \varphi(\varphi(u)) = a`.

    Found by Newton's method. Its last step carries the gradient, :math:`\partial u/\partial a = 1/(1 + \varphi'(\varphi(u))\,\varphi'(u))`.

    Args:
        drive: a, any shape.

    >>> u = equilibrium(torch.tensor([-3.0, 0.0, 3.0]))
    >>> torch.allclose(u + functional.softplus(functional.softplus(u)), torch.tensor([-3.0, 0.0, 3.0]), atol=1e-6)
    True
    """
    with torch.no_grad():
        u = drive
        for _ in range(_NEWTON_STEPS):
            u = _newton(u, drive)
    return _newton(u.detach(), drive)


def _newton(u: Tensor, drive: Tensor) -> Tensor:
    rate = functional.softplus(u)
    slope = 1 + torch.sigmoid(rate) * torch.sigmoid(u)
    return u - (u + functional.softplus(rate) - drive) / slope


class DisinhibitoryNetwork(nn.Module):
    """A multilayer network of excitatory-inhibitory pairs that learns by a local rule; see the module for the equations.

    Called, it gives the settled outputs, with gradients: it can be trained by backpropagation as well, to compare. :meth:`local_update`
    learns without: it uses no automatic differentiation.

    Args:
        sizes: Features from the input to the classes, with at least one hidden layer.
        rule: ``exact``: the potential of the inhibitory neuron itself; ``linear``: what its rate tells of it, by a first-order Taylor
            expansion about the batch mean of the rate.
        feedback: F: for each ``sample`` the effect of inhibition on the outputs, or its ``average`` over the batch.
        normalize: Whether F is divided by its norm, layer by layer and sample by sample.
        k_p, k_i: Gains of the controller, ≥ 0.
        tau_e, tau_i, tau_c: Time constants of excitation, inhibition and controller, seconds, > 0.
        dt: Step of the simulation, seconds, > 0 and at most ``tau_i``.
        settle: How long the controller acts before weights change, seconds, ≥ dt.

    Shapes:
        x ``(batch, *)``, flattened; result ``(batch, sizes[-1])``.

    Raises:
        ConfigError: An argument is out of its domain.
    """

    k_p: float
    k_i: float
    tau_e: float
    tau_i: float
    tau_c: float
    dt: float
    settle: float

    def __init__(
        self,
        sizes: Sequence[int],
        rule: Rule = "exact",
        feedback: Feedback = "sample",
        normalize: bool = True,
        *,
        k_p: float = 0.2,
        k_i: float = 0.4,
        tau_e: float = 20e-3,
        tau_i: float = 5e-3,
        tau_c: float = 100e-3,
        dt: float = 2.5e-3,
        settle: float = 0.5,
    ) -> None:
        super().__init__()
        if len(sizes) < 3:
            raise ConfigError(f"DisinhibitoryNetwork.sizes: must be at least three integers, with a hidden layer, got {list(sizes)!r}")
        for size in sizes:
            whole("DisinhibitoryNetwork.sizes", size, 1)
        one_of("DisinhibitoryNetwork.rule", rule, _RULES)
        one_of("DisinhibitoryNetwork.feedback", feedback, _FEEDBACKS)
        gains = {"k_p": k_p, "k_i": k_i}
        times = {"tau_e": tau_e, "tau_i": tau_i, "tau_c": tau_c, "dt": dt, "settle": settle}
        for given, domain in ((gains, "0 or more and finite"), (times, "more than 0 seconds and finite")):
            for name, value in given.items():
                setattr(self, name, number(f"DisinhibitoryNetwork.{name}", value, domain))
        if dt > min(tau_e, tau_i, tau_c) or settle < dt:
            raise ConfigError(
                f"DisinhibitoryNetwork.dt: must be at most every time constant and settle, for the simulation to be stable, got {dt:g} s"
            )
        self.rule, self.feedback, self.normalize = rule, feedback, bool(normalize)
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(sizes[:-1]))
        self.readout = nn.Linear(sizes[-2], sizes[-1], bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """The outputs that the circuit settles at without the controller."""
        return self._open(self._flat(x)).y

    @torch.no_grad()
    def local_update(self, x: Tensor, targets: Tensor) -> LocalUpdate:
        """Let the controller act, and see what every synapse learns from it.

        Args:
            x: ``(batch, *)``.
            targets: Classes, int64 ``(batch,)``.

        Raises:
            ConfigError: ``x`` has another number of features, or ``targets`` are not one class for each sample.
        """
        x = self._flat(x)
        classes = self.readout.out_features
        if targets.shape != x.shape[:1] or targets.is_floating_point() or not bool(((targets >= 0) & (targets < classes)).all()):
            got = f"{targets.dtype} {tuple(targets.shape)}"
            raise ConfigError(f"DisinhibitoryNetwork: targets must be one class below {classes} for each of {len(x)} samples, got {got}")
        before = self._open(x)
        after, signal = self._controlled(x, before, functional.one_hot(targets, classes).to(before.y.dtype), self._feedback(before))
        gradients: dict[str, Tensor] = {}
        source = x
        for at, (u, v) in enumerate(zip(after.excitatory, after.inhibitory, strict=True)):
            known = v if self.rule == "exact" else _linear_inverse(v, before.inhibitory[at])
            delta = (known - functional.softplus(u)) * torch.sigmoid(u)
            gradients[f"hidden.{at}.weight"] = delta.mT @ source / len(x)
            gradients[f"hidden.{at}.bias"] = delta.mean(0)
            source = functional.softplus(u)
        gradients["readout.weight"] = -signal.mT @ source / len(x)
        return LocalUpdate(before.y, after.y, gradients)

    def extra_repr(self) -> str:
        """For ``print``."""
        return f"rule={self.rule!r}, feedback={self.feedback!r}, normalize={self.normalize}, settle={self.settle:g}"

    def _flat(self, x: Tensor) -> Tensor:
        wanted = _weight(self.hidden[0]).shape[1]
        if x.dim() < 2 or x.flatten(1).shape[1] != wanted:
            raise ConfigError(f"DisinhibitoryNetwork: x must have {wanted} features a sample, (batch, *), got shape {tuple(x.shape)}")
        return x.flatten(1)

    def _open(self, x: Tensor) -> _Settled:
        """The settled state without the controller, layer by layer: nothing flows back."""
        excitatory: list[Tensor] = []
        rate = x
        for layer in self.hidden:
            excitatory.append(equilibrium(layer(rate)))
            rate = functional.softplus(excitatory[-1])
        return _Settled(tuple(excitatory), tuple(functional.softplus(u) for u in excitatory), self.readout(rate))

    def _feedback(self, state: _Settled) -> list[Tensor]:
        """F by layer, ``(batch, classes, units)``: what the outputs gain by less inhibition, feed-forward paths alone."""
        found: list[Tensor] = []
        path = self.readout.weight.expand(len(state.y), -1, -1)
        for at in reversed(range(len(self.hidden))):
            path = path * torch.sigmoid(state.excitatory[at])[:, None]
            effect = path * torch.sigmoid(state.inhibitory[at])[:, None]
            if self.feedback == "average":
                effect = effect.mean(0, keepdim=True).expand_as(effect)
            if self.normalize:
                effect = effect / torch.linalg.matrix_norm(effect).clamp(min=torch.finfo(effect.dtype).tiny)[:, None, None]
            found.append(effect)
            path = path @ _weight(self.hidden[at])
        return found[::-1]

    def _controlled(self, x: Tensor, start: _Settled, wanted: Tensor, feedback: list[Tensor]) -> tuple[_Settled, Tensor]:
        """The state after the controller has acted, and its signal c."""
        us, vs, y = list(start.excitatory), list(start.inhibitory), start.y
        memory, signal = torch.zeros_like(y), torch.zeros_like(y)
        for _ in range(round(self.settle / self.dt)):
            error = wanted - y.softmax(1)
            signal = self.k_i * memory + self.k_p * error
            rates = [x, *(functional.softplus(u) for u in us)]
            drives = [layer(rate) for layer, rate in zip(self.hidden, rates, strict=False)]
            back = [torch.einsum("bk,bkn->bn", signal, effect) for effect in feedback]
            y = y + self.dt / self.tau_e * (self.readout(rates[-1]) + signal - y)
            us, vs = (
                [u + self.dt / self.tau_e * (drive - functional.softplus(v) - u) for u, v, drive in zip(us, vs, drives, strict=True)],
                [v + self.dt / self.tau_i * (rate - push - v) for v, rate, push in zip(vs, rates[1:], back, strict=True)],
            )
            memory = memory + self.dt / self.tau_c * (error - memory)
        return _Settled(tuple(us), tuple(vs), y), signal


def _linear_inverse(v: Tensor, reference: Tensor) -> Tensor:
    """The potential that the rate of v tells, if softplus is linearised at the mean rate of the reference over the batch."""
    mean = functional.softplus(reference).mean(0)
    at = mean + torch.log(-torch.expm1(-mean))  # softplus⁻¹
    return at + (functional.softplus(v) - mean) / torch.sigmoid(at)


def _weight(layer: nn.Module) -> Tensor:
    weight = layer.weight
    if not isinstance(weight, Tensor):
        raise ConfigError(f"DisinhibitoryNetwork: a hidden layer must have a weight, got {type(layer).__name__}")
    return weight
