"""Ranges, sizes and constants of the shipped profiles, computed from what their sources say."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from neurosim.hardware.profile import list_profiles, load_profile
from neurosim.yamlfile import read_yaml
from tests.hardware.cells import DAY, FILE

Numbers = dict[str, float | list[float]]
SAID: dict[str, dict[str, Any]] = {name: dict(part) for name, part in read_yaml(FILE.parent / "sources.yaml").data.items()}
PICO, MICRO = 1e-12, 1e-6


def bss2_perceptron(said: dict[str, Any]) -> Numbers:
    events_us = said["hardware_matrix_height"] * said["wait_between_events"] / said["fpga_clock_cycles_per_us"]
    return {"cost.static_w": said["energy_uj"] / said["time_us"], "cost.symbol_s": (events_us + said["membrane_settles_us"]) * MICRO}


def bss2_spiking(said: dict[str, Any]) -> Numbers:
    return {"fan_in": said["hardware_matrix_height"], "weight.quantize.bits": math.log2(said["synaptic_weight_max"] + 1) + 1}


def pcm_inmemory(said: dict[str, Any]) -> Numbers:
    ranges: Numbers = {"valid.siemens": [0.0, said["g_max_us"] * MICRO], "valid.seconds": [0.0, said["retained_days"] * DAY]}
    return ranges | {"cost.cell.energy_j": _of_one_cell(said), "cost.symbol_s": said["t_read_ns"] * 1e-9}


def pcm_hermes(said: dict[str, Any]) -> Numbers:
    size, bound = said["core_size"], said["out_bound"]
    array: Numbers = {"valid.siemens": [0.0, said["g_max_us"] * MICRO], "array.tiles.rows": size, "array.tiles.columns": size}
    output: Numbers = {"output.noise.scale": said["out_noise"], "output.adc.low": -bound, "output.adc.high": bound}
    operations = 2 * size**2 * said["cores"]
    return array | output | {"cost.cell.energy_j": _of_one_cell(said), "cost.symbol_s": operations / (said["tops"] / PICO)}


def _of_one_cell(said: dict[str, Any]) -> float:
    """A weight is a product and a sum, and a pair of cells: one operation for each of them."""
    energy: float = PICO / said["tops_per_w"]
    return energy


def pcm_hermes_single(said: dict[str, Any]) -> Numbers:
    """Cells of their own; the rest is that of the chip with two devices in a cell, without its energy."""
    chip = {key: value for key, value in pcm_hermes(SAID["pcm_hermes"]).items() if not key.startswith("cost.")}
    g_max = said["g_max_us"] * MICRO
    return chip | {"valid.siemens": [0.0, g_max], "array.mapping.g_max_siemens": g_max}


def pcm_joshi(said: dict[str, Any]) -> Numbers:
    cost: Numbers = {"cost.cell.energy_j": _of_one_cell(said), "cost.symbol_s": said["t_read_ns"] * 1e-9}
    return _ends(said) | {"array.programming.low_siemens": said["clip_low"]} | cost


def rram_cmo(said: dict[str, Any]) -> Numbers:
    times: Numbers = {"valid.seconds": [said["first_second"], said["last_years"] * 365 * DAY]}
    return times | _ends(said) | {"array.tiles.rows": said["array_size"], "array.tiles.columns": said["array_size"]} | _step(said)


def _ends(said: dict[str, Any]) -> Numbers:
    low, high = said["g_min_us"] * MICRO, said["g_max_us"] * MICRO
    return {"valid.siemens": [low, high], "array.mapping.g_min_siemens": low, "array.mapping.g_max_siemens": high}


def rram_wan(said: dict[str, Any]) -> Numbers:
    times, g_max = said["coeff_times_s"], said["g_max_us"] * MICRO
    ranges: Numbers = {"valid.seconds": [times[0], times[-1]], "valid.siemens": [0.0, g_max]}
    array: Numbers = {"array.tiles.rows": said["ARRAY_ROWS"] / said["rows_of_a_pair"], "array.tiles.columns": said["ARRAY_COLS"]}
    noise: Numbers = {
        "array.programming.low_siemens": said["g_min_us"],
        "array.read.sigma.coefficients": [said["w_noise"] * g_max / math.sqrt(2)],
    }
    dac: Any = load_profile("rram_wan").chain.input.dac
    bits = round(math.log2(dac.levels + 1)) - 1  # of the magnitude
    phases = [math.ceil(bits / 2), bits // 2] if bits > said["MAX_INPUT_BITS_BEFORE_TWO_PHASE"] else [bits]
    integrations = sum(2**phase - 1 for phase in phases)
    steps = sum(said["output_bits"] - sum(phases[:at]) for at in range(len(phases)))
    times_us = (said["LATENCY_INTEGRATE_us"], said["LATENCY_ADC_STEP_us"], said["LATENCY_INTER_PHASE_us"])
    symbol = sum(count * each for count, each in zip((integrations, steps, len(phases)), times_us, strict=True))
    energy = steps * said["adc_step_pj"] + bits * said["sample_pj"] + integrations * said["integrate_pj"]
    cost: Numbers = {"cost.adc.energy_j": energy * PICO, "cost.adc.area_m2": sum(said["areas_um2"]) * PICO, "cost.symbol_s": symbol * MICRO}
    return ranges | array | noise | cost


def rram_milo(said: dict[str, Any]) -> Numbers:
    high = said["Gmax_us"] * MICRO
    low = high / said["on_off_ratio"]
    cells: Numbers = {"valid.siemens": [low, high], "array.mapping.g_min_siemens": low, "array.mapping.g_max_siemens": high}
    return cells | {"array.tiles.rows": said["rows_max"], "array.tiles.columns": said["cols_max"]} | _step(said)


def sonos(said: dict[str, Any]) -> Numbers:
    high, limit = said["g_max_us"] * MICRO, said["clip_low"]
    ranges: Numbers = {"valid.seconds": [0.0, said["last_day"] * DAY], "valid.siemens": [0.0, high]}
    cells: Numbers = {"array.mapping.g_min_siemens": high / said["on_off_ratio"], "array.mapping.g_max_siemens": high}
    return ranges | cells | {"array.programming.low_siemens": limit, "array.read.low_siemens": limit} | _step(said)


def isaac(said: dict[str, Any]) -> Numbers:
    cell = said["ReadVoltage_v"] ** 2 / said["ResistanceOn_ohm"] * said["ReadPulse_ns"] * 1e-9
    dac: Numbers = {"cost.dac.energy_j": said["dac_pj"] * PICO, "cost.dac.area_m2": said["dac_area_um2"] * PICO}
    adc: Numbers = {"cost.adc.energy_j": said["adc_pj_of_9_bits"] * PICO, "cost.adc.area_m2": said["adc_area_um2_of_9_bits"] * PICO}
    lines = said["arrays"] * said["array_size"] / said["converters"]
    return dac | adc | {"cost.adc.lines": lines, "cost.cell.energy_j": cell, "cost.symbol_s": 1 / said["dac_rate_hz"]}


def sram_acim(said: dict[str, Any]) -> Numbers:
    return {"output.noise.scale": said["rand_noise_sigma_percent"] / 100 * said["nrow"]} | _step(said)


def _step(said: dict[str, Any]) -> Numbers:
    return {"cost.adc.walden_j": said["isaac_adc_pj_of_8_bits"] * PICO / 2**8}


def _of_light(rate_hz: float, said: dict[str, Any]) -> Numbers:
    """Converters at the rate of the symbols: those of outputs at the best of published ones, which falls with the rate."""
    bound = said["FOMS_hf"]
    best = min(bound["max_value"], bound["intercept"] + bound["frequency"] * math.log(rate_hz))
    return {"cost.dac.energy_j": said["albireo_dac_pj"] * PICO, "cost.adc.schreier_db": best}


def photonic_pcm_crossbar(said: dict[str, Any]) -> Numbers:
    return _of_light(2e9, said) | {"weight.noise.scale": said["sigma"]}


def mrr_weight_bank(said: dict[str, Any]) -> Numbers:
    return _of_light(5e9, said) | {"array.mesh.tuning_bits": said["bits"], "cost.tuning.power_w": said["albireo_ring_mw"] * 1e-3}


EXPECTED: dict[str, Callable[[dict[str, Any]], Numbers]] = {
    **{one.__name__: one for one in (bss2_perceptron, bss2_spiking, pcm_inmemory, pcm_hermes, rram_wan, rram_milo, sonos)},
    **{one.__name__: one for one in (pcm_hermes_single, pcm_joshi, rram_cmo)},
    **{one.__name__: one for one in (isaac, sram_acim, photonic_pcm_crossbar, mrr_weight_bank)},
    **{"mzi_mesh_clements": partial(_of_light, 1e10), "mzi_mesh_reck": partial(_of_light, 1e10)},
}


@pytest.mark.parametrize("name", list_profiles())
def test_numbers_are_those_that_the_sources_say(name: str) -> None:
    given = load_profile(name).provenance
    claimed = {key for key, number in given.items() if number.test.endswith("that_the_sources_say")}
    expected = EXPECTED[name](SAID[name]) if name in EXPECTED else {}
    assert claimed == {*expected}
    for key, value in expected.items():
        assert given[key].value == pytest.approx(value, rel=1e-3, abs=1e-15), key


@pytest.mark.parametrize("name", ["photonic_avnn", "pcm_inmemory", "bss2_perceptron"])
def test_these_profiles_are_verified_in_full(name: str) -> None:
    assert [key for key, number in load_profile(name).provenance.items() if not number.verified] == []
