r"""One noise level in every currency: σ, effective bits, signal-to-noise ratio, leakage at a precision.

A signal has a range, its *span*: 1 for light on one detector (0 … 1), 2 for a balanced pair (−1 … 1), in units of its full scale, and
noise of the standard deviation σ in the same unit.

================  ============================================  ===========================================================
currency          formula                                       meaning
================  ============================================  ===========================================================
ENOB              :math:`\log_2(S / (\sigma\sqrt{12}))`         bits of the ideal converter over the span with that noise
SNR               :math:`-20 \log_{10}\sigma` dB                electrical power of a constant full-scale signal over noise
SNR of a sine     :math:`10\log_{10}(S^2 / 8\sigma^2)` dB       of the largest sine in the span; 6.02 ENOB + 1.76
leakage           :math:`1 - \mathrm{erf}(1/(2\sqrt2\,\sigma p))`  see :mod:`neurosim.hardware.leakage`
================  ============================================  ===========================================================

Source:
    W. R. Bennett, "Spectra of quantized signals", Bell System Technical Journal 27, 446-472 (1948), for the variance Δ²/12 of a step Δ,
    which defines the effective number of bits; leakage as in :mod:`neurosim.hardware.leakage`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from neurosim.errors import ConfigError
from neurosim.hardware.leakage import leakage_from, scale_from


@dataclass(frozen=True)
class Resolution:
    """A noise level: Gaussian noise of standard deviation ``sigma`` on a signal of range ``span``, in units of full scale.

    Raises:
        ConfigError: A number is out of its domain.

    >>> shah = Resolution.from_leakage(0.5, 16)
    >>> round(shah.sigma, 6), round(shah.enob, 2), round(shah.sine_snr_db, 2)
    (0.046331, 3.64, 23.67)
    """

    sigma: float
    span: float = 2.0

    def __post_init__(self) -> None:
        if not 0 <= self.sigma <= 1e100:
            raise ConfigError(f"resolution: sigma must be a finite number >= 0, got {self.sigma}")
        if self.span not in (1, 2):
            raise ConfigError(f"resolution: span must be 1 (signals in [0, 1]) or 2 (in [-1, 1]), got {self.span}")

    @classmethod
    def from_enob(cls, bits: float, span: float = 2.0) -> Resolution:
        """The noise that leaves that many effective bits."""
        return cls(span / (math.sqrt(12.0) * 2.0 ** _within("enob", bits, 300.0)), span)

    @classmethod
    def from_snr_db(cls, snr_db: float, span: float = 2.0) -> Resolution:
        """The noise with that signal-to-noise ratio of a constant full-scale signal, dB."""
        return cls(10.0 ** (-_within("snr_db", snr_db, 1800.0) / 20.0), span)

    @classmethod
    def from_leakage(cls, leakage: float, precision: float, span: float = 2.0) -> Resolution:
        """The noise that changes the level of that share of symbols, with ``precision`` levels per unit of full scale."""
        return cls(scale_from("gaussian", leakage, precision), span)

    @property
    def enob(self) -> float:
        """Effective number of bits; infinite without noise, negative where the noise exceeds the signal."""
        return math.inf if self.sigma == 0 else math.log2(self.span / (self.sigma * math.sqrt(12.0)))

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio of a constant full-scale signal, dB (electrical)."""
        return math.inf if self.sigma == 0 else -20.0 * math.log10(self.sigma)

    @property
    def sine_snr_db(self) -> float:
        """Signal-to-noise ratio of the largest sine within the span, dB: what converters are measured with."""
        return math.inf if self.sigma == 0 else 10.0 * math.log10(self.span**2 / 8.0 / self.sigma**2)

    def leakage(self, precision: float) -> float:
        """The share of symbols that change their level, with ``precision`` levels per unit of full scale."""
        return leakage_from("gaussian", self.sigma, precision)


def _within(name: str, value: float, most: float) -> float:
    if not -most <= value <= most:
        raise ConfigError(f"resolution: {name} must be in [{-most:g}, {most:g}], got {value}")
    return value
