r"""Banks of micro-rings: many wavelengths on one bus, one ring for each, and a balanced pair of detectors for their weighted sum.

Channel ``j`` has the wavelength :math:`\lambda_j = \lambda_0 + j\Delta`, and ring ``k`` is tuned :math:`\delta_k` above channel ``k``.
Light of channel ``j`` passes every ring of the bank:

.. math:: P_j = \prod_k T_p(\lambda_j - \lambda_k - \delta_k), \qquad
    D_j = \sum_k T_d(\lambda_j - \lambda_k - \delta_k)\prod_{l<k} T_p(\lambda_j - \lambda_l - \delta_l), \qquad w_j = D_j - P_j

Since equal rings drop the same share η of what they take, :math:`D_j = \eta(1 - P_j)` and :math:`w_j = \eta - (1 + \eta) P_j` exactly.
So every other ring can only raise a weight: it takes power from the through port.

Not modelled: light in the drop waveguide that meets other rings again, and interference between rings.

Source:
    A. N. Tait et al., "Microring weight banks", IEEE Journal of Selected Topics in Quantum Electronics 22 (2016),
    doi 10.1109/JSTQE.2016.2573583, for the arrangement; the closed form follows from the transmissions of :mod:`neurosim.hardware.rings`.
"""

from __future__ import annotations

import itertools
import math
import operator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from neurosim.errors import ConfigError
from neurosim.hardware.rings import Ring, inverse, log_slope, through

_ROUNDS = 12  #: of the fixed point; it gains at least a factor of 2.5 a round up to the tightest spacing that reaches both signs


@dataclass(frozen=True)
class Bank:
    """Equal rings for equally spaced channels.

    Args:
        ring: Every ring, with a drop waveguide.
        channels: Wavelengths on one bus, and rings.
        spacing_m: Between neighbouring channels, m.
        low_m: Least detuning of a ring from its own channel, m; positive: on resonance the weight does not answer to first order.
        high_m: Largest one, m, below ``spacing_m``; ``None`` is half of ``spacing_m``.

    Raises:
        ConfigError: The channels do not fit into a free spectral range, or a detuning is out of its domain.
    """

    ring: Ring
    channels: int
    spacing_m: float
    low_m: float
    high_m: float

    def __post_init__(self) -> None:
        if self.ring.coupling_drop == 1:
            raise ConfigError("ring bank: the rings need a drop waveguide, coupling_drop < 1, got 1")
        if self.channels < 1:
            raise ConfigError(f"ring bank: channels must be at least 1, got {self.channels}")
        if not 0 < self.channels * self.spacing_m <= self.ring.fsr_m:
            raise ConfigError(
                f"ring bank: {self.channels} channels must fit into the free spectral range of {1e9 * self.ring.fsr_m:.4g} nm, "
                f"got a spacing of {1e9 * self.spacing_m:.4g} nm"
            )
        top = min(self.spacing_m, self.ring.fsr_m / 2)
        if not 0 < self.low_m < self.high_m <= top or self.high_m == self.spacing_m:
            raise ConfigError(
                f"ring bank: detunings must rise from above 0 to below the spacing (and to half of the free spectral range), "
                f"{1e9 * top:.4g} nm, got {1e9 * self.low_m:.4g} to {1e9 * self.high_m:.4g} nm"
            )

    def limits(self, *, alone: bool = False) -> tuple[float, float]:
        """The weights that a ring reaches wherever the other rings stand, or with ``alone`` on a bus without others: least and largest."""
        others = 1.0 if alone else self._darkest
        eta = self.ring.efficiency
        return eta - (1.0 + eta) * self.ring.through_at(self.high_m) * others, eta - (1.0 + eta) * self.ring.through_at(self.low_m)

    @cached_property
    def _darkest(self) -> float:
        """The least share of a channel's power that the other rings leave: each stands as near to it as it can."""
        before, after = ([self._nearest(side * k) for k in range(1, self.channels)] for side in (1, -1))
        left, right = (list(itertools.accumulate(side, operator.mul, initial=1.0)) for side in (before, after))
        return min(left[j] * right[-1 - j] for j in range(self.channels))

    def _nearest(self, apart: int) -> float:
        """The least that a ring, so many channels below, leaves of a channel."""
        return min(self.ring.through_at(apart * self.spacing_m - detuning) for detuning in (self.low_m, self.high_m))

    def scale(self, *, alone: bool = False) -> float:
        """The largest s for which all weights in [-s, s] can be set; arguments as in :meth:`limits`.

        Raises:
            ConfigError: A sign cannot be reached at all.
        """
        low, high = self.limits(alone=alone)
        if low >= 0 or high <= 0:
            cure = "wider spacing or sharper rings" if low >= 0 else "rings that drop more: lower coupling_drop, less loss"
            raise ConfigError(f"ring bank: both signs of a weight must be reachable, got weights from {low:.4g} to {high:.4g}; try {cure}")
        return min(-low, high)


def remaining(detuning_m: Tensor, ring: Ring, spacing_m: float) -> Tensor:
    """:math:`P_j` of the module's text.

    Args:
        detuning_m: Of ring ``k`` above channel ``k``, m, shape ``(..., n)``.
        ring: Every ring.
        spacing_m: Between channels, m.

    Returns:
        Power of each channel in the through port, in units of its power before the bank; same shape and dtype.
    """
    return _factors(ring.phase(detuning_m), ring, spacing_m).prod(-1)


def bank_weights(detuning_m: Tensor, ring: Ring, spacing_m: float) -> Tensor:
    r""":math:`w_j = \eta - (1 + \eta) P_j`, what the detectors see of each channel; arguments and result as in :func:`remaining`.

    >>> ring = Ring(5e-6, 1550e-9, 4.2, round_trip=0.999, coupling_bus=0.98, coupling_drop=0.98)
    >>> alone, neighbour = bank_weights(torch.tensor([[3e-10, 8e-10], [3e-10, 2e-10]]), ring, 1e-9)[:, 1].tolist()
    >>> round(alone, 3), round(neighbour, 3)
    (-0.902, -0.442)
    """
    eta = ring.efficiency
    return eta - (1.0 + eta) * remaining(detuning_m, ring, spacing_m)


def detunings_alone(weight: Tensor, ring: Ring) -> Tensor:
    """The detuning of a ring that gives a weight on a bus without other rings, m; weights that it reaches, not checked."""
    eta = ring.efficiency
    power = (eta - weight) / (1.0 + eta)
    return inverse(power, ring.round_trip, ring.coupling_bus, ring.coupling_drop) * (ring.fsr_m / (2.0 * math.pi))


def detunings_together(weight: Tensor, bank: Bank) -> Tensor:
    r"""The detunings that give all weights of a bank at once: the inverse of :func:`bank_weights`.

    A fixed point, each ring set for the power that the others leave it, and one Newton step from there,

    .. math:: \delta = \delta^* - J^{-1}\big(\ln P(\delta^*) - \ln P_{\mathrm{wanted}}\big), \qquad J = \partial \ln P / \partial \delta

    which squares what error was left and through which the gradient is that of the exact solution (implicit function theorem).

    Args:
        weight: Within :meth:`Bank.limits` (not checked), shape ``(..., n)``, ``n`` at most ``bank.channels``.
        bank: The rings and their ranges.

    Returns:
        Detunings within the bank's range, m, same shape and dtype; their second derivative is not that of the solution.
    """
    ring, eta, to_phase = bank.ring, bank.ring.efficiency, 2.0 * math.pi / bank.ring.fsr_m
    shape = (ring.round_trip, ring.coupling_bus, ring.coupling_drop)
    wanted = (eta - weight) / (1.0 + eta)
    least, most = ring.through_at(bank.low_m), ring.through_at(bank.high_m)
    with torch.no_grad():
        phase = inverse(wanted.clamp(least, most), *shape)
        others = ~torch.eye(weight.shape[-1], dtype=torch.bool, device=weight.device)
        for _ in range(_ROUNDS):
            left = torch.where(others, _factors(phase, ring, bank.spacing_m), 1.0).prod(-1)
            phase = inverse((wanted / left).clamp(least, most), *shape)  # reachable, whatever the others do; the clamp takes rounding
        found = _factors(phase, ring, bank.spacing_m).prod(-1)
        slopes = -log_slope(_apart(phase, ring, bank.spacing_m), *shape)
    error: Tensor = torch.linalg.solve(slopes, (found.log() - wanted.log()).unsqueeze(-1)).squeeze(-1)
    return (phase - error) / to_phase


def thermal_matrix(n: int, crosstalk: float, pitch_m: float, length_m: float) -> Tensor:
    r"""How far each ring moves for a unit of every heater: :math:`I + K`, :math:`K_{jk} = \kappa e^{-d_{jk}/d_0}` for :math:`j \ne k`.

    Args:
        n: Rings in a row.
        crosstalk: κ ≥ 0.
        pitch_m: Distance of neighbours, m.
        length_m: d₀, m, over which heat decays along the row.

    Returns:
        Shape ``(n, n)``, float64.
    """
    place = torch.arange(n, dtype=torch.float64)
    near = crosstalk * torch.exp((place[:, None] - place[None, :]).abs() * (-pitch_m / length_m))
    return near.fill_diagonal_(1.0)


def _apart(phase: Tensor, ring: Ring, spacing_m: float) -> Tensor:
    """The phase of channel ``j`` (last axis but one) in ring ``k`` (last axis)."""
    at = torch.arange(phase.shape[-1], dtype=phase.dtype, device=phase.device) * (2.0 * math.pi * spacing_m / ring.fsr_m)
    return at[:, None] - at[None, :] - phase.unsqueeze(-2)


def _factors(phase: Tensor, ring: Ring, spacing_m: float) -> Tensor:
    """What ring ``k`` (last axis) leaves of channel ``j`` (last axis but one)."""
    return through(_apart(phase, ring, spacing_m), ring.round_trip, ring.coupling_bus, ring.coupling_drop)
