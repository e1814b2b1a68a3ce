import itertools
import json
from typing import Any

import pytest

import neurosim as ns
from neurosim.config import load_plan
from neurosim.config.schema import SensitivityConfig
from neurosim.convert import overridden
from neurosim.errors import ConfigError
from neurosim.hardware.chain import ChainSpec
from neurosim.sweep.plan import CONFIGURED, Plan, make_plan
from tests.sweep import tiny

LEAKAGE = {"leakage": {"*.noise.leakage": [0.0, 0.2, 0.5]}}
LEVELS = {"levels": {"*.levels": [9, 33], "*.noise.precision": [4, 16]}}


def specs(**overrides: Any) -> dict[str, ChainSpec]:
    model = tiny.model()
    if overrides:
        ns.override(model, overrides["last"], layers="2")
    return {path: spec for path, layer in ns.analog_layers(model).items() if isinstance(spec := layer.chain.spec, ns.ChainSpec)}


def plan(hardware: dict[str, ChainSpec] | None = None, **config: Any) -> Plan:
    return make_plan(SensitivityConfig(**{"chips": 2, **config}), specs() if hardware is None else hardware, seed=17)


def test_a_grid_has_every_combination_once_and_the_configured_hardware_first() -> None:
    found = plan(axes={**LEAKAGE, **LEVELS})
    pairs = list(zip(found.axes["leakage"], found.axes["levels"], strict=True))
    assert pairs[0] == (0.5, 33)  # what the profile says
    assert sorted(pairs) == sorted(itertools.product([0.0, 0.2, 0.5], [9, 33]))
    assert found.points[0].changes == {}


def test_a_configured_value_that_no_axis_has_is_a_point_of_its_own() -> None:
    found = plan(axes={"leakage": {"*.noise.leakage": [0.0, 0.2]}})
    assert found.axes["leakage"] == [0.5, 0.0, 0.2]
    assert found.nominal == {"leakage": 0.5}


def test_one_at_a_time_varies_each_axis_around_the_configured_hardware() -> None:
    found = plan(axes={**LEAKAGE, **LEVELS}, mode="one_at_a_time")
    assert list(zip(found.axes["leakage"], found.axes["levels"], strict=True)) == [(0.5, 33), (0.0, 33), (0.2, 33), (0.5, 9)]
    assert found.points[1].changes == {"*.noise.leakage": 0.0}


def test_the_keys_of_one_axis_change_together() -> None:
    found = plan(axes=LEVELS)
    assert found.keys == {"levels": {"*.levels": [33, 9], "*.noise.precision": [16.0, 4.0]}}
    assert found.points[1].changes == {"*.levels": 9, "*.noise.precision": 4}


def test_without_axes_there_is_the_configured_hardware_alone() -> None:
    found = plan()
    assert (len(found.points), found.axes, found.keys, len(found.tasks)) == (1, {}, {}, 2)


def test_layers_that_differ_have_no_single_configured_value() -> None:
    found = plan(specs(last={"*.noise.leakage": 0.2}), axes=LEAKAGE)
    assert found.axes["leakage"] == [CONFIGURED, 0.0, 0.2, 0.5]
    assert found.nominal == {"leakage": None}


def test_a_configured_value_is_not_mistaken_for_a_step_that_sets_more_than_it() -> None:
    """The profile has 33 levels and precision 16, so the step (33, 64) is another hardware though its first value is the configured one."""
    found = plan(axes={"levels": {"*.levels": [9, 33], "*.noise.precision": [4, 64]}})
    assert found.axes["levels"] == [CONFIGURED, 9, 33]


def test_whole_and_broken_numbers_on_one_axis_are_all_floats() -> None:
    values = plan(axes={"leakage": {"*.noise.leakage": [0, 0.5]}}).axes["leakage"]
    assert [type(value) for value in values] == [float, float]


def test_values_that_are_no_numbers_are_labelled_by_their_text() -> None:
    found = plan(axes={"adc": {"output.adc": [None, {"kind": "quantize", "levels": 5, "low": -1, "high": 1}]}})
    assert found.axes["adc"][1:] == ["null", '{"kind": "quantize", "levels": 5, "low": -1, "high": 1}']
    assert json.loads(str(found.axes["adc"][0]))["levels"] == 33


def test_chips_count_from_the_seed_or_are_named() -> None:
    assert [task.chip for task in plan(chips=3).tasks] == [17, 18, 19]
    assert [task.chip for task in plan(chips=[5, 2]).tasks] == [5, 2]


def test_layer_scopes_are_evaluated_at_the_configured_hardware_only() -> None:
    tasks = plan(axes=LEAKAGE, scopes=["all", "each", "all_but_one"]).tasks
    assert {task.point for task in tasks if task.scope == "all"} == {0, 1, 2}
    assert {(task.point, task.scope, task.layer, task.position) for task in tasks if task.scope != "all"} == {
        (0, scope, layer, position) for scope in ("each", "all_but_one") for position, layer in enumerate(("0", "2"))
    }


def test_the_configured_hardware_is_always_evaluated_as_a_whole() -> None:
    tasks = plan(axes=LEAKAGE, scopes=["each"]).tasks
    assert [(task.point, task.chip) for task in tasks if task.scope == "all"] == [(0, 17), (0, 18)]


def test_every_task_is_planned_once() -> None:
    found = plan(axes={**LEAKAGE, **LEVELS}, scopes=["all", "each", "all_but_one"], reads=3)
    texts = [json.dumps(task.content(), sort_keys=True) for task in found.tasks]
    assert len(set(texts)) == len(texts) == (6 + 2 + 2) * 2 * 3


def test_what_a_task_evaluates_does_not_depend_on_its_place_in_the_plan() -> None:
    small, large = (plan(axes={"leakage": {"*.noise.leakage": values}}) for values in ([0.2], [0.1, 0.2]))
    assert small.tasks[-1].content() == large.tasks[-1].content()
    assert small.tasks[-1].point != large.tasks[-1].point


def test_all_mistakes_are_reported_at_once_each_once() -> None:
    axes = {"a": {"*.noise.leakge": [0.0, 0.1]}, "b": {"output.adc.levels": [9, 1]}, "c": {"*.noise.leakage": [0.1, 1.5]}}
    with pytest.raises(ConfigError) as caught:
        plan(axes=axes)
    text = str(caught.value)
    assert "sensitivity.axes: '*.noise.leakge' names no parameter of these layers" in text
    assert all(f"{path}.noise.leakage: must be < 1, got 1.5" in text for path in ("input", "weight", "bias", "output"))
    assert "output.adc.levels: " in text
    assert len(caught.value.problems) == len(set(caught.value.problems)) == 6


def test_a_mistake_in_a_combination_says_where_it_is() -> None:
    axes = {"scale": {"input.noise.scale": [None, 0.1]}, "leakage": {"input.noise.leakage": [None, 0.1]}}
    with pytest.raises(ConfigError, match=r"give scale alone or two of .* \(at scale = null, leakage = null\)"):
        plan(axes=axes)


def test_two_axes_that_set_one_parameter_are_refused() -> None:
    axes = {"all": {"*.noise.leakage": [0.1]}, "in": {"input.noise.leakage": [0.2]}}
    with pytest.raises(
        ConfigError,
        match=r"sensitivity\.axes\.in: 'input\.noise\.leakage' must not set what another axis sets, '\*\.noise\.leakage' of all does",
    ):
        plan(axes=axes)


def test_changes_are_those_that_override_makes() -> None:
    model = tiny.model()
    changes = {"*.noise.leakage": 0.3, "output.adc.levels": 5}
    expected = overridden(specs(), changes, "here")
    ns.override(model, changes)
    assert {path: layer.chain.spec for path, layer in ns.analog_layers(model).items()} == expected


def test_a_key_needs_to_fit_one_layer_only() -> None:
    hardware = specs(last={"output.adc": None})
    found = overridden(hardware, {"output.adc.levels": 5}, "here")
    assert found["2"] == hardware["2"]
    assert found["0"] != hardware["0"]


@pytest.mark.parametrize(("key", "value"), [("mode", "sobol"), ("engine", {"kind": "dask"})])
def test_what_comes_later_is_refused_by_name(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match="is not there yet, it comes in a later version; use "):
        ns.sensitivity(tiny.model(), tiny.data(), tiny.plan() | {key: value})


def shown(time_steps: int | None, **axes: Any) -> Plan:
    return make_plan(SensitivityConfig(chips=1, axes=axes), specs(), seed=17, time_steps=time_steps)


def test_steps_over_time_are_an_axis_around_those_of_the_model() -> None:
    found = shown(4, T={"time_steps": [1, 4, 8]})
    assert found.axes == {"T": [4, 1, 8]}
    assert found.nominal == {"T": 4}
    assert [point.changes for point in found.points] == [{}, {"time_steps": 1}, {"time_steps": 8}]


def test_steps_over_time_make_a_grid_with_the_hardware_and_change_together_with_it() -> None:
    found = shown(4, T={"time_steps": [2, 4]}, **LEAKAGE)
    assert sorted(zip(found.axes["T"], found.axes["leakage"], strict=True)) == sorted(itertools.product([2, 4], [0.0, 0.2, 0.5]))
    together = shown(4, both={"time_steps": [2, 4], "*.noise.leakage": [0.2, 0.5]})
    assert [point.changes for point in together.points] == [{}, {"time_steps": 2, "*.noise.leakage": 0.2}]


def test_steps_over_time_need_a_model_that_has_some() -> None:
    with pytest.raises(ConfigError, match=r"sensitivity\.axes\.T: 'time_steps' needs a model with one SpikingNetwork"):
        shown(None, T={"time_steps": [1, 2]})


@pytest.mark.parametrize("value", [0, 2.5, True, "4"])
def test_steps_over_time_are_whole_and_positive(value: Any) -> None:
    with pytest.raises(ConfigError, match=r"axes\.T\.time_steps\.1: must be a whole number of 1 or more, got"):
        load_plan({"axes": {"T": {"time_steps": [4, value]}}})
