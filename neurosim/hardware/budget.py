"""The link budget: power and noise at every point of an optical link, as numbers and as a table."""

from __future__ import annotations

import math
from dataclasses import dataclass

from neurosim.hardware.link import Link, ratio
from neurosim.hardware.resolution import Resolution


@dataclass(frozen=True)
class LinkBudget:
    """What :func:`link_budget` finds; ``str()`` is a table.

    Args:
        link: The link.
        points_w: Bright power from the source on, after each loss, by name, W.
        dark_w: Power at the detector in the dark state, W.
        current_a: Current of the detector in the bright state, dark current included, A.
        swing_a: Bright less dark photocurrent, A: full scale.
        shot_a: Standard deviation of the shot noise at full scale, A.
        thermal_a: That of the load, A.
        rin_a: That of the source, A.
        resolution: All noise together, in full scales.
        limit: What more power approaches.
        saturates: Whether the current exceeds what the detector can give; the other numbers hold as if it did not.
    """

    link: Link
    points_w: tuple[tuple[str, float], ...]
    dark_w: float
    current_a: float
    swing_a: float
    shot_a: float
    thermal_a: float
    rin_a: float
    resolution: Resolution
    limit: Resolution
    saturates: bool

    @property
    def power_w(self) -> float:
        """Of the source, W."""
        return self.points_w[0][1]

    @property
    def sigma(self) -> float:
        """Noise in units of full scale."""
        return self.resolution.sigma

    @property
    def snr_db(self) -> float:
        """Signal-to-noise ratio at full scale, dB (electrical)."""
        return self.resolution.snr_db

    @property
    def enob(self) -> float:
        """Effective number of bits."""
        return self.resolution.enob

    def __str__(self) -> str:
        total = math.sqrt(self.shot_a**2 + self.thermal_a**2 + self.rin_a**2)
        rows = [(f"power: {name}", f"{_si(power, 'W')} ({_dbm(power)})") for name, power in self.points_w]
        rows += [("dark state at the detector", _si(self.dark_w, "W") if self.dark_w else "none")]
        rows += [("current, bright", _si(self.current_a, "A") + (" (saturated)" if self.saturates else ""))]
        rows += [("signal, full scale", _si(self.swing_a, "A"))]
        parts = (("shot", self.shot_a), ("thermal", self.thermal_a), ("source (RIN)", self.rin_a))
        rows += [
            (f"noise: {name}", f"{_si(value, 'A')} ({100 * (value / total) ** 2:.1f} %)" if value else "none") for name, value in parts
        ]
        rows += [("noise, all", f"{_si(total, 'A')}, σ = {self.sigma:.4g} of full scale")]
        rows += [("resolution", f"SNR {self.snr_db:.1f} dB, {self.enob:.2f} effective bits")]
        best = f"SNR {self.limit.snr_db:.1f} dB, {self.limit.enob:.2f} effective bits" if self.limit.sigma else "none"
        rows += [("limit of more power", best)]
        width = max(len(name) for name, _ in rows)
        return "\n".join(f"{name:<{width}}  {text}" for name, text in rows)


def link_budget(link: Link, power_w: float) -> LinkBudget:
    """Power, currents and noise along a link for a full-scale signal.

    Args:
        link: Losses, modulator, detector.
        power_w: Power of the source, W.

    Raises:
        ConfigError: ``power_w`` is not a positive number.

    >>> print(link_budget(Link(1.0, 10e9, 50.0, rin_db_per_hz=-145.0, losses_db={"modulator": 3.0}), 2e-3))
    power: source               2 mW (3.0 dBm)
    power: after modulator      1 mW (0.0 dBm)
    dark state at the detector  none
    current, bright             1 mA
    signal, full scale          1 mA
    noise: shot                 1.79 uA (8.4 %)
    noise: thermal              1.82 uA (8.7 %)
    noise: source (RIN)         5.64 uA (83.0 %)
    noise, all                  6.19 uA, σ = 0.006174 of full scale
    resolution                  SNR 44.2 dB, 5.55 effective bits
    limit of more power         SNR 45.0 dB, 5.68 effective bits
    """
    shot, thermal, rin = (math.sqrt(variance) for variance in link.variances(power_w))
    points, power = [("source", power_w)], power_w
    for name, loss in link.losses_db.items():
        power *= ratio(-loss)
        points.append((f"after {name}", power))
    photocurrent = link.responsivity_a_per_w * power
    current = photocurrent + link.dark_current_a
    return LinkBudget(
        link=link,
        points_w=tuple(points),
        dark_w=power * link.dark_share,
        current_a=current,
        swing_a=photocurrent * (1.0 - link.dark_share),
        shot_a=shot,
        thermal_a=thermal,
        rin_a=rin,
        resolution=link.resolution(power_w),
        limit=link.limit,
        saturates=link.saturation_a is not None and current > link.saturation_a,
    )


def _si(value: float, unit: str) -> str:
    """Three digits with a prefix: ``1.79 uA``."""
    step = min(max(math.floor(math.log10(value) / 3), -5), 0)
    return f"{value / 1000.0**step:.3g} {'fpnum'[step] if step else ''}{unit}"


def _dbm(power_w: float) -> str:
    return f"{10.0 * math.log10(power_w / 1e-3):.1f} dBm"
