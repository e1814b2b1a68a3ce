"""Ranges over which the models of a device hold: leaving them warns once, and is said in reports."""

from __future__ import annotations

import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import neurosim as ns
from neurosim.convert.validity import beyond_range
from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.hardware.profile import Profile, load_profile
from neurosim.hardware.validity import Valid

CELLS = {"kind": "mapping", "g_min_siemens": 1e-6, "g_max_siemens": 25e-6}
VALID: dict[str, Any] = {"seconds": [20.0, 1e7], "kelvin": [280.0, 320.0], "siemens": [1e-7, 30e-6]}


def model(**chain: Any) -> nn.Module:
    spec = ChainSpec.model_validate({"valid": VALID, "array": {"mapping": CELLS}, **chain})
    return ns.to_analog(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), Profile("made", "for a test", "any", spec), seed=0)


def test_within_the_ranges_nothing_is_said() -> None:
    chip = model()
    for seconds in (0.0, 20.0, 1e7):
        ns.drift_to(chip, seconds)
    ns.override(chip, {"kelvin": 320.0})
    assert beyond_range(chip) == []


@pytest.mark.parametrize("seconds", [1.0, 1e8])
def test_a_time_outside_warns_once_for_all_layers(seconds: float) -> None:
    chip = model()
    with pytest.warns(
        UserWarning, match=f"{seconds:g} s since programming: its models hold from 20 to 1e.07 s".replace("+", ".")
    ) as caught:
        ns.drift_to(chip, seconds)
    assert len(caught) == 1
    assert Path(caught[0].filename).name == "test_validity.py"
    with pytest.warns(UserWarning, match="since programming"):
        ns.program(chip, 3, seconds=seconds)
    assert len(beyond_range(chip)) == 1


def test_temperature_and_conductances_outside_warn() -> None:
    chip = model()
    with pytest.warns(UserWarning, match="400 K: its models hold from 280 to 320 K"):
        ns.override(chip, {"kelvin": 400.0})
    with pytest.warns(UserWarning, match="cells of 1e-06 to 4e-05 S: its models hold from 1e-07 to 3e-05 S") as caught:
        model(array={"mapping": CELLS | {"g_max_siemens": 4e-5}})
    assert Path(caught[0].filename).name == "test_validity.py"


def test_a_profile_declares_its_ranges_with_sources(tmp_path: Path) -> None:
    text = """\
version: 1
name: mine
summary: one line
technology: any
chain:
  valid:
    seconds: {value: [20, 3.15e7], unit: UNIT, source: measured that long, verified: false}
"""
    path = tmp_path / "profile.yaml"
    path.write_text(text.replace("UNIT", "s"))
    found = load_profile(path)
    assert isinstance(found.chain.valid, Valid)
    assert found.chain.valid.seconds == (20.0, 3.15e7)
    assert "valid.seconds" in found.provenance
    path.write_text(text.replace("UNIT", "min"))
    with pytest.raises(ConfigError, match=r"valid\.seconds: unit must be s, got 'min'"):
        load_profile(path)
    path.write_text(text.replace("UNIT", "s").replace("[20, 3.15e7]", "[20, 3]"))
    with pytest.raises(ConfigError, match="seconds must be a lower and a higher number"):
        load_profile(path)


def test_a_report_names_settings_outside_of_the_ranges() -> None:
    chip = model(output={"adc": {"kind": "quantize", "levels": 16}})
    plan = {"axes": {"kelvin": {"kelvin": [300.0, 400.0]}}, "chips": 1, "engine": {"kind": "serial"}}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        report = ns.sensitivity(chip, [(torch.rand(4, 3), torch.tensor([0, 1, 0, 1]))], plan)
    notes = report.summary()["notes"]
    assert any(
        "outside of the range for which this hardware was modelled: 400 K: its models hold from 280 to 320 K" in one for one in notes
    )
    assert report.summary()["cost"] is None


def test_wires_beyond_their_formula_are_named_and_the_model_is_left_as_it_was() -> None:
    cells = {"kind": "mapping", "g_min_siemens": 0.0, "g_max_siemens": 25e-6}
    wires = {"kind": "wires", "rows": 128, "columns": 128, "r_row_ohm": 1.0, "r_column_ohm": 1.0}
    layer = nn.Linear(128, 128, bias=False)
    nn.init.ones_(layer.weight)
    chain = ChainSpec.model_validate({"array": {"mapping": cells, "parasitics": wires}})
    model = ns.to_analog(nn.Sequential(layer), Profile("made", "for a test", "memory", chain), seed=0)
    before = {path: dict(one.chain.modes) for path, one in ns.analog_layers(model).items()}
    (found,) = beyond_range(model)
    assert re.fullmatch(r"0: wires with a load of 0\.4\d: their fast formula is good to 1 % of full scale up to 0\.4", found)
    assert {path: one.chain.modes for path, one in ns.analog_layers(model).items()} == before
    ns.override(model, {"array.parasitics.r_row_ohm": 0.5, "array.parasitics.r_column_ohm": 0.5})
    assert beyond_range(model) == []
    ns.override(model, {"array.parasitics.r_row_ohm": 2.0, "array.parasitics.method": "exact"})
    assert beyond_range(model) == []


DAY = 86400.0
#: what the datasheets say of ranges, word by word, and the numbers of these words; profiles with an empty entry state none
STATED: dict[str, dict[str, tuple[str, tuple[float, float]]]] = {
    "pcm_hermes": {
        "seconds": ("The range of times, a year, is assumed", (0, 3.15e7)),
        "siemens": ("Up to 20.7 µS for the two devices", (0, 20.7e-6)),
    },
    "pcm_inmemory": {
        "seconds": ("times from 20 s after writing (`ns.drift_to` counts from there) to a day", (0, DAY)),
        "siemens": ("Conductances up to 25 µS", (0, 25e-6)),
    },
    "pcm_hermes_single": {
        "seconds": ("The range of times, a year, is assumed", (0, 3.15e7)),
        "siemens": ("Up to 10.35 µS for one device", (0, 10.35e-6)),
    },
    "pcm_joshi": {
        "seconds": ("any later time warns", (0, 0)),
        "siemens": ("From 0.25 to 25 µS", (0.25e-6, 25e-6)),
    },
    "rram_cmo": {
        "seconds": ("from 1 s after writing to ten years", (1, 3650 * DAY)),
        "siemens": ("From 9 to 88.2 µS", (9e-6, 88.2e-6)),
    },
    "rram_milo": {
        "seconds": ("any later time warns", (0, 0)),
        "siemens": ("From 50 to 225 µS", (50e-6, 225e-6)),
    },
    "rram_wan": {
        "seconds": ("at 1 s, 1 day and 2 days", (1, 2 * DAY)),
        "siemens": ("Up to 40 µS", (0, 40e-6)),
    },
    "sonos": {
        "seconds": ("from writing to five days after", (0, 5 * DAY)),
        "siemens": ("up to 16 µS", (0, 16e-6)),
    },
    "photonic_pcm_crossbar": {
        "seconds": ("any later time and any other temperature warn", (0, 0)),
        "kelvin": ("the temperature of writing, here 300 K", (300, 300)),
    },
    "mrr_weight_bank": {"kelvin": ("which is assumed within 5 K of 300 K", (295, 305))},
    "mzi_mesh_clements": {"crosstalk": ("Crosstalk is meant for up to 0.05", (0, 0.05))},
    "mzi_mesh_reck": {"crosstalk": ("Numbers, ranges, energy and what is not in it: as there", (0, 0.05))},
    **{name: {} for name in ("bss2_perceptron", "bss2_spiking", "ideal", "isaac", "neuromorphic_digital8")},
    **{name: {} for name in ("photonic_avnn", "prime", "sram_acim")},
}
OVERRIDDEN = {"kelvin": "kelvin", "siemens": "array.mapping.g_max_siemens", "crosstalk": "array.mesh.crosstalk"}


def stated(name: str) -> dict[str, tuple[float, float]]:
    valid = getattr(load_profile(name).chain, "valid", None)
    return {} if valid is None else valid.model_dump(exclude_none=True)


@pytest.mark.parametrize("name", ns.list_profiles())
def test_ranges_of_a_shipped_profile_are_those_of_its_datasheet(name: str) -> None:
    words = " ".join((Path(__file__).parents[2] / "hardware" / name / "datasheet.md").read_text(encoding="utf-8").split())
    assert stated(name) == {key: pytest.approx(numbers) for key, (_, numbers) in STATED[name].items()}
    assert [said for said, _ in STATED[name].values() if said not in words] == []


@pytest.mark.parametrize(("name", "key"), [(name, key) for name, ranges in STATED.items() for key in ranges])
def test_leaving_a_range_of_a_shipped_profile_warns_and_its_ends_do_not(name: str, key: str) -> None:
    chip = ns.to_analog(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 2)), name, seed=0)

    def move(value: float, field: str = OVERRIDDEN.get(key, "")) -> None:
        if key == "seconds":
            ns.drift_to(chip, value)
        else:
            ns.override(chip, {field: value})

    low, high = stated(name)[key]
    for end in (high,) if key == "siemens" else (low, high):
        move(end)
    assert beyond_range(chip) == []
    with pytest.warns(UserWarning, match="its models hold"):
        move(1.01 * high + 1e-6 * (high == 0))
    assert len(beyond_range(chip)) == 1
    if low > 0:
        move(high)
        with pytest.warns(UserWarning, match="its models hold"):
            move(0.99 * low, *["array.mapping.g_min_siemens"] * (key == "siemens"))
