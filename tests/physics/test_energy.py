"""Energies against the definitions of the figures of merit, from power and rate."""

from __future__ import annotations

import math

import pytest

from neurosim.hardware.energy import read_energy, schreier_energy, walden_energy, wall_plug_power


@pytest.mark.parametrize("enob", [4.0, 7.5, 12.0])
def test_a_converter_has_the_figures_of_merit_that_its_energy_was_made_from(enob: float) -> None:
    rate = 1e8
    power = rate * walden_energy(30e-15, enob)
    assert power / (2**enob * rate) == pytest.approx(30e-15, rel=1e-12)
    power = rate * schreier_energy(165.0, enob)
    sndr = 10 * math.log10(1.5 * 4**enob)  # of a full sine wave over the noise of steps
    assert sndr + 10 * math.log10(rate / 2 / power) == pytest.approx(165.0, rel=1e-12)


def test_reads_and_light_take_what_power_and_time_say() -> None:
    current = 0.2 * 25e-6
    assert read_energy(0.2, 25e-6, 1e-7) == pytest.approx(0.2 * current * 1e-7, rel=1e-12)
    assert wall_plug_power(1e-3, 0.1) == pytest.approx(10e-3, rel=1e-12)
