r"""The optical link: from the power of a source to the noise of a detected signal, and back.

With the photocurrent :math:`I = R P` at full scale, bandwidth ``B``, load ``R_L``, temperature ``T``, ``m`` detectors (2 for a balanced
pair) of dark current :math:`I_d`:

.. math:: \sigma_I^2 = \underbrace{2qB(I + m I_d)}_{\text{shot}} + \underbrace{4k_B T B / R_L}_{\text{thermal}} +
    \underbrace{10^{\mathrm{RIN}/10} B\,I^2}_{\text{source}}, \qquad \sigma = \frac{\sigma_I}{(1 - 10^{-\mathrm{ER}/10})\,I}

σ is in units of the swing between the modulator's dark and bright state. The source's own noise grows with the signal, so that no power
exceeds the resolution of :attr:`Link.limit`.

Source:
    S. Kumar, M. J. Deen, "Fiber Optic Communications: Fundamentals and Applications" (Wiley, 2014), equations 5.72 (shot) and 5.76
    (thermal); G. P. Agrawal, "Fiber-Optic Communication Systems", 4th ed. (Wiley, 2010), section 4.4 for both and for the effect of
    intensity noise.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from neurosim.errors import ConfigError
from neurosim.hardware.resolution import Resolution

ELECTRON_C = 1.602176634e-19  #: elementary charge, C (exact since 2019)
BOLTZMANN_J_PER_K = 1.380649e-23  #: Boltzmann constant, J/K (exact since 2019)


def ratio(db: float) -> float:
    """The ratio of two powers from decibels.

    >>> ratio(30.0), ratio(-10.0)
    (1000.0, 0.1)
    """
    return math.pow(10.0, db / 10.0)


def shot_variance(current_a: float, bandwidth_hz: float) -> float:
    """Variance of the shot noise of a current, A²: 2 q I B."""
    return 2.0 * ELECTRON_C * current_a * bandwidth_hz


def thermal_variance(kelvin: float, load_ohm: float, bandwidth_hz: float) -> float:
    """Variance of the current noise of a resistor, A²: 4 k T B / R."""
    return 4.0 * BOLTZMANN_J_PER_K * kelvin * bandwidth_hz / load_ohm


def rin_variance(current_a: float, rin_db_per_hz: float | None, bandwidth_hz: float) -> float:
    """Variance of a photocurrent under a source's relative intensity noise, A²: I² 10^(RIN/10) B; 0 where that is ``None``."""
    return 0.0 if rin_db_per_hz is None else current_a**2 * ratio(rin_db_per_hz) * bandwidth_hz


@dataclass(frozen=True)
class Link:
    """Source, losses, modulator and detector of one optical signal.

    Args:
        responsivity_a_per_w: R, A/W.
        bandwidth_hz: B, noise bandwidth of the detector, Hz.
        load_ohm: R_L, ohm.
        kelvin: T, K.
        rin_db_per_hz: Relative intensity noise of the source, dB/Hz; ``None`` for a source without.
        dark_current_a: I_d of one detector, A.
        extinction_ratio_db: Bright over dark power of the modulator, dB; ``None`` for one that switches off completely.
        losses_db: Losses between source and detector by name, in order, dB ≥ 0.
        balanced: Two detectors whose difference is the signal, with range −1 … 1, instead of one with 0 … 1.
        saturation_a: Largest photocurrent of a detector, A; ``None`` for no limit.

    Raises:
        ConfigError: A number is out of its domain.

    >>> link = Link(1.0, 10e9, 50.0, rin_db_per_hz=-145.0)
    >>> round(link.resolution(1e-3).snr_db, 1), round(link.resolution(1e-3).enob, 2)
    (44.2, 5.55)
    >>> f"{1e6 * link.power_for(Resolution.from_snr_db(34.0, 1)):.1f} uW"
    '99.6 uW'
    """

    responsivity_a_per_w: float
    bandwidth_hz: float
    load_ohm: float
    kelvin: float = 300.0
    rin_db_per_hz: float | None = None
    dark_current_a: float = 0.0
    extinction_ratio_db: float | None = None
    losses_db: Mapping[str, float] = field(default_factory=dict)
    balanced: bool = False
    saturation_a: float | None = None

    def __post_init__(self) -> None:
        for name in ("responsivity_a_per_w", "bandwidth_hz", "load_ohm", "kelvin", "extinction_ratio_db", "saturation_a"):
            _check(name, getattr(self, name), positive=True)
        _check("dark_current_a", self.dark_current_a)
        object.__setattr__(self, "losses_db", dict(self.losses_db))  # not to change with the caller's
        for name, loss in self.losses_db.items():
            _check(f"losses_db.{name}", loss)
        if self.rin_db_per_hz is not None and not math.isfinite(self.rin_db_per_hz):
            raise ConfigError(f"link: rin_db_per_hz must be a finite number or None, got {self.rin_db_per_hz}")
        if self.saturation_a is not None and self.saturation_a <= self.dark_current_a:
            raise ConfigError(f"link: saturation_a must exceed the dark current {self.dark_current_a}, got {self.saturation_a}")

    @property
    def transmission(self) -> float:
        """Share of the source's power that reaches the detector in the bright state."""
        return math.prod(ratio(-loss) for loss in self.losses_db.values())

    @property
    def dark_share(self) -> float:
        """Power of the dark state over that of the bright state."""
        return 0.0 if self.extinction_ratio_db is None else ratio(-self.extinction_ratio_db)

    @property
    def span(self) -> float:
        """Range of the signal in full scales."""
        return 2.0 if self.balanced else 1.0

    @property
    def limit(self) -> Resolution:
        """The resolution that more and more power approaches: that of the source alone."""
        return Resolution(math.sqrt(rin_variance(1.0, self.rin_db_per_hz, self.bandwidth_hz)) / (1.0 - self.dark_share), self.span)

    def variances(self, power_w: float) -> tuple[float, float, float]:
        """Shot, thermal and source noise of a full-scale signal, A², at a power of the source of ``power_w``."""
        current = self._current(power_w)
        detectors = 2.0 if self.balanced else 1.0
        return (
            shot_variance(current + detectors * self.dark_current_a, self.bandwidth_hz),
            thermal_variance(self.kelvin, self.load_ohm, self.bandwidth_hz),
            rin_variance(current, self.rin_db_per_hz, self.bandwidth_hz),
        )

    def resolution(self, power_w: float) -> Resolution:
        """The noise of a full-scale signal at a power of the source, W."""
        swing = self._current(power_w) * (1.0 - self.dark_share)
        return Resolution(math.sqrt(sum(self.variances(power_w))) / swing, self.span)

    def power_for(self, wanted: Resolution) -> float:
        r"""The power of the source that gives a resolution: the inverse of :meth:`resolution`.

        The positive root of

        .. math:: \big(\sigma^2 (1-10^{-\mathrm{ER}/10})^2 - 10^{\mathrm{RIN}/10} B\big) I^2 - 2qB\,I - (2qBmI_d + 4k_BTB/R_L) = 0

        Returns:
            W.

        Raises:
            ConfigError: No power gives it, because of the source's noise or of saturation (the message says what can be reached), or it
                is that of another range of signals.
        """
        if wanted.span != self.span:
            raise ConfigError(f"link: the resolution must be of signals with span {self.span:g}, got span {wanted.span:g}")
        square = (wanted.sigma * (1.0 - self.dark_share)) ** 2 - rin_variance(1.0, self.rin_db_per_hz, self.bandwidth_hz)
        if square <= 0:
            raise self._out_of_reach(wanted, self.limit, "at any power")
        linear = shot_variance(1.0, self.bandwidth_hz)
        detectors = 2.0 if self.balanced else 1.0
        constant = linear * detectors * self.dark_current_a + thermal_variance(self.kelvin, self.load_ohm, self.bandwidth_hz)
        current = (linear + math.sqrt(linear**2 + 4.0 * square * constant)) / (2.0 * square)
        if self.saturation_a is not None and current + self.dark_current_a > self.saturation_a:
            most = (self.saturation_a - self.dark_current_a) / (self.responsivity_a_per_w * self.transmission)
            raise self._out_of_reach(wanted, self.resolution(most), f"before the detector saturates at {self.saturation_a:g} A")
        return current / (self.responsivity_a_per_w * self.transmission)

    def _current(self, power_w: float) -> float:
        _check("power_w", power_w, positive=True)
        return self.responsivity_a_per_w * self.transmission * power_w

    def _out_of_reach(self, wanted: Resolution, best: Resolution, when: str) -> ConfigError:
        return ConfigError(
            f"link: this link reaches no more than {best.enob:.4g} effective bits (SNR {best.snr_db:.4g} dB) {when}, "
            f"got a demand for {wanted.enob:.4g} ({wanted.snr_db:.4g} dB)"
        )


def _check(name: str, value: float | None, *, positive: bool = False) -> None:
    if value is not None and not (math.isfinite(value) and (value > 0 if positive else value >= 0)):
        raise ConfigError(f"link: {name} must be a finite number {'> 0' if positive else '>= 0'}, got {value}")
