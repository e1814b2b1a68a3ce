"""The constants of a device: in its profile with unit and source, each optional, contradictions named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.costs import ConverterCost, Costs
from neurosim.hardware.layout import layout
from neurosim.hardware.operations import input_bits, operations, output_bits
from neurosim.hardware.profile import Profile, load_profile
from neurosim.yamlfile import dump_yaml

CITED = "10.1000/xyz, table 1"


def number(value: Any, unit: str, **more: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "source": "a guess", "verified": False, **more}


def profile(folder: Path, cost: dict[str, Any], chain: dict[str, Any] | None = None) -> Profile:
    path = folder / "profile.yaml"
    about = {"version": 1, "name": "mine", "summary": "one line", "technology": "any"}
    path.write_text(dump_yaml({**about, "chain": chain or {}, "cost": cost}))
    return load_profile(path)


FULL = {
    "adc": {"walden_j": number(2e-14, "J"), "enob": number(7.5, "bit"), "area_m2": number(1e-9, "m2"), "lines": number(8, "1")},
    "dac": {"schreier_db": number(170.0, "dB")},
    "cell": {"read_v": number(0.2, "V"), "area_m2": number(1e-13, "m2")},
    "laser": {"power_w": number(1e-3, "W"), "efficiency": number(0.1, "1", source=CITED, verified=True, test="tests/x.py::test_y")},
    "tuning": {"power_w": number(1e-4, "W")},
    "static_w": number(0.01, "W"),
    "symbol_s": number(1e-7, "s"),
}


def test_constants_are_read_with_their_sources(tmp_path: Path) -> None:
    found = profile(tmp_path, FULL)
    assert found.costs.adc == ConverterCost(walden_j=2e-14, enob=7.5, area_m2=1e-9, lines=8)
    assert found.costs.symbol_s == 1e-7
    assert found.provenance["cost.laser.efficiency"].verified
    assert "cost.laser.efficiency" not in found.costs.unverified
    assert set(found.costs.unverified) == {name for name in found.provenance if name != "cost.laser.efficiency"}


def test_a_profile_without_costs_has_none(tmp_path: Path) -> None:
    assert load_profile("photonic_avnn").costs == profile(tmp_path, {}).costs == Costs()


@pytest.mark.parametrize(
    ("cost", "problem"),
    [
        ({"adc": {"walden_j": 1e-15}}, "cost.adc.walden_j: a number must be given as {value, unit, source, verified}, got the bare 1e-15"),
        ({"symbol_s": number(1e-9, "ns")}, "cost.symbol_s: unit must be s, got 'ns'"),
        ({"symbol": number(1e-9, "s")}, "cost.symbol: unknown key; did you mean 'symbol_s'?"),
        ({"dac": {"waldn_j": number(1e-9, "J")}}, "cost.dac.waldn_j: unknown key; did you mean 'walden_j'?"),
        ({"unverified": ["adc"]}, "cost.unverified: unknown key; each number says itself whether it is verified"),
        (
            {"adc": {"walden_j": number(1e-15, "J"), "energy_j": number(1e-12, "J")}},
            "cost.adc: give one of energy_j, walden_j and schreier_db",
        ),
        ({"adc": {"energy_j": number(1e-15, "J"), "enob": number(8, "bit")}}, "cost.adc: enob is for walden_j and schreier_db"),
        ({"cell": {"energy_j": number(1e-15, "J"), "read_v": number(1, "V")}}, "cost.cell: give one of energy_j and read_v"),
        ({"static_w": number(1.0, "W")}, "cost: static_w needs symbol_s, the time of one pass"),
        ({"cell": {"read_v": number(0.1, "V")}}, "cost: cell.read_v needs symbol_s"),
        ({"symbol_s": number(0.0, "s")}, "cost.symbol_s: must be > 0, got 0.0"),
        ({"symbol_s": number(1e-9, "s"), "laser": {"power_w": number(1.0, "W")}}, "cost.laser.efficiency: must be given, is missing"),
        (
            {"symbol_s": number(1e-9, "s"), "laser": {"power_w": number(1.0, "W"), "efficiency": number(1.1, "1")}},
            "cost.laser.efficiency: must be ≤ 1, got 1.1",
        ),
    ],
)
def test_what_does_not_hold_is_named_with_its_place(cost: dict[str, Any], problem: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        profile(tmp_path, cost)
    assert any(problem in found and "profile.yaml:" in found for found in caught.value.problems), caught.value.problems


def test_a_conversion_takes_what_its_figure_of_merit_says() -> None:
    assert ConverterCost(energy_j=3e-12).joules(8) == 3e-12
    assert ConverterCost(walden_j=1e-15).joules(8) == pytest.approx(256e-15)
    assert ConverterCost(walden_j=1e-15, enob=7).joules(8) == pytest.approx(128e-15)
    assert ConverterCost(schreier_db=170).joules(8) == pytest.approx(0.5 * 1.5 * 4**8 / 1e17)
    assert ConverterCost(walden_j=1e-15).joules(None) is None
    assert ConverterCost(area_m2=1e-9).joules(8) is None


CELLS = {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6}
CONVERTERS: dict[str, Any] = {"input": {"dac": {"kind": "quantize", "levels": 64}}, "output": {"adc": {"kind": "quantize", "levels": 256}}}


@pytest.mark.parametrize(
    ("array", "inputs", "expected"),
    [  # passes, dac, adc, cells, arrays, capacity; of a 10 × 300 matrix and 4 products
        ({}, {}, (4, 1200, 40, 3000, 1, None)),
        ({"tiles": {"kind": "tiles", "rows": 128, "columns": 8}}, {}, (4, 1200, 4 * 3 * 10, 3000, 3 * 2, 6 * 1024)),
        ({"mapping": CELLS, "tiles": {"kind": "tiles", "rows": 128, "columns": 16}}, {}, (4, 1200, 4 * 3 * 10, 6000, 3 * 2, 6 * 2048)),
        ({"mapping": CELLS | {"subtract": "digital"}}, {}, (4, 1200, 4 * 2 * 10, 6000, 2, None)),
        ({"mapping": CELLS | {"scheme": "offset", "correction": "column"}}, {}, (4, 1200, 4 * 11, 3300, 1, None)),
        ({"mapping": CELLS | {"slices": 3, "weight_bits": 7}}, {}, (4, 1200, 4 * 3 * 10, 18000, 6, None)),
        ({}, {"slices": {"kind": "slices", "bits": 8, "slice_bits": 3}}, (12, 3600, 120, 3000, 1, None)),
    ],
)
def test_counts_are_those_of_the_layout(array: dict[str, Any], inputs: dict[str, Any], expected: tuple[Any, ...]) -> None:
    spec = ChainSpec.model_validate({**CONVERTERS, "input": CONVERTERS["input"] | inputs, "array": array})
    found = operations(spec, layout(spec, (1, 10, 300)), 4)
    assert (found.passes, found.dac, found.adc, found.cells, found.arrays, found.capacity) == expected
    assert found.macs == 4 * 10 * 300
    assert found.reads == found.passes * found.cells
    assert (input_bits(spec), output_bits(spec)) == (3.0 if inputs else 6.0, 8.0)


def test_nothing_is_converted_without_converters() -> None:
    spec = ChainSpec()
    found = operations(spec, layout(spec, (2, 5, 7)), 3)
    assert (found.dac, found.adc, found.macs) == (0, 0, 3 * 2 * 5 * 7)
    assert input_bits(spec) is output_bits(spec) is None
