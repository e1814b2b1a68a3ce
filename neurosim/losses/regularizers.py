"""What a network is asked for beside its task: firing rates, potentials and spike counts within bounds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Annotated, Final, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn

from neurosim.checks import number, one_of
from neurosim.errors import ConfigError
from neurosim.losses.base import sequence, shown_settings
from neurosim.registry import Registry

Scope = Literal["neuron", "sample", "layer"]
Power = Annotated[float, Field(ge=1)]
Strength = Annotated[float, Field(ge=0)]
Layers = Tensor | Sequence[Tensor]


def firing_rate(
    spikes: Layers, *, lower: float | Tensor = 0.0, upper: float | Tensor = 0.0, power: float = 1.0, scope: Scope = "neuron"
) -> Tensor:
    r"""Rates out of bounds: silent units, and busy ones.

    .. math:: L = \frac{1}{N} \sum_i \big( \max(0, l - r_i) + \max(0, r_i - u) \big)^p

    With the defaults it is the mean rate: an L1 penalty on activity. ``lower`` alone, with ``upper=math.inf``, wakes units that are silent.

    Args:
        spikes: Of one layer, or of several, whose penalties add up.
        lower: l, least rate, spikes per step; a number, or one per unit.
        upper: u, highest rate, likewise; ``math.inf`` for no bound.
        power: p, ≥ 1; 2 is the L2 penalty.
        scope: What has a rate: every ``"neuron"``, over time and batch; every neuron in every ``"sample"``; the whole ``"layer"`` in
            every sample, over time and units: its activity is bounded, and units may differ.

    Shapes:
        spikes ``(time, batch, *units)`` each; bounds that are tensors broadcast to the units; result ``()``.

    Raises:
        ConfigError: An argument is not as above, or a lower bound lies above its upper one.

    Source:
        F. Zenke, T. P. Vogels, "The remarkable robustness of surrogate gradient learning for instilling complex function in spiking neural
        networks", Neural Computation 33 (2021) 899-925 (lower bounds per neuron, upper bounds per layer).

    >>> firing_rate(torch.ones(4, 2, 3)), firing_rate(torch.zeros(4, 2, 3), lower=0.1, upper=math.inf, power=2)
    (tensor(1.), tensor(0.0100))
    """
    where = "firing_rate"
    one_of(f"{where}: scope", scope, get_args(Scope))
    exponent, found = number(f"{where}: power", power, ge=1), []
    for x in _layers(f"{where}: spikes", spikes):
        low, high = _bounds(where, lower, upper, x, () if scope == "layer" else x.shape[2:])
        rates = x.mean((0, 1) if scope == "neuron" else 0)
        found.append(_outside(rates.flatten(1).mean(1) if scope == "layer" else rates, low, high, exponent))
    return torch.stack(found).sum()


def membrane_band(v: Layers, *, lower: float | Tensor, upper: float | Tensor, power: float = 2.0) -> Tensor:
    r"""Potentials out of a band, as hardware of limited range has one.

    .. math:: L = \frac{1}{T B N} \sum_{t,b,i} \big( \max(0, l - v_{t,b,i}) + \max(0, v_{t,b,i} - u) \big)^p

    Args:
        v: Potentials of one layer, or of several, whose penalties add up.
        lower: l, lower end, in the unit of v; a number, or one per unit; ``-math.inf`` for none.
        upper: u, upper end, likewise.
        power: p, ≥ 1.

    Shapes:
        v ``(time, batch, *units)`` each; bounds that are tensors broadcast to the units; result ``()``.

    Raises:
        ConfigError: An argument is not as above, or a lower end lies above its upper one.

    Source:
        Y. Guo et al., "RecDis-SNN: rectifying membrane potential distribution for directly training spiking neural networks", CVPR 2022,
        shape potentials by terms of the loss too, others than this.

    >>> membrane_band(torch.tensor([-3.0, 0.0, 2.0]).view(3, 1, 1), lower=-1.0, upper=1.0)  # (2² + 0 + 1²) / 3
    tensor(1.6667)
    """
    where = "membrane_band"
    exponent, found = number(f"{where}: power", power, ge=1), []
    for x in _layers(f"{where}: v", v):
        low, high = _bounds(where, lower, upper, x, x.shape[2:])
        found.append(_outside(x, low, high, exponent))
    return torch.stack(found).sum()


def spike_budget(spikes: Layers, *, budget: float, power: float = 1.0) -> Tensor:
    r"""Spikes of a sample beyond what it may spend, as a share of that.

    .. math:: L = \frac{1}{B} \sum_b \max\Big(0, \frac{n_b}{n_\max} - 1\Big)^p, \qquad n_b = \sum_\text{layers} \sum_{t,i} s_{t,b,i}

    Args:
        spikes: Of one layer, or of several, which share the budget.
        budget: :math:`n_\max`, spikes per sample, > 0.
        power: p, ≥ 1.

    Shapes:
        spikes ``(time, batch, *units)`` each, of the same batch; result ``()``.

    Raises:
        ConfigError: An argument is not as above.

    >>> spike_budget([torch.ones(10, 1, 2), torch.ones(10, 1, 1)], budget=20)
    tensor(0.5000)
    """
    where = "spike_budget"
    exponent, layers = number(f"{where}: power", power, ge=1), _layers(f"{where}: spikes", spikes)
    if len({x.shape[1] for x in layers}) > 1:
        raise ConfigError(f"{where}: spikes must be of the same batch, got batches of {', '.join(str(x.shape[1]) for x in layers)}")
    counts = torch.stack([x.flatten(2).sum((0, 2)) for x in layers]).sum(0)
    return (counts / number(f"{where}: budget", budget, gt=0) - 1).relu().pow(exponent).mean()


def _layers(where: str, x: object) -> list[Tensor]:
    """One layer or several, in at least 32 bits."""
    found = [x] if isinstance(x, Tensor) else list(x) if isinstance(x, Sequence) else []
    if not found:
        raise ConfigError(f"{where}: must be a tensor or a sequence of tensors, one per layer, got {x!r:.60}")
    return [sequence(where, one, "(time, batch, *units)", 3, None) for one in found]


def _bounds(
    where: str, lower: float | Tensor, upper: float | Tensor, x: Tensor, units: Sequence[int]
) -> tuple[float | Tensor, float | Tensor]:
    """Both bounds, as numbers or like ``x``; of tensors, nobody looks which is above."""
    if not (isinstance(lower, Tensor) or isinstance(upper, Tensor)):
        return _check_order(where, lower, upper)
    return _bound(f"{where}: lower", lower, x, units), _bound(f"{where}: upper", upper, x, units)


def _bound(where: str, value: float | Tensor, x: Tensor, units: Sequence[int]) -> float | Tensor:
    if not isinstance(value, Tensor):
        return _number_or_inf(where, value)
    shape = value.shape
    if len(shape) > len(units) or any(n not in (1, unit) for n, unit in zip(shape[::-1], units[::-1], strict=False)):
        raise ConfigError(f"{where} must broadcast to the units {tuple(units)}, got shape {tuple(shape)}")
    return value.to(x)


def _check_order(where: str, lower: float, upper: float) -> tuple[float, float]:
    low, high = _number_or_inf(f"{where}: lower", lower), _number_or_inf(f"{where}: upper", upper)
    if low > high:
        raise ConfigError(f"{where}: lower must not be above upper, got lower={low:g}, upper={high:g}")
    return low, high


def _number_or_inf(where: str, value: float) -> float:
    return float(value) if value in (math.inf, -math.inf) else number(where, value)


def _outside(x: Tensor, lower: float | Tensor, upper: float | Tensor, power: float) -> Tensor:
    """Mean power of the distance to a range, whose gradient is 0 within it and at its ends."""
    return ((lower - x).relu() + (x - upper).relu()).pow(power).mean()


class Regularizer(nn.Module, ABC):
    """Base of the regularizers: settings and one method.

    Args:
        strength: What the penalty is multiplied by, ≥ 0.
    """

    def __init__(self, strength: float) -> None:
        super().__init__()
        self.strength = number(f"{type(self).__name__}.strength", strength, ge=0)

    @abstractmethod
    def forward(self, activity: Layers) -> Tensor:
        """The penalty, a scalar.

        Args:
            activity: Spikes or potentials ``(time, batch, *units)`` of one layer, or of several.
        """

    def extra_repr(self) -> str:
        """The settings that differ from their defaults, for ``print``."""
        return shown_settings(self)


REGULARIZERS: Final[Registry[type[Regularizer]]] = Registry("regularizer")


@REGULARIZERS.register("firing_rate")
class FiringRate(Regularizer):
    """Rates out of bounds: :func:`firing_rate` with its settings.

    Args:
        lower: Least rate, spikes per step.
        upper: Highest rate, likewise; infinite for no bound.
        power: 1 for an L1 penalty, 2 for an L2 penalty, ≥ 1.
        scope: What has a rate: ``"neuron"``, ``"sample"`` or ``"layer"``.
        strength: What the penalty is multiplied by, ≥ 0.
    """

    def __init__(
        self, lower: float = 0.0, upper: float = 0.0, power: Power = 1.0, scope: Scope = "neuron", strength: Strength = 1.0
    ) -> None:
        super().__init__(strength)
        one_of("FiringRate.scope", scope, get_args(Scope))
        self.lower, self.upper = _check_order("FiringRate", lower, upper)
        self.power, self.scope = number("FiringRate.power", power, ge=1), scope

    def forward(self, activity: Layers) -> Tensor:
        """See :func:`firing_rate`."""
        return self.strength * firing_rate(activity, lower=self.lower, upper=self.upper, power=self.power, scope=self.scope)


@REGULARIZERS.register("membrane_band")
class MembraneBand(Regularizer):
    """Potentials out of a band: :func:`membrane_band` with its settings.

    Args:
        lower: Lower end, in the unit of the potential.
        upper: Upper end, likewise.
        power: Of the distance to the band, ≥ 1.
        strength: What the penalty is multiplied by, ≥ 0.
    """

    def __init__(self, lower: float, upper: float, power: Power = 2.0, strength: Strength = 1.0) -> None:
        super().__init__(strength)
        self.lower, self.upper = _check_order("MembraneBand", lower, upper)
        self.power = number("MembraneBand.power", power, ge=1)

    def forward(self, activity: Layers) -> Tensor:
        """See :func:`membrane_band`."""
        return self.strength * membrane_band(activity, lower=self.lower, upper=self.upper, power=self.power)


@REGULARIZERS.register("spike_budget")
class SpikeBudget(Regularizer):
    """Spikes of a sample beyond what it may spend: :func:`spike_budget` with its settings.

    Args:
        budget: Spikes per sample in all layers together, > 0.
        power: Of the share by which the budget is exceeded, ≥ 1.
        strength: What the penalty is multiplied by, ≥ 0.
    """

    def __init__(self, budget: Annotated[float, Field(gt=0)], power: Power = 1.0, strength: Strength = 1.0) -> None:
        super().__init__(strength)
        self.budget, self.power = number("SpikeBudget.budget", budget, gt=0), number("SpikeBudget.power", power, ge=1)

    def forward(self, activity: Layers) -> Tensor:
        """See :func:`spike_budget`."""
        return self.strength * spike_budget(activity, budget=self.budget, power=self.power)
