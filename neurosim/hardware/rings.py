r"""Micro-ring resonators: transmission, line shape, and the weight that a ring gives one wavelength.

Light passes a ring between a bus and, where there is one, a drop waveguide. With :math:`\varphi` the phase of one round trip, ``a`` the
amplitude that is left after it, and ``r1``, ``r2`` the amplitudes that stay in bus and drop waveguide at the couplers
(:math:`x = a r_1 r_2`), the powers are

.. math:: T_p = \frac{(r_1 - r_2 a)^2 + 4x\sin^2\frac\varphi2}{(1 - x)^2 + 4x\sin^2\frac\varphi2}, \qquad
    T_d = \frac{a (1 - r_1^2)(1 - r_2^2)}{(1 - x)^2 + 4x\sin^2\frac\varphi2}

A ring without a drop waveguide (all-pass) is ``r2 = 1``. These are the textbook forms with :math:`1 - \cos\varphi` written as
:math:`2\sin^2(\varphi/2)`, which keeps its digits next to a resonance. Whatever the phase, the ring drops the same share of what it takes
from the bus: :math:`T_d = \eta (1 - T_p)`.

Source:
    W. Bogaerts et al., "Silicon microring resonators", Laser & Photonics Reviews 6, 47-73 (2012), doi 10.1002/lpor.201100017, section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from neurosim.errors import ConfigError


@dataclass(frozen=True)
class Ring:
    """One ring near one of its resonances.

    Args:
        radius_m: Of the circle, m.
        wavelength_m: Of the resonance, m; free spectral range and phase are linear about it.
        group_index: Of the ring's waveguide.
        round_trip: ``a``, amplitude left after one round trip, in (0, 1].
        coupling_bus: ``r1``, amplitude that stays in the bus at its coupler, in (0, 1).
        coupling_drop: ``r2``, likewise for the drop waveguide, in (0, 1]; 1 where there is none.

    Raises:
        ConfigError: A number is out of its domain.

    >>> ring = Ring(5e-6, 1538.739e-9, 2.35316, round_trip=0.987, coupling_bus=0.99)
    >>> f"FSR {1e9 * ring.fsr_m:.2f} nm, FWHM {1e9 * ring.fwhm_m:.4f} nm, Q {ring.quality:.0f}"
    'FSR 32.03 nm, FWHM 0.2359 nm, Q 6524'
    """

    radius_m: float
    wavelength_m: float
    group_index: float
    round_trip: float
    coupling_bus: float
    coupling_drop: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            most = {"round_trip": 1.0, "coupling_bus": 1.0, "coupling_drop": 1.0}.get(field.name, math.inf)
            if not (math.isfinite(value) and 0 < value <= most):
                raise ConfigError(f"ring: {field.name} must be in (0, {most:g}], got {value}")
        if self.loop >= 1 or self.coupling_bus == 1:
            raise ConfigError(f"ring: the bus must couple to it, coupling_bus < 1, got {self.coupling_bus}")

    @property
    def loop(self) -> float:
        """x, the amplitude after a round trip past all couplers."""
        return self.round_trip * self.coupling_bus * self.coupling_drop

    @property
    def fsr_m(self) -> float:
        r"""Free spectral range, m: :math:`\lambda^2 / (n_g 2\pi R)`."""
        return self.wavelength_m**2 / (self.group_index * 2.0 * math.pi * self.radius_m)

    @property
    def finesse(self) -> float:
        r"""Free spectral range over line width: :math:`\pi\sqrt{x} / (1 - x)`, to leading order in :math:`1 - x`."""
        return math.pi * math.sqrt(self.loop) / (1.0 - self.loop)

    @property
    def fwhm_m(self) -> float:
        """Full width of the line at half of its depth, m."""
        return self.fsr_m / self.finesse

    @property
    def quality(self) -> float:
        """Q: wavelength over line width."""
        return self.wavelength_m / self.fwhm_m

    @property
    def efficiency(self) -> float:
        r"""η, the share of the power taken from the bus that leaves by the drop waveguide: :math:`a (1 - r_2^2) / (1 - a^2 r_2^2)`."""
        a, r = self.round_trip, self.coupling_drop
        return 0.0 if r == 1 else a * (1.0 - r * r) / (1.0 - a * a * r * r)

    def phase(self, detuning_m: Tensor) -> Tensor:
        """Phase of a round trip, rad, for light that is that much longer in wavelength than the resonance; its sign has no effect."""
        return detuning_m * (2.0 * math.pi / self.fsr_m)

    def through(self, detuning_m: Tensor) -> Tensor:
        """Power that stays in the bus, in units of what came; periodic in the free spectral range."""
        return through(self.phase(detuning_m), self.round_trip, self.coupling_bus, self.coupling_drop)

    def through_at(self, detuning_m: float) -> float:
        """:meth:`through` of a plain number."""
        dip, floor, scale = _terms(self.round_trip, self.coupling_bus, self.coupling_drop)
        q = scale * math.sin(math.pi * detuning_m / self.fsr_m) ** 2
        return (dip + q) / (floor + q)

    def dropped(self, detuning_m: Tensor) -> Tensor:
        """Power in the drop waveguide, in units of what came."""
        return dropped(self.phase(detuning_m), self.round_trip, self.coupling_bus, self.coupling_drop)

    def weight(self, detuning_m: Tensor) -> Tensor:
        """What a balanced pair of detectors sees of the channel, dropped less through, in [-1, 1]."""
        return self.dropped(detuning_m) - self.through(detuning_m)

    def weight_range(self, low_m: float = 0.0, high_m: float | None = None) -> tuple[float, float]:
        """The least and the largest weight for detunings from ``low_m`` to ``high_m`` (half of the free spectral range), m."""
        eta = self.efficiency
        least, most = (eta - (1.0 + eta) * self.through_at(at) for at in (self.fsr_m / 2 if high_m is None else high_m, low_m))
        return least, most

    def detuning_for(self, weight: Tensor) -> Tensor:
        """The detuning between 0 and half of the free spectral range, m, that gives a weight; the inverse of :meth:`weight`.

        Raises:
            ConfigError: No detuning gives one of the weights; nothing is clipped.
        """
        return torch.as_tensor(self.fsr_m / (2.0 * math.pi)) * phase_for(
            (self.efficiency - weight) / (1.0 + self.efficiency), self.round_trip, self.coupling_bus, self.coupling_drop, self._say(weight)
        )

    def _say(self, weight: Tensor) -> str:
        low, high = self.weight_range()
        least, most = (weight.amin().item(), weight.amax().item()) if weight.numel() else (0.0, 0.0)
        return f"ring: weights must be in [{low:.6g}, {high:.6g}], which is what it reaches, got values from {least:.6g} to {most:.6g}"


def through(phase: Tensor, round_trip: float, coupling_bus: float, coupling_drop: float = 1.0) -> Tensor:
    r"""Power transmission of the bus, :math:`T_p` of the module's text; without ``coupling_drop`` that of an all-pass ring.

    Args:
        phase: Of one round trip, rad, any shape.
        round_trip, coupling_bus, coupling_drop: As in :class:`Ring`.

    Returns:
        Same shape and dtype, in [0, 1].

    Source:
        Bogaerts et al. 2012, equations for all-pass and add-drop rings, section 2.

    >>> through(torch.tensor([0.0, 0.1]), 0.987, 0.99)
    tensor([0.0172, 0.9500])
    """
    dip, floor, scale = _terms(round_trip, coupling_bus, coupling_drop)
    q = scale * torch.sin(0.5 * phase).square()
    return (dip + q) / (floor + q)


def dropped(phase: Tensor, round_trip: float, coupling_bus: float, coupling_drop: float) -> Tensor:
    r"""Power transmission to the drop waveguide, :math:`T_d` of the module's text; arguments and result as in :func:`through`."""
    _, floor, scale = _terms(round_trip, coupling_bus, coupling_drop)
    peak = round_trip * (1.0 - coupling_bus**2) * (1.0 - coupling_drop**2)
    return peak / (floor + scale * torch.sin(0.5 * phase).square())


def phase_for(
    transmission: Tensor, round_trip: float, coupling_bus: float, coupling_drop: float = 1.0, message: str | None = None
) -> Tensor:
    """The phase in [0, π] at which the bus transmits that power; the inverse of :func:`through`, arguments likewise.

    Args:
        transmission: Wanted power, any shape.
        round_trip, coupling_bus, coupling_drop: As in :class:`Ring`.
        message: Says what must hold, in the caller's terms.

    Raises:
        ConfigError: A power is out of the range that the ring reaches (by more than rounding); the peer that we know clips it.
    """
    dip, floor, scale = _terms(round_trip, coupling_bus, coupling_drop)
    least, most = dip / floor, (dip + scale) / (floor + scale)
    slack = 8.0 * torch.finfo(transmission.dtype).eps
    if transmission.numel() and not bool(((transmission >= least - slack) & (transmission <= most + slack)).all()):
        got = f"{transmission.amin().item():.6g} to {transmission.amax().item():.6g}"
        raise ConfigError(message or f"ring: transmission must be in [{least:.6g}, {most:.6g}], which is what it reaches, got {got}")
    return inverse(transmission.clamp(least, most), round_trip, coupling_bus, coupling_drop)


def inverse(transmission: Tensor, round_trip: float, coupling_bus: float, coupling_drop: float = 1.0) -> Tensor:
    """:func:`phase_for` of powers that are known to be reachable: nothing is checked. Its slope is infinite at both ends of the range."""
    dip, floor, scale = _terms(round_trip, coupling_bus, coupling_drop)
    share = (transmission * floor - dip) / ((1.0 - transmission) * scale)
    return 2.0 * torch.asin(share.clamp(0.0, 1.0).sqrt())


def log_slope(phase: Tensor, round_trip: float, coupling_bus: float, coupling_drop: float) -> Tensor:
    r"""The derivative of :math:`\ln T_p` to the phase; arguments as in :func:`through`."""
    dip, floor, scale = _terms(round_trip, coupling_bus, coupling_drop)
    q = scale * torch.sin(0.5 * phase).square()
    return 0.5 * scale * torch.sin(phase) * (floor - dip) / ((dip + q) * (floor + q))


def lorentzian(detuning_m: Tensor, fwhm_m: float) -> Tensor:
    r"""The line shape next to a resonance, 1 at its peak.

    .. math:: L(\delta) = \frac{1}{1 + (2\delta / \mathrm{FWHM})^2}

    :math:`T_d \approx T_d(0) L` and :math:`1 - T_p \approx (1 - T_p(0)) L`, with a relative error of order :math:`(\delta/\mathrm{FSR})^2`.
    """
    return 1.0 / (1.0 + (2.0 * detuning_m / fwhm_m).square())


def _terms(a: float, r1: float, r2: float) -> tuple[float, float, float]:
    """(r1 - r2 a)², (1 - x)² and 4x."""
    return (r1 - r2 * a) ** 2, (1.0 - a * r1 * r2) ** 2, 4.0 * a * r1 * r2
