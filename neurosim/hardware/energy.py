"""Energy of conversions, reads and light: closed forms in SI units."""

from __future__ import annotations

import math

_DB_PER_BIT = 20 * math.log10(2)
_DB_OF_A_SINE = 10 * math.log10(1.5)


def walden_energy(fom_j: float, enob: float) -> float:
    r"""Energy of one conversion from Walden's figure of merit.

    .. math:: E = \mathrm{FOM_W} \cdot 2^{\mathrm{ENOB}}, \qquad \mathrm{FOM_W} = \frac{P}{2^{\mathrm{ENOB}} f_s}

    Args:
        fom_j: Energy of a conversion step, J.
        enob: Effective number of bits.

    Returns:
        J.

    Source:
        R. H. Walden, "Analog-to-digital converter survey and analysis", IEEE J. Sel. Areas Commun. 17 (1999) 539–550.

    >>> walden_energy(10e-15, 8)
    2.56e-12
    """
    return fom_j * math.exp2(enob)


def schreier_energy(fom_db: float, enob: float) -> float:
    r"""Energy of one conversion from Schreier's figure of merit, for a converter at the Nyquist rate.

    .. math::
        E = \tfrac{1}{2}\, 10^{(\mathrm{SNDR} - \mathrm{FOM_S}) / 10}, \qquad
        \mathrm{FOM_S} = \mathrm{SNDR} + 10 \log_{10} \frac{f_s / 2}{P}, \qquad \mathrm{SNDR} = 6.02\,\mathrm{ENOB} + 1.76\ \mathrm{dB}

    It quadruples with each bit, as thermal noise asks for; Walden's doubles.

    Args:
        fom_db: Figure of merit, dB.
        enob: Effective number of bits.

    Returns:
        J.

    Source:
        R. Schreier, G. C. Temes, "Understanding Delta-Sigma Data Converters", Wiley-IEEE Press (2005).

    >>> round(schreier_energy(170, 12) / schreier_energy(170, 11), 9)
    4.0
    """
    sndr = _DB_PER_BIT * enob + _DB_OF_A_SINE
    return 0.5 * math.pow(10, (sndr - fom_db) / 10)


def read_energy(volt: float, siemens: float, seconds: float) -> float:
    r"""Energy that a conductance dissipates while it is read, :math:`E = V^2 G t`.

    Args:
        volt: Root mean square of the voltage across it, V.
        siemens: Its conductance, S.
        seconds: How long, s.

    Returns:
        J.

    >>> round(read_energy(0.2, 25e-6, 100e-9), 20)
    1e-13
    """
    return volt * volt * siemens * seconds


def wall_plug_power(optical_w: float, efficiency: float) -> float:
    r"""Electrical power of a source of light, :math:`P = P_\mathrm{opt} / \eta`.

    Args:
        optical_w: Optical power, W.
        efficiency: Wall-plug efficiency η, in (0, 1].

    Returns:
        W.
    """
    return optical_w / efficiency
