from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from pydantic import JsonValue

from neurosim.config import HardwareConfig, SensitivityConfig, load_config
from neurosim.config.hardware_check import check_hardware

Problems = Callable[..., list[str]]
HARDWARE = "hardware: {profile: photonic_avnn}\n"


def test_a_good_config_has_no_problems() -> None:
    hardware = HardwareConfig(
        profile="photonic_avnn", overrides={"*": {"*.noise.leakage": 0.2, "output.adc": None}, "fc1": {"kelvin": 250}}
    )
    axes: dict[str, dict[str, tuple[JsonValue, ...]]] = {"leakage": {"weight.noise.leakage": (0, 0.5)}, "T": {"time_steps": (1, 4)}}
    study = SensitivityConfig(axes=axes, overrides={"*": {"weight.noise.scope": "device"}})
    assert check_hardware(hardware, study) == []


def test_what_an_override_adds_can_be_changed_by_a_later_one() -> None:
    adc: dict[str, JsonValue] = {"kind": "quantize", "levels": 9, "low": -1, "high": 1}
    overrides: dict[str, dict[str, JsonValue]] = {"*": {"output.adc": None}, "fc1": {"output.adc": adc}, "fc*": {"output.adc.levels": 5}}
    hardware = HardwareConfig(profile="photonic_avnn", overrides=overrides)
    assert check_hardware(hardware) == []


def test_the_keys_of_a_study_without_hardware_wait_for_the_model(here: Path) -> None:
    Path("run.yaml").write_text("extends: base.yaml\nsensitivity: {axes: {a: {no.such.key: [1]}}}\n")
    assert load_config("run.yaml").sensitivity is not None


def test_an_unknown_profile_is_named_with_the_nearest(problems: Problems) -> None:
    assert problems("hardware:\n  profile: photonic_avn") == [
        "run.yaml:3: hardware.profile: no profile is named 'photonic_avn'; did you mean 'photonic_avnn'?"
    ]


def test_an_unknown_profile_is_named_beside_other_faults_of_its_block(problems: Problems) -> None:
    assert problems("hardware:\n  profile: photonic_avn\n  sed: 3") == [
        "run.yaml:4: hardware.sed: unknown key; did you mean 'seed'?",
        "run.yaml:3: hardware.profile: no profile is named 'photonic_avn'; did you mean 'photonic_avnn'?",
    ]


def test_a_missing_profile_file_is_named(problems: Problems) -> None:
    assert problems("hardware: {profile: mine.yaml}") == ["run.yaml:2: hardware.profile: mine.yaml: no such file; did you mean 'run.yaml'?"]


def test_a_faulty_profile_file_is_named_with_its_own_line(problems: Problems) -> None:
    Path("mine.yaml").write_text("version: 1\nname: mine\nsummary: x\ntechnology: y\nchain: {}\ncolour: red\n")
    (problem,) = problems("hardware: {profile: mine.yaml}")
    assert problem.startswith("run.yaml:2: hardware.profile: ")
    assert "mine.yaml:6: colour: unknown key" in problem


def test_unknown_keys_and_bad_values_of_overrides_have_their_lines(problems: Problems) -> None:
    text = (
        "hardware:\n  profile: photonic_avnn\n  overrides:\n    '*':\n"
        "      output.adc.levls: 3\n      output.adc.levels: -1\n    fc1:\n      kelvin: x\n"
    )
    found = problems(text)
    assert found[0] == (
        'run.yaml:6: hardware.overrides.*."output.adc.levls": '
        "'output.adc.levls' names no parameter of this chain; did you mean 'output.adc.levels'?"
    )
    assert found[1].startswith('run.yaml:7: hardware.overrides.*."output.adc.levels": output.adc.levels: ')
    assert found[2].startswith("run.yaml:9: hardware.overrides.fc1.kelvin: kelvin: ")
    assert len(found) == 3


def test_steps_of_an_axis_are_tried_before_anything_is_evaluated(problems: Problems) -> None:
    text = (
        "sensitivity:\n  axes:\n    leakage:\n      '*.noise.leakage':\n        - 0\n        - 0.2\n        - 7\n"
        "    other: {nois: [1, 2]}\n"
    )
    found = problems(HARDWARE + text)
    assert found[0].startswith('run.yaml:9: sensitivity.axes.leakage."*.noise.leakage".2: ')
    assert found[0].endswith("got 7")
    assert found[1] == "run.yaml:10: sensitivity.axes.other.nois.0: 'nois' names no parameter of this chain"
    assert len(found) == 2


def test_overrides_of_a_study_have_their_lines(problems: Problems) -> None:
    found = problems(HARDWARE + "sensitivity:\n  overrides:\n    '*': {weight.noise.scop: device}\n")
    assert found == [
        'run.yaml:5: sensitivity.overrides.*."weight.noise.scop": '
        "'weight.noise.scop' names no parameter of this chain; did you mean 'weight.noise.scope'?"
    ]


def test_a_setting_is_blamed_for_the_override_it_made(problems: Problems) -> None:
    setting = 'hardware.overrides.*."output.adc.levels"=-1'
    (problem,) = problems(HARDWARE, setting)
    assert problem.startswith(f"--set {setting}: hardware.overrides.*.")
